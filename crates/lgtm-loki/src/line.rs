//! Shape: the JSON line. Caller threads; appends to a reused buffer.

use lgtm_core::span::{Attributes, LogContext, Value, VisitSpan, VisitedEvent};
use tracing_core::Metadata;

use crate::labels::level_name;

/// The longest line; Loki's default limit is 256 KiB.
pub(crate) const MAX_LINE_BYTES: usize = 256 * 1024;
/// The most of a message that stays of a line over the limit. Escaping makes it at most six times longer.
const TRUNCATED_MESSAGE_BYTES: usize = 32 * 1024;

/// Names with a meaning of their own.
const RESERVED: [&str; 7] = ["message", "level", "target", "spans", "trace_id", "span_id", "trace_sampled"];

/// Writes the line up to the fields of the spans.
pub(crate) fn begin(line: &mut Vec<u8>, metadata: &Metadata<'_>, event: &VisitedEvent) {
    head(line, metadata, event.message());
    for attribute in Attributes::new(event.attributes()) {
        field(line, attribute.key, attribute.value);
    }
}

fn head(line: &mut Vec<u8>, metadata: &Metadata<'_>, message: &str) {
    line.extend_from_slice(b"{\"message\":");
    string(line, message);
    line.extend_from_slice(b",\"level\":\"");
    line.extend_from_slice(level_name(*metadata.level()).as_bytes());
    line.extend_from_slice(b"\",\"target\":");
    string(line, metadata.target());
}

/// Ends the line, outside all spans or after them.
pub(crate) fn end(line: &mut Vec<u8>) {
    line.push(b'}');
}

/// Replaces a line over the limit by one that says so.
pub(crate) fn truncate(line: &mut Vec<u8>, metadata: &Metadata<'_>, event: &VisitedEvent) {
    line.clear();
    let message = event.message();
    head(line, metadata, message.get(..message.floor_char_boundary(TRUNCATED_MESSAGE_BYTES)).unwrap_or_default());
    line.extend_from_slice(b",\"truncated\":true}");
}

/// The fields of an event's spans, leaf first, as they stand in the line, without those that `hidden` names.
pub(crate) fn context(context: &mut LogContext, hidden: &[u8], spans: &mut dyn FnMut(VisitSpan<'_>)) {
    let mut seen: Vec<String> = Attributes::new(hidden).map(|attribute| attribute.key.to_owned()).collect();
    let mut names: Vec<Vec<u8>> = Vec::new();
    spans(&mut |record| {
        for attribute in record.attributes() {
            if !seen.iter().any(|known| known == attribute.key) {
                seen.push(attribute.key.to_owned());
                context.keys |= key_bit(attribute.key);
                field(&mut context.fields, attribute.key, attribute.value);
            }
        }
        let mut name = Vec::new();
        string(&mut name, record.name());
        names.push(name);
    });
    context.spans.extend_from_slice(b",\"spans\":[");
    for (place, name) in names.iter().rev().enumerate() {
        if place > 0 {
            context.spans.push(b',');
        }
        context.spans.extend_from_slice(name);
    }
    context.spans.push(b']');
}

/// Whether a field of the event may stand among those of its spans: then the event's wins.
pub(crate) fn may_collide(event: &VisitedEvent, keys: u64) -> bool {
    keys != 0 && Attributes::new(event.attributes()).any(|attribute| keys & key_bit(attribute.key) != 0)
}

/// One of 64 bits, by length and ends of the key.
fn key_bit(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let (first, last) = (bytes.first().copied().unwrap_or(0), bytes.last().copied().unwrap_or(0));
    let hash =
        usize::from(first).wrapping_mul(31).wrapping_add(usize::from(last).wrapping_mul(7)).wrapping_add(bytes.len());
    1 << (hash & 63)
}

fn field(line: &mut Vec<u8>, key: &str, value: Value<'_>) {
    line.push(b',');
    if RESERVED.contains(&key) {
        line.extend_from_slice(b"\"field_");
        line.extend_from_slice(key.as_bytes());
        line.push(b'"');
    } else {
        string(line, key);
    }
    line.push(b':');
    match value {
        Value::Text(text) => string(line, text),
        Value::Integer(number) => line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        Value::Double(number) if number.is_finite() => {
            line.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
        }
        // JSON has no such numbers.
        Value::Double(number) => string(
            line,
            if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            },
        ),
        Value::Bool(true) => line.extend_from_slice(b"true"),
        Value::Bool(false) => line.extend_from_slice(b"false"),
    }
}

/// A JSON string (RFC 8259, section 7).
fn string(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(place) = first_escaped(rest) {
        let (plain, tail) = rest.split_at(place);
        line.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            control => {
                let digit = |value: u8| b"0123456789abcdef".get(usize::from(value & 15)).copied().unwrap_or(b'0');
                line.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(*control)]);
            }
        }
        rest = tail;
    }
    line.extend_from_slice(rest);
    line.push(b'"');
}

/// The place of the first byte that must be escaped, eight bytes at a time.
#[inline]
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut place = 0;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = <[u8; 8]>::try_from(chunk).map_or(0, u64::from_le_bytes);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES) & !(word ^ (ONES * u64::from(b'"')));
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES) & !(word ^ (ONES * u64::from(b'\\')));
        let found = (below_space | quote | backslash) & HIGH;
        if found != 0 {
            return Some(place + found.trailing_zeros() as usize / 8);
        }
        place += 8;
    }
    let escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    chunks.remainder().iter().position(escaped).map(|offset| place + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_one_json_string_that_reads_back(text: String) {
            let mut line = Vec::new();
            string(&mut line, &text);
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }

        #[test]
        fn any_number_reads_back(double: f64, integer: i64) {
            let mut line = b"{\"x\":0".to_vec();
            field(&mut line, "double", Value::Double(double));
            field(&mut line, "integer", Value::Integer(integer));
            end(&mut line);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read["integer"].as_i64(), Some(integer));
            if double.is_finite() {
                prop_assert_eq!(read["double"].as_f64(), Some(double));
            } else {
                prop_assert!(read["double"].is_string());
            }
        }
    }

    #[test]
    fn fields_named_like_ours_are_renamed() {
        for name in RESERVED {
            let mut line = Vec::new();
            field(&mut line, name, Value::Bool(true));
            assert_eq!(String::from_utf8(line).unwrap(), format!(",\"field_{name}\":true"));
        }
    }
}
