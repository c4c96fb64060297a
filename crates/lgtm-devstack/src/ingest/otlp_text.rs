//! Values of OTLP as text, where a line, a label or structured metadata has only text. Pure.
//!
//! Source: OpenTelemetry Collector, `pcommon.Value.AsString`, which Loki, Prometheus and Mimir use: lists and maps as Go's `encoding/json` writes
//! them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::attribute::Value;
use crate::go_number::json_float;

/// The text of a value.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Empty => String::new(),
        Value::String(text) => text.clone(),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        Value::Double(number) if !number.is_finite() => {
            format!("json: unsupported value: {}", crate::go_number::float(*number))
        }
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => scalar(value),
        Value::Array(_) | Value::Map(_) => {
            let mut text = String::new();
            // A number that JSON has not leaves nothing of the rest, as there.
            if json(value, &mut text) { text } else { String::new() }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Double(number) => json_float(*number),
        other => other.to_string(),
    }
}

/// False if JSON cannot say it.
fn json(value: &Value, out: &mut String) -> bool {
    match value {
        Value::Empty => out.push_str("null"),
        Value::String(text) => quoted(text, out),
        Value::Bytes(bytes) => quoted(&STANDARD.encode(bytes), out),
        Value::Double(number) if !number.is_finite() => return false,
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => out.push_str(&scalar(value)),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                if !json(item, out) {
                    return false;
                }
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            // Sorted, and of two of one name the later.
            let sorted: BTreeMap<&str, &Value> = map.iter().collect();
            for (at, (name, item)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                quoted(name, out);
                out.push(':');
                if !json(item, out) {
                    return false;
                }
            }
            out.push('}');
        }
    }
    true
}

/// As JSON, with the characters escaped that Go escapes for HTML.
fn quoted(text: &str, out: &mut String) {
    let plain = serde_json::Value::from(text).to_string();
    for character in plain.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};

    use super::*;

    #[test]
    fn lists_and_maps_are_json_as_go_writes_it() {
        let any = |value| AnyValue { value: Some(value) };
        let pair = |key: &str, value| KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() };
        let list = any(any_value::Value::ArrayValue(ArrayValue {
            values: vec![
                any(any_value::Value::StringValue("a<b>&\"\u{2028}é".to_owned())),
                AnyValue { value: None },
                any(any_value::Value::BytesValue(vec![1, 2, 255])),
                any(any_value::Value::DoubleValue(1e-9)),
            ],
        }));
        let value = any(any_value::Value::KvlistValue(KeyValueList {
            values: vec![pair("z", list), pair("a", any(any_value::Value::IntValue(-7)))],
        }));
        let expected = r#"{"a":-7,"z":["a\u003cb\u003e\u0026\"\u2028é",null,"AQL/",1e-9]}"#;
        assert_eq!(text_of(&Value::from(value)), expected);
        assert_eq!(text_of(&Value::Array(vec![Value::Double(f64::NAN)])), "");
        assert_eq!(text_of(&Value::Double(f64::NAN)), "json: unsupported value: NaN");
    }
}
