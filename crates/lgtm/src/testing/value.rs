//! The value of a field, as tests compare it. Caller threads.

use std::fmt;

use lgtm_core::span::{Attributes, Value as Encoded};

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Text; also whatever only implements `Debug` or `Display`, and integers beyond 64 signed bits.
    Text(String),
    /// A number without fraction.
    Integer(i64),
    /// A number with fraction.
    Double(f64),
    /// True or false.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What would be read as more than one word is quoted.
            Self::Text(text) if text.is_empty() || text.contains([' ', '"', '=', '\n', '\t', '\r']) => {
                write!(formatter, "{text:?}")
            }
            Self::Text(text) => formatter.write_str(text),
            Self::Integer(number) => number.fmt(formatter),
            Self::Double(number) => write!(formatter, "{number:?}"),
            Self::Bool(flag) => flag.fmt(formatter),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

macro_rules! from_numbers {
    ($variant:ident($as:ty): $($number:ty),+) => {
        $(impl From<$number> for Value {
            fn from(value: $number) -> Self {
                Self::$variant(<$as>::from(value))
            }
        })+
    };
}

from_numbers!(Integer(i64): i8, i16, i32, i64, u8, u16, u32);
from_numbers!(Double(f64): f32, f64);
from_numbers!(Bool(bool): bool);

/// As a field has them: what does not fit into 64 signed bits is text.
macro_rules! from_large_numbers {
    ($($number:ty),+) => {
        $(impl From<$number> for Value {
            fn from(value: $number) -> Self {
                i64::try_from(value).map_or_else(|_| Self::Text(value.to_string()), Self::Integer)
            }
        })+
    };
}

from_large_numbers!(u64, usize, isize, i128, u128);

/// Names and values.
pub(super) type Fields = Vec<(String, Value)>;

pub(super) fn fields(attributes: Attributes<'_>) -> Fields {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    attributes
        .map(|attribute| {
            let value = match attribute.value {
                Encoded::Text(bytes) => Value::Text(text(bytes)),
                Encoded::Integer(number) => Value::Integer(number),
                Encoded::Double(number) => Value::Double(number),
                Encoded::Bool(flag) => Value::Bool(flag),
            };
            (text(attribute.key), value)
        })
        .collect()
}

pub(super) fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// ` name=value` for each.
pub(super) fn write(formatter: &mut fmt::Formatter<'_>, fields: &Fields) -> fmt::Result {
    fields.iter().try_for_each(|(name, value)| write!(formatter, " {name}={value}"))
}

/// What an assertion says of a field that is not as expected.
#[track_caller]
pub(super) fn assert_field(of: &dyn fmt::Display, found: Option<&Value>, name: &str, expected: &Value) {
    match found {
        Some(value) if value == expected => {}
        Some(value) => panic!("`{name}` is {value}, not {expected}, in: {of}"),
        None => panic!("no field `{name}` in: {of}"),
    }
}
