//! Reads attributes back: the fields of a span or event, as [`fields`](super::fields) encoded them.
//!
//! A field list is kept as repeated OTLP `KeyValue` messages: what Tempo receives is copied, and everybody else reads it
//! through these iterators. Source: opentelemetry-proto, `common/v1/common.proto`.

use super::fields::{BOOL_VALUE, INT_VALUE, KEY, STRING_VALUE, VALUE};
use crate::protobuf::{self, Field, Fields};

/// A field's value. Text is UTF-8; as bytes, because encoders only copy it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text; also integers that do not fit into 64 signed bits, and whatever only implements `Debug`.
    Text(&'a [u8]),
    /// A number without fraction.
    Integer(i64),
    /// A number with fraction; may be NaN or infinite.
    Double(f64),
    /// True or false.
    Bool(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text.as_bytes())
    }
}

macro_rules! from_numbers {
    ($variant:ident($as:ty): $($number:ty),+) => {
        $(impl From<$number> for Value<'_> {
            fn from(value: $number) -> Self {
                Self::$variant(<$as>::from(value))
            }
        })+
    };
}

from_numbers!(Integer(i64): i8, i16, i32, i64, u8, u16, u32);
from_numbers!(Double(f64): f32, f64);
from_numbers!(Bool(bool): bool);

/// A field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// Its name, as UTF-8.
    pub key: &'a [u8],
    /// Its value.
    pub value: Value<'a>,
}

/// Iterates over encoded fields.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(Fields<'a>);

impl<'a> Attributes<'a> {
    /// Reads repeated length-delimited `KeyValue`s, whatever the number of their field.
    #[must_use]
    pub fn new(encoded: &'a [u8]) -> Self {
        Self(Fields(encoded))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attribute<'a>> {
        match short(self.0.0) {
            Some((attribute, rest)) => {
                self.0.0 = rest;
                Some(attribute)
            }
            None => self.next_of_any_length(),
        }
    }
}

impl<'a> Attributes<'a> {
    #[inline(never)]
    fn next_of_any_length(&mut self) -> Option<Attribute<'a>> {
        let Field::Bytes(_, pair) = self.0.next()? else { return None };
        let mut fields = Fields(pair);
        let Some(Field::Bytes(1, key)) = fields.next() else { return None };
        let Some(Field::Bytes(2, value)) = fields.next() else { return None };
        let value = match Fields(value).next()? {
            Field::Bytes(1, text) => Value::Text(text),
            Field::Varint(2, flag) => Value::Bool(flag != 0),
            Field::Varint(3, number) => Value::Integer(number.cast_signed()),
            Field::Fixed64(4, bits) => Value::Double(f64::from_bits(bits)),
            _ => return None,
        };
        Some(Attribute { key, value })
    }
}

/// The first attribute and what follows it, if all its lengths are of one byte: most are.
#[inline]
fn short(encoded: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let [_, pair_length @ 0..0x80, KEY, key_length @ 0..0x80, rest @ ..] = encoded else { return None };
    let (pair, rest) = rest.split_at_checked(usize::from(*pair_length).checked_sub(2)?)?;
    let (key, value) = pair.split_at_checked(usize::from(*key_length))?;
    let value = match value {
        [VALUE, _, STRING_VALUE, 0..0x80, text @ ..] => Value::Text(text),
        [VALUE, _, INT_VALUE, number @ ..] => Value::Integer(protobuf::Fields(number).varint()?.cast_signed()),
        [VALUE, 2, BOOL_VALUE, flag @ 0..0x80] => Value::Bool(*flag != 0),
        _ => return None,
    };
    Some((Attribute { key, value }, rest))
}
