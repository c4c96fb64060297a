//! Shape: the line. Caller threads; appends to reused buffers. JSON here, logfmt and text in `plain.rs`.

pub(crate) mod plain;

use std::cell::RefCell;

use lgtm_core::callsite::remembered;
use lgtm_core::catalogue::LOGS_TRUNCATED_TOTAL;
use lgtm_core::json::{self, field, field_name, has_escaped, is_reserved, string};
use lgtm_core::span::{Attributes, LogContext, SpanRecord, Value, VisitSpan, VisitedEvent};
use tracing_core::Metadata;

use crate::labels::level_name;

/// What this module remembers of a callsite of events.
const LEVEL_AND_TARGET: u8 = 1;
/// What it remembers of a callsite of spans.
const SPAN_NAME: u8 = 4;

/// What the names of a callsite's fields say, once for all its spans or events: all their fields are the callsite's.
#[derive(Clone, Copy, Default)]
struct Names {
    /// Whether they are distinct, and none is a name of ours or one that JSON would escape.
    plain: bool,
    keys: Keys,
}

impl Names {
    const BYTES: usize = 17;

    fn of(callsite: &Metadata<'_>) -> Self {
        let mut names = Self { plain: true, keys: Keys::default() };
        for (place, field) in callsite.fields().iter().enumerate() {
            let name = field.name().as_bytes();
            // An event's message is the line's own, no field.
            if callsite.is_event() && name == b"message" {
                continue;
            }
            let twice = || callsite.fields().iter().skip(place + 1).any(|other| other.name().as_bytes() == name);
            names.plain &= !is_reserved(name) && !has_escaped(name) && !twice();
            names.keys.insert(Keys::as_written(name));
        }
        names
    }

    /// Of a record that has no callsite to name its fields.
    #[cold]
    fn of_attributes(attributes: &[u8]) -> Self {
        let mut names = Self::default();
        Attributes::new(attributes).for_each(|attribute| names.keys.insert(Keys::as_written(attribute.key)));
        names
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.plain));
        bytes.extend_from_slice(&self.keys.one.to_le_bytes());
        bytes.extend_from_slice(&self.keys.other.to_le_bytes());
    }

    /// Also gives what is remembered behind them.
    #[inline]
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (names, rest) = bytes.split_first_chunk::<{ Self::BYTES }>()?;
        let [plain, a @ .., b1, b2, b3, b4, b5, b6, b7, b8] = *names;
        let keys = Keys { one: u64::from_le_bytes(a), other: u64::from_le_bytes([b1, b2, b3, b4, b5, b6, b7, b8]) };
        Some((Self { plain: plain != 0, keys }, rest))
    }
}

/// Writes the line up to the fields of the spans. Gives the keys of the event.
#[inline]
pub(crate) fn begin(line: &mut Vec<u8>, callsite: &'static Metadata<'static>, event: &VisitedEvent) -> Keys {
    let names = head(line, callsite, event.message(), event);
    if let Some(fields) = event.json_fields() {
        line.extend_from_slice(fields);
        return names.keys;
    }
    for attribute in Attributes::new(event.attributes()) {
        // With its prefix a name may be that of another field.
        if names.plain || !stands_already(line, attribute.key) {
            field(line, attribute.key, attribute.value, names.plain);
        }
    }
    names.keys
}

fn head(line: &mut Vec<u8>, callsite: &'static Metadata<'static>, message: &str, event: &VisitedEvent) -> Names {
    line.extend_from_slice(b"{\"message\":");
    string(line, message.as_bytes());
    if let Some(origin) = event.origin() {
        line.extend_from_slice(b",\"level\":\"");
        line.extend_from_slice(level_name(*callsite.level()).as_bytes());
        line.extend_from_slice(b"\",\"target\":");
        string(line, origin.target.as_bytes());
        return if origin.record.is_some() { Names::of_attributes(event.attributes()) } else { Names::of(callsite) };
    }
    let make = |bytes: &mut Vec<u8>| {
        Names::of(callsite).write(bytes);
        bytes.extend_from_slice(b",\"level\":\"");
        bytes.extend_from_slice(level_name(*callsite.level()).as_bytes());
        bytes.extend_from_slice(b"\",\"target\":");
        string(bytes, callsite.target().as_bytes());
    };
    remembered(callsite, LEVEL_AND_TARGET, make, |bytes| {
        let (names, bytes) = Names::read(bytes).unwrap_or_default();
        line.extend_from_slice(bytes);
        names
    })
}

/// Ends the line, outside all spans or after them.
pub(crate) fn end(line: &mut Vec<u8>) {
    line.push(b'}');
}

/// Says that something is missing in the line, and counts it.
#[cold]
pub(crate) fn mark(line: &mut Vec<u8>) {
    line.extend_from_slice(MARK);
    count_truncated();
}

const MARK: &[u8] = b",\"truncated\":true";

pub(crate) fn count_truncated() {
    // The recorder is the program's: what it logs of this may be cut again.
    lgtm_core::suppressed(|| metrics::counter!(LOGS_TRUNCATED_TOTAL).increment(1));
}

/// Replaces a line over the limit by one that says so, with the fields that fit.
pub(crate) fn truncate(
    line: &mut Vec<u8>,
    callsite: &'static Metadata<'static>,
    event: &VisitedEvent,
    limit: usize,
    spans: Spans<'_>,
) {
    line.clear();
    head(line, callsite, cut_message(event, limit), event);
    let room = limit.saturating_sub(MARK.len() + 1);
    let append = |line: &mut Vec<u8>, key: &[u8], value: Value<'_>| {
        let before = line.len();
        if !stands_already(line, key) {
            field(line, key, value, false);
        }
        if line.len() > room {
            line.truncate(before);
        }
    };
    for own in event.json_fields().into_iter().flat_map(json::fields) {
        if line.len() + own.len() <= room {
            line.extend_from_slice(own);
        }
    }
    if event.json_fields().is_none() {
        for attribute in Attributes::new(event.attributes()) {
            append(line, attribute.key, attribute.value);
        }
    }
    with_names(|names| {
        spans(&mut |record| {
            string(&mut names.text, record.name().as_bytes());
            names.ends.push(names.text.len());
            for attribute in record.attributes() {
                append(line, attribute.key, attribute.value);
            }
        });
        let before = line.len();
        names.write(line);
        if line.len() > room {
            line.truncate(before);
        }
    });
    if !event.is_cut() {
        // Else it was counted when it was marked.
        count_truncated();
    }
    line.extend_from_slice(MARK);
    end(line);
}

/// What stays of the message of a line over the limit. Escaping makes it at most six times longer.
pub(crate) fn cut_message(event: &VisitedEvent, limit: usize) -> &str {
    let message = event.message();
    message.get(..message.floor_char_boundary(limit / 8)).unwrap_or_default()
}

/// The names of a line's spans, from the leaf to the root, while they are collected.
#[derive(Default)]
struct SpanNames {
    text: Vec<u8>,
    ends: Vec<usize>,
}

thread_local! {
    static SPAN_NAMES: RefCell<SpanNames> = const { RefCell::new(SpanNames { text: Vec::new(), ends: Vec::new() }) };
}

/// Calls its argument with every span of a line, leaf first.
pub(crate) type Spans<'a> = &'a mut dyn FnMut(VisitSpan<'_>);

/// Writes fields and names of an event's spans behind its own fields; `keys` are those of the event.
pub(crate) fn append_spans(line: &mut Vec<u8>, mut keys: Keys, spans: Spans<'_>) {
    with_names(|names| {
        collect(line, names, &mut keys, spans);
        names.write(line);
    });
}

/// Writes fields and names of a span and its ancestors for all lines that are still to come.
pub(crate) fn context(context: &mut LogContext, spans: Spans<'_>) {
    let mut keys = Keys::default();
    with_names(|names| {
        collect(&mut context.fields, names, &mut keys, spans);
        names.write(&mut context.spans);
    });
    context.keys = keys.one;
}

/// No user code runs inside `work`: nobody asks for the names while they are in use.
fn with_names(work: impl FnOnce(&mut SpanNames)) {
    let mut work = Some(work);
    let _ = SPAN_NAMES.try_with(|names| {
        if let (Ok(mut names), Some(work)) = (names.try_borrow_mut(), work.take()) {
            names.text.clear();
            names.ends.clear();
            work(&mut names);
            names.text.shrink_to(4096);
        }
    });
    // The thread is ending.
    if let Some(work) = work {
        work(&mut SpanNames::default());
    }
}

/// The leaf's field wins over the root's of the same name, and what stands in `fields` already wins over both.
fn collect(fields: &mut Vec<u8>, names: &mut SpanNames, keys: &mut Keys, spans: Spans<'_>) {
    spans(&mut |record| {
        let own = span_name(&mut names.text, record);
        names.ends.push(names.text.len());
        if own.plain && !keys.may_share(own.keys) {
            match record.json_fields() {
                Some(json) => fields.extend_from_slice(json),
                None => {
                    for attribute in record.attributes() {
                        field(fields, attribute.key, attribute.value, true);
                    }
                }
            }
            keys.insert(own.keys);
            return;
        }
        for attribute in record.attributes() {
            let key = Keys::as_written(attribute.key);
            if !keys.may_share(key) || !stands_already(fields, attribute.key) {
                keys.insert(key);
                field(fields, attribute.key, attribute.value, own.plain);
            }
        }
    });
}

/// Writes the span's name, and says what the names of its fields are.
fn span_name(text: &mut Vec<u8>, record: &SpanRecord) -> Names {
    let Some(callsite) = record.metadata else {
        string(text, record.name().as_bytes());
        return Names::default();
    };
    let make = |bytes: &mut Vec<u8>| {
        Names::of(callsite).write(bytes);
        string(bytes, callsite.name().as_bytes());
    };
    remembered(callsite, SPAN_NAME, make, |bytes| {
        let (names, name) = Names::read(bytes).unwrap_or_default();
        match &record.name {
            None => text.extend_from_slice(name),
            Some(name) => string(text, name.as_bytes()),
        }
        Names { plain: names.plain && !record.has_foreign_attributes, ..names }
    })
}

impl SpanNames {
    /// `,"spans":["root","leaf"]`
    fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b",\"spans\":[");
        for (place, end) in self.ends.iter().enumerate().rev() {
            let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
            line.extend_from_slice(self.text.get(start..*end).unwrap_or_default());
            line.push(if place == 0 { b']' } else { b',' });
        }
        if self.ends.is_empty() {
            line.push(b']');
        }
    }
}

/// Whether a field of this name stands in the text.
///
/// Inside a JSON string every quote has a backslash before it, so `,"name":` is found at the top level only.
fn stands_already(fields: &mut Vec<u8>, key: &[u8]) -> bool {
    let start = fields.len();
    field_name(fields, key, false);
    let (mut rest, name) = fields.split_at(start);
    let mut found = false;
    // Only a comma can begin a name.
    while let Some(comma) = rest.iter().position(|byte| *byte == b',') {
        let (_, candidate) = rest.split_at(comma);
        if candidate.starts_with(name) {
            found = true;
            break;
        }
        rest = candidate.get(1..).unwrap_or_default();
    }
    fields.truncate(start);
    found
}

/// A set of keys, as a bit for each, twice: what has one bit of a member by chance seldom has the other too.
#[derive(Clone, Copy, Default)]
pub(crate) struct Keys {
    /// By length and ends of the key.
    pub(crate) one: u64,
    /// By what is inside.
    other: u64,
}

impl Keys {
    #[inline]
    fn of(key: &[u8]) -> Self {
        let byte = |place: usize| key.get(place).copied().map_or(0, usize::from);
        let length = key.len();
        let one = byte(0) * 31 + byte(length.wrapping_sub(1)) * 7 + length;
        let other = byte(1) * 5 + byte(length / 2) * 13 + length * 3;
        Self { one: 1 << (one & 63), other: 1 << (other & 63) }
    }

    /// Of the name that the key has in the line.
    fn as_written(key: &[u8]) -> Self {
        if is_reserved(key) { Self::of(&[b"field_", key].concat()) } else { Self::of(key) }
    }

    #[inline]
    fn insert(&mut self, key: Self) {
        self.one |= key.one;
        self.other |= key.other;
    }

    #[inline]
    fn may_share(self, keys: Self) -> bool {
        self.one & keys.one != 0 && self.other & keys.other != 0
    }
}
