//! How OTLP's JSON writes ids, numbers, enumerations and attribute values, and the other ways in which they are found.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attribute::{Attributes, Value};

pub(super) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// `null` is what is absent.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A number, or a text that stands for one.
enum Scalar {
    Null,
    Whole(i128),
    Broken(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfScalar;
        impl Visitor<'_> for OfScalar {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, or a text that is one")
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Null)
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Whole(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Whole(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Broken(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
        }
        from.deserialize_any(OfScalar)
    }
}

impl Scalar {
    fn whole<T: TryFrom<i128>, E: Error>(self) -> Result<T, E> {
        let refuse = |found: &dyn fmt::Display| {
            let bits = size_of::<T>() * 8;
            E::custom(format!(
                "{found} is not accepted; accepted: a whole number of {bits} bits, as a number or as text"
            ))
        };
        let number = match &self {
            Self::Null => 0,
            Self::Whole(number) => *number,
            // Where a tool has written 5 as 5.0.
            Self::Broken(number) if number.fract() == 0.0 && number.abs() < 9e15 => *number as i128,
            Self::Broken(number) => return Err(refuse(number)),
            Self::Text(text) => text.parse().map_err(|_| refuse(&format_args!("{text:?}")))?,
        };
        T::try_from(number).map_err(|_| refuse(&number))
    }

    fn float<E: Error>(self) -> Result<f64, E> {
        match self {
            Self::Null => Ok(0.0),
            Self::Whole(number) => Ok(number as f64),
            Self::Broken(number) => Ok(number),
            Self::Text(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                other => other.parse().map_err(|_| {
                    E::custom(format!("{text:?} is not accepted; accepted: a number, NaN, Infinity or -Infinity"))
                }),
            },
        }
    }
}

pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<i128>>(from: D) -> Result<T, D::Error> {
    Scalar::deserialize(from)?.whole()
}

/// Numbers of 64 bits, which are no numbers of JavaScript.
pub(super) mod number_as_text {
    use super::{Deserializer, Serializer, number};

    pub(crate) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        number(from)
    }
}

pub(super) fn span_kind<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    enumeration(from, |name| otlp::span::SpanKind::from_str_name(name).map(i32::from))
}

pub(super) fn status_code<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    enumeration(from, |name| otlp::status::StatusCode::from_str_name(name).map(i32::from))
}

fn enumeration<'de, D: Deserializer<'de>>(from: D, named: fn(&str) -> Option<i32>) -> Result<i32, D::Error> {
    match Scalar::deserialize(from)? {
        Scalar::Text(name) => match named(&name) {
            Some(number) => Ok(number),
            None => Scalar::Text(name).whole(),
        },
        other => other.whole(),
    }
}

/// An id as hexadecimal digits in lower case; read also from base64. Empty where there is none.
pub(super) fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text: String = or_default(from)?;
    if let Ok(bytes) = const_hex::decode(&text) {
        return Ok(const_hex::encode(bytes));
    }
    // Ids of 8 and 16 bytes end with `=` in base64: no digits do.
    match BASE64.decode(&text).or_else(|_| URL_SAFE.decode(&text)) {
        Ok(bytes) => Ok(const_hex::encode(bytes)),
        Err(_) => Err(D::Error::custom(format!("the id {text:?} is not accepted; accepted: hexadecimal digits"))),
    }
}

/// Attributes as `[{"key": …, "value": {"stringValue": …}}]`.
pub(super) mod attributes {
    use super::{Any, Attributes, Deserialize, Deserializer, OfAttributes, Serialize as _, Serializer, Value};

    #[derive(Deserialize)]
    struct Pair {
        #[serde(default, deserialize_with = "super::or_default")]
        key: String,
        #[serde(default)]
        value: Option<Any>,
    }

    pub(crate) fn serialize<S: Serializer>(attributes: &Attributes, to: S) -> Result<S::Ok, S::Error> {
        OfAttributes(attributes).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Attributes, D::Error> {
        let pairs: Vec<Pair> = super::or_default(from)?;
        Ok(pairs.into_iter().map(|Pair { key, value }| (key, value.map_or(Value::Empty, |Any(value)| value))).collect())
    }
}

struct OfAttributes<'a>(&'a Attributes);

impl Serialize for OfAttributes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Pair<'a> {
            key: &'a str,
            value: OfValue<'a>,
        }
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            list.serialize_element(&Pair { key, value: OfValue(value) })?;
        }
        list.end()
    }
}

struct OfValue<'a>(&'a Value);

impl Serialize for OfValue<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Values<T> {
            values: T,
        }
        let mut map = to.serialize_map(None)?;
        match self.0 {
            Value::Empty => {}
            Value::String(text) => map.serialize_entry("stringValue", text)?,
            Value::Bool(truth) => map.serialize_entry("boolValue", truth)?,
            Value::Int(number) => map.serialize_entry("intValue", &number.to_string())?,
            Value::Double(number) if number.is_nan() => map.serialize_entry("doubleValue", "NaN")?,
            Value::Double(f64::INFINITY) => map.serialize_entry("doubleValue", "Infinity")?,
            Value::Double(f64::NEG_INFINITY) => map.serialize_entry("doubleValue", "-Infinity")?,
            Value::Double(number) => map.serialize_entry("doubleValue", number)?,
            Value::Bytes(bytes) => map.serialize_entry("bytesValue", &BASE64.encode(bytes))?,
            Value::Array(values) => {
                let values: Vec<OfValue<'_>> = values.iter().map(OfValue).collect();
                map.serialize_entry("arrayValue", &Values { values })?;
            }
            Value::Map(nested) => map.serialize_entry("kvlistValue", &Values { values: OfAttributes(nested) })?,
        }
        map.end()
    }
}

/// A value as it is read.
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OfAny(PhantomData))
    }
}

struct OfAny<'de>(PhantomData<&'de ()>);

impl<'de> Visitor<'de> for OfAny<'de> {
    type Value = Any;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value, as {\"stringValue\": \"x\"}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Any, M::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct List {
            #[serde(deserialize_with = "or_default")]
            values: Vec<Any>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Nested {
            #[serde(with = "attributes")]
            values: Attributes,
        }
        let mut value = Value::Empty;
        while let Some(key) = map.next_key::<String>()? {
            let found = match key.as_str() {
                "stringValue" => map.next_value::<Option<String>>()?.map(Value::String),
                "boolValue" => map.next_value::<Option<bool>>()?.map(Value::Bool),
                "intValue" => match map.next_value::<Scalar>()? {
                    Scalar::Null => None,
                    number => Some(Value::Int(number.whole()?)),
                },
                "doubleValue" => match map.next_value::<Scalar>()? {
                    Scalar::Null => None,
                    number => Some(Value::Double(number.float()?)),
                },
                "bytesValue" => match map.next_value::<Option<String>>()? {
                    None => None,
                    Some(text) => {
                        let bytes = BASE64.decode(&text).or_else(|_| URL_SAFE.decode(&text));
                        Some(Value::Bytes(bytes.map_err(|_| {
                            M::Error::custom(format!("the bytes {text:?} are not accepted; accepted: base64"))
                        })?))
                    }
                },
                "arrayValue" => map
                    .next_value::<Option<List>>()?
                    .map(|list| Value::Array(list.values.into_iter().map(|Any(value)| value).collect())),
                "kvlistValue" => map.next_value::<Option<Nested>>()?.map(|nested| Value::Map(nested.values)),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            value = found.unwrap_or(value);
        }
        Ok(Any(value))
    }
}
