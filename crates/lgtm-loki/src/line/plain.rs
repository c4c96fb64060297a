//! Shape: lines in logfmt and as text. Caller threads; appends to reused buffers.
//!
//! The same fields as in JSON, under the same rules: the event wins over its spans, the leaf over the root; a field that is
//! named like one of the line's own gets the prefix `field_`. No text can be taken for another line, field or name: in a line of
//! text a message with `=` or `"` stands in quotes.

use std::cell::RefCell;
use std::io::Write as _;

use lgtm_core::is_unprintable;
use lgtm_core::json::{escaped, is_reserved};
use lgtm_core::span::{Attributes, Value, VisitedEvent};
use tracing_core::Metadata;

use super::{Spans, count_truncated, cut_message};
use crate::labels::level_name;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `level=info target=shop message=paid order_id=17 spans=request:query`
    Logfmt,
    /// `INFO request:query: shop: paid order_id=17`
    Text,
}

/// Parts of the line before their place in it is known.
#[derive(Default)]
struct Parts {
    /// ` key=value` of all fields, each with its end.
    fields: Vec<u8>,
    field_ends: Vec<usize>,
    /// The names of the fields so far, as they stand in the line, each with its end.
    keys: Vec<u8>,
    key_ends: Vec<usize>,
    /// The names of the spans, from the leaf to the root, each with its end.
    spans: Vec<u8>,
    span_ends: Vec<usize>,
}

thread_local! {
    static PARTS: RefCell<Parts> = RefCell::default();
}

/// Writes the line. One over the limit keeps the beginning of its message and the fields that fit, and says so.
pub(crate) fn write(
    line: &mut Vec<u8>,
    style: Style,
    callsite: &Metadata<'_>,
    event: &VisitedEvent,
    limit: usize,
    spans: Spans<'_>,
) {
    let mut parts = PARTS.try_with(RefCell::take).unwrap_or_default();
    parts.clear();
    for attribute in Attributes::new(event.attributes()) {
        parts.field(attribute.key, attribute.value);
    }
    spans(&mut |record| {
        for attribute in record.attributes() {
            parts.field(attribute.key, attribute.value);
        }
        parts.spans.extend_from_slice(record.name().as_bytes());
        parts.span_ends.push(parts.spans.len());
    });
    let names = |line: &mut Vec<u8>| {
        for (place, span) in pieces(&parts.spans, &parts.span_ends).rev().enumerate() {
            if place > 0 {
                line.push(b':');
            }
            match style {
                // The joined names are one value, escaped as such.
                Style::Logfmt => line.extend_from_slice(span),
                Style::Text => name(line, span),
            }
        }
    };
    let compose = |line: &mut Vec<u8>, message: &str, room: usize| {
        let append = |line: &mut Vec<u8>, write: &dyn Fn(&mut Vec<u8>)| {
            let before = line.len();
            write(line);
            if line.len() > room {
                line.truncate(before);
            }
        };
        if style == Style::Text {
            line.extend_from_slice(callsite.level().as_str().as_bytes());
            line.push(b' ');
            if !parts.span_ends.is_empty() {
                append(line, &|line| {
                    names(line);
                    line.extend_from_slice(b": ");
                });
            }
        }
        head(line, style, callsite, event, message);
        for field in pieces(&parts.fields, &parts.field_ends) {
            append(line, &|line| line.extend_from_slice(field));
        }
        if style == Style::Logfmt && !parts.span_ends.is_empty() {
            append(line, &|line| {
                let start = line.len();
                names(line);
                let joined = line.split_off(start);
                line.extend_from_slice(b" spans=");
                text(line, &joined);
            });
        }
    };
    compose(line, event.message(), usize::MAX);
    let room = limit.saturating_sub(MARK.len());
    if line.len() > limit || event.is_cut() {
        if line.len() > room {
            line.clear();
            // The names of spans stand before the message: half of the room is theirs at most.
            compose(line, cut_message(event, limit), room);
        }
        line.extend_from_slice(MARK);
        count_truncated();
    }
    parts.shrink();
    let _ = PARTS.try_with(|cell| cell.replace(parts));
}

const MARK: &[u8] = b" truncated=true";

/// What every line begins with.
fn head(line: &mut Vec<u8>, style: Style, callsite: &Metadata<'_>, event: &VisitedEvent, message: &str) {
    let target = event.origin().map_or(callsite.target(), |origin| &origin.target);
    match style {
        Style::Logfmt => {
            line.extend_from_slice(b"level=");
            line.extend_from_slice(level_name(*callsite.level()).as_bytes());
            line.extend_from_slice(b" target=");
            text(line, target.as_bytes());
            line.extend_from_slice(b" message=");
            text(line, message.as_bytes());
        }
        Style::Text => {
            name(line, target.as_bytes());
            line.extend_from_slice(b": ");
            words(line, message.as_bytes());
        }
    }
}

impl Parts {
    fn clear(&mut self) {
        self.fields.clear();
        self.field_ends.clear();
        self.keys.clear();
        self.key_ends.clear();
        self.spans.clear();
        self.span_ends.clear();
    }

    fn shrink(&mut self) {
        self.fields.shrink_to(16 * 1024);
        self.keys.shrink_to(4096);
        self.spans.shrink_to(4096);
    }

    /// Appends a field unless one of the same name stands already.
    fn field(&mut self, key: &[u8], value: Value<'_>) {
        let start = self.keys.len();
        if is_reserved(key) {
            self.keys.extend_from_slice(b"field_");
        }
        // What would end a key, or begin a value.
        for character in String::from_utf8_lossy(key).chars() {
            let ends = character.is_whitespace() || is_unprintable(character) || matches!(character, '=' | '"');
            let clean = if ends { '_' } else { character };
            self.keys.extend_from_slice(clean.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let (known, clean) = self.keys.split_at(start);
        if pieces(known, &self.key_ends).any(|known| known == clean) {
            self.keys.truncate(start);
            return;
        }
        let line = &mut self.fields;
        line.push(b' ');
        line.extend_from_slice(clean);
        line.push(b'=');
        self.key_ends.push(self.keys.len());
        // Writing to a vector cannot fail.
        let _ = match value {
            Value::Text(value) => {
                text(line, value);
                Ok(())
            }
            Value::Integer(number) => write!(line, "{number}"),
            Value::Double(number) if number.is_finite() => write!(line, "{number}"),
            Value::Double(number) if number.is_nan() => write!(line, "NaN"),
            Value::Double(number) => write!(line, "{}Inf", if number > 0.0 { '+' } else { '-' }),
            Value::Bool(flag) => write!(line, "{flag}"),
        };
        self.field_ends.push(self.fields.len());
    }
}

/// The parts that were written one behind the other.
fn pieces<'a>(text: &'a [u8], ends: &'a [usize]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    ends.iter().enumerate().map(|(place, end)| {
        let start = place.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        text.get(start..*end).unwrap_or_default()
    })
}

/// A value, in quotes where it would not be read as one else.
fn text(line: &mut Vec<u8>, value: &[u8]) {
    let plain = |byte: &u8| *byte > b' ' && !matches!(byte, b'=' | b'"' | b'\\' | 0x7f);
    if !value.is_empty() && value.iter().all(plain) && !has_unprintable(value) {
        line.extend_from_slice(value);
    } else {
        escaped(line, value);
    }
}

/// Text for people, in quotes where it could be taken for a field or a part of the line of its own.
fn words(line: &mut Vec<u8>, text: &[u8]) {
    let separates = |byte: &u8| matches!(byte, b'=' | b'"');
    if text.iter().any(separates) || has_unprintable(text) {
        escaped(line, text);
    } else {
        line.extend_from_slice(text);
    }
}

/// A name in front of the message: `: ` would end it.
fn name(line: &mut Vec<u8>, text: &[u8]) {
    if text.windows(2).any(|pair| pair == b": ") || text.ends_with(b":") {
        escaped(line, text);
    } else {
        words(line, text);
    }
}

fn has_unprintable(text: &[u8]) -> bool {
    text.iter().any(|byte| !(b' '..0x7f).contains(byte)) && String::from_utf8_lossy(text).contains(is_unprintable)
}
