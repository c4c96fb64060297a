//! Trace and span ids in the three spellings that the backends use: full hexadecimal, hexadecimal without leading zeros
//! (Tempo's search), and base64 of the bytes (Tempo's JSON).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Serialize, Serializer};

use crate::Error;
use crate::error::one_line;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The id of a trace. Written as 32 lower-case hexadecimal digits; read from 1 to 32, as search answers and people leave out
/// leading zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TraceId([u8; 16]);

/// The id of a span. Written as 16 lower-case hexadecimal digits; read from 1 to 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $bytes:literal, $kind:literal) => {
        impl $name {
            /// The id of these bytes.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes, most significant first.
            pub fn to_bytes(self) -> [u8; $bytes] {
                self.0
            }

            /// Whether it is all zeros, which means "none".
            pub fn is_zero(self) -> bool {
                self.0 == [0; $bytes]
            }

            /// From a field of a trace in JSON: all hexadecimal digits or base64, told apart by length. Empty is all zeros.
            pub(crate) fn from_json_text(text: &str) -> Result<Self, Error> {
                if text.is_empty() || text.len() == 2 * $bytes {
                    return if text.is_empty() { Ok(Self::default()) } else { text.parse() };
                }
                let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.map(Self).ok_or_else(|| invalid(text, $kind, 2 * $bytes))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; $bytes];
                parse_hex(text, &mut bytes).ok_or_else(|| invalid(text, $kind, 2 * $bytes))?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

id!(TraceId, 16, "trace");
id!(SpanId, 8, "span");

/// Reads hexadecimal digits into the low end of `bytes`.
fn parse_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.is_empty() || text.len() > 2 * bytes.len() {
        return None;
    }
    for (index, digit) in text.bytes().rev().enumerate() {
        let value = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        *bytes.iter_mut().rev().nth(index / 2)? |= value << (4 * (index % 2));
    }
    Some(())
}

fn invalid(text: &str, kind: &'static str, digits: usize) -> Error {
    Error::InvalidId { value: one_line(text, 64), kind, digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_come_back() {
        let id: TraceId = "7651916CD43DD8448EB211C80319C".parse().unwrap();
        assert_eq!(id.to_string(), "0007651916cd43dd8448eb211c80319c");
        assert_eq!("1".parse::<SpanId>().unwrap().to_string(), "0000000000000001");
    }

    #[test]
    fn hexadecimal_and_base64_fields_are_the_same_id() {
        let hex = TraceId::from_json_text("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(TraceId::from_json_text("CvdlGRbNQ92ESOshHIAxnA==").unwrap(), hex);
        let span = SpanId::from_json_text("b7ad6b7169203331").unwrap();
        assert_eq!(SpanId::from_json_text("t61rcWkgMzE=").unwrap(), span);
        assert!(SpanId::from_json_text("").unwrap().is_zero());
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for text in ["", "xyz", "0af7651916cd43dd8448eb211c80319c0", "é"] {
            let error = text.parse::<TraceId>().unwrap_err().to_string();
            assert!(error.contains("1 to 32 hexadecimal digits"), "{error}");
        }
        assert!(SpanId::from_json_text("AAAA").is_err());
    }
}
