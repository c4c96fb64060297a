//! Attribute values of resources, spans, events and links, in the order in which they were sent.

use std::fmt;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

use crate::store::size::heap;

/// One attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value was sent.
    Empty,
    /// Text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A nested set of attributes.
    Map(Attributes),
}

impl Value {
    /// The text, if the value is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if the value is one.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, if the value is an integer or a floating-point number.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if the value is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// What it takes of the heap, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::String(text) => heap(text.len()),
            Self::Bytes(bytes) => heap(bytes.len()),
            Self::Array(values) => heap(size_of_val(&**values)) + values.iter().map(Self::size).sum::<usize>(),
            Self::Map(attributes) => attributes.size(),
            Self::Empty | Self::Bool(_) | Self::Int(_) | Self::Double(_) => 0,
        }
    }
}

/// Text as it is, numbers and truth values in decimal, bytes in hexadecimal, lists in brackets.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::String(text) => f.write_str(text),
            Self::Bool(truth) => truth.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Double(number) => number.fmt(f),
            Self::Bytes(bytes) => f.write_str(&const_hex::encode(bytes)),
            Self::Array(values) => f.debug_list().entries(values.iter().map(DisplayAsDebug)).finish(),
            Self::Map(map) => f.debug_map().entries(map.iter().map(|(k, v)| (k, DisplayAsDebug(v)))).finish(),
        }
    }
}

struct DisplayAsDebug<'a>(&'a Value);

impl fmt::Debug for DisplayAsDebug<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => fmt::Debug::fmt(text, f),
            other => other.fmt(f),
        }
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        self.as_i64() == Some(*other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<AnyValue> for Value {
    fn from(value: AnyValue) -> Self {
        match value.value {
            None => Self::Empty,
            Some(any_value::Value::StringValue(text)) => Self::String(text),
            Some(any_value::Value::BoolValue(truth)) => Self::Bool(truth),
            Some(any_value::Value::IntValue(number)) => Self::Int(number),
            Some(any_value::Value::DoubleValue(number)) => Self::Double(number),
            Some(any_value::Value::BytesValue(bytes)) => Self::Bytes(bytes),
            Some(any_value::Value::ArrayValue(array)) => {
                Self::Array(array.values.into_iter().map(Self::from).collect())
            }
            Some(any_value::Value::KvlistValue(list)) => Self::Map(Attributes::from(list.values)),
            // A reference into a string table, which only the profiles signal has.
            Some(_) => Self::Empty,
        }
    }
}

/// Attributes in the order in which they were sent; a key that was sent twice is there twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(String, Value)>);

impl Attributes {
    /// The first value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The first value of `key`, if it is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The first value of `key`, if it is an integer.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_i64)
    }

    /// All pairs in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Keys that were sent more than once, which OTLP forbids.
    #[must_use]
    pub fn duplicate_keys(&self) -> Vec<&str> {
        let mut seen = std::collections::BTreeSet::new();
        self.iter().map(|(key, _)| key).filter(|key| !seen.insert(*key)).collect()
    }

    /// Those with other keys.
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        Self(self.0.iter().filter(|(key, _)| !keys.contains(&key.as_str())).cloned().collect())
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they take of the heap, in bytes.
    pub(crate) fn size(&self) -> usize {
        let texts: usize = self.iter().map(|(key, value)| heap(key.len()) + value.size()).sum();
        heap(size_of_val(&*self.0)) + texts
    }
}

impl FromIterator<(String, Value)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl From<Vec<KeyValue>> for Attributes {
    fn from(pairs: Vec<KeyValue>) -> Self {
        Self(pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(Value::Empty, Value::from))).collect())
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = (&'a str, &'a Value);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}
