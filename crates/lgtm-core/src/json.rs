//! JSON text as log lines have it: appended to a buffer, with everything escaped that a reader of lines or a terminal would take for
//! more than text. Caller threads; pure functions.

use crate::span::Value;
use crate::unprintable::is_unprintable;

/// Whether a name has a meaning of its own in a log line.
#[must_use]
#[inline]
pub fn is_reserved(name: &[u8]) -> bool {
    matches!(
        name,
        b"message" | b"level" | b"target" | b"spans" | b"truncated" | b"trace_id" | b"span_id" | b"trace_sampled"
    )
}

/// Whether a name can stand in a line as it is: it has no meaning of its own there, and nothing in it is escaped.
#[must_use]
pub(crate) fn is_plain_name(name: &str) -> bool {
    !is_reserved(name.as_bytes()) && !has_escaped(name.as_bytes())
}

/// Appends `,"name":`. `plain`: the name is known to need neither another name nor escapes.
#[inline]
pub fn field_name(line: &mut Vec<u8>, key: &[u8], plain: bool) {
    if !plain && is_reserved(key) {
        line.extend_from_slice(b",\"field_");
    } else if !plain && has_escaped(key) {
        line.push(b',');
        escaped(line, key);
        line.push(b':');
        return;
    } else {
        line.extend_from_slice(b",\"");
    }
    line.extend_from_slice(key);
    line.extend_from_slice(b"\":");
}

/// Appends `,"name":value`. `plain` as in [`field_name`].
#[inline]
pub fn field(line: &mut Vec<u8>, key: &[u8], value: Value<'_>, plain: bool) {
    field_name(line, key, plain);
    self::value(line, value);
}

/// Appends a value.
#[inline]
pub fn value(line: &mut Vec<u8>, value: Value<'_>) {
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
                b"NaN"
            } else if number > 0.0 {
                b"+Inf"
            } else {
                b"-Inf"
            },
        ),
        Value::Bool(true) => line.extend_from_slice(b"true"),
        Value::Bool(false) => line.extend_from_slice(b"false"),
    }
}

/// Appends a JSON string (RFC 8259, section 7) of UTF-8 text.
#[inline]
pub fn string(line: &mut Vec<u8>, text: &[u8]) {
    if has_escaped(text) {
        escaped(line, text);
        return;
    }
    line.push(b'"');
    line.extend_from_slice(text);
    line.push(b'"');
}

/// Appends a JSON string with everything escaped that a reader of lines or a terminal would take for more than text.
#[inline(never)]
pub fn escaped(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            // None of them is beyond the basic plane: four digits do.
            control if is_unprintable(control) => {
                let digit = |shift: u32| {
                    let digit = (u32::from(control) >> shift) as usize & 15;
                    b"0123456789abcdef".get(digit).copied().unwrap_or(b'0')
                };
                line.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            plain => line.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    line.push(b'"');
}

/// Whether a byte may have to be escaped, eight bytes at a time; the last eight overlap what was seen.
#[must_use]
#[inline]
pub fn has_escaped(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else { return has_escaped_short(text) };
    let mut found = escaped_in(u64::from_le_bytes(*last));
    for word in text.as_chunks::<8>().0 {
        found |= escaped_in(u64::from_le_bytes(*word));
    }
    found != 0
}

/// Less than eight bytes, as one word: the gaps are filled with what stands in the text, or with spaces.
#[inline]
fn has_escaped_short(text: &[u8]) -> bool {
    let word = match (text, text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (_, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | (u64::from(u32::from_le_bytes(*last)) << 32)
        }
        ([one, rest @ ..], ..) => {
            let two = rest.first().unwrap_or(one);
            let three = rest.last().unwrap_or(one);
            u64::from_le_bytes([*one, *two, *three, b' ', b' ', b' ', b' ', b' '])
        }
        ([], ..) => return false,
    };
    escaped_in(word) != 0
}

/// Not zero if one of the eight bytes must be escaped, or may be part of a character that must: any beyond ASCII.
#[inline]
fn escaped_in(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is = |byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    // 0x7f becomes 0x80. UTF-8 has no 0xff, which would carry over.
    let delete = word.wrapping_add(ONES);
    (below_space | is(b'"') | is(b'\\') | delete | word) & HIGH
}

/// The fields in a text that [`field`] has written, each with its comma.
pub fn fields(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (mut in_string, mut escaped) = (false, false);
        // A comma inside a string begins no field.
        let ends = |byte: &u8| {
            let here = *byte == b',' && !in_string;
            in_string ^= *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            here
        };
        let length = rest.get(1..)?.iter().position(ends).map_or(rest.len(), |comma| comma + 1);
        let (field, others) = rest.split_at(length);
        rest = others;
        (!field.is_empty()).then_some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_split_into_its_fields(values: Vec<(String, i64)>) {
            let mut line = Vec::new();
            let mut each = Vec::new();
            for (text, number) in &values {
                for value in [Value::from(text), Value::Integer(*number)] {
                    let before = line.len();
                    field(&mut line, text.as_bytes(), value, false);
                    each.push(line[before..].to_vec());
                }
            }
            prop_assert_eq!(fields(&line).collect::<Vec<_>>(), each);
        }

        #[test]
        fn any_text_is_one_json_string_that_reads_back(text: String) {
            let mut line = Vec::new();
            string(&mut line, text.as_bytes());
            prop_assert!(!std::str::from_utf8(&line).unwrap().contains(is_unprintable));
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }

        #[test]
        fn any_number_reads_back(double: f64, integer: i64) {
            let mut line = b"{\"x\":0".to_vec();
            field(&mut line, b"double", Value::Double(double), true);
            field(&mut line, b"integer", Value::Integer(integer), false);
            line.push(b'}');
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
        for name in ["message", "level", "target", "spans", "truncated", "trace_id", "span_id", "trace_sampled"] {
            let mut line = Vec::new();
            field(&mut line, name.as_bytes(), Value::Bool(true), false);
            assert_eq!(String::from_utf8(line).unwrap(), format!(",\"field_{name}\":true"));
        }
    }
}
