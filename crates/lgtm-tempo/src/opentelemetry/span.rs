//! Shape: the SDK's finished span as OTLP bytes. Caller threads.
//! Source: opentelemetry-proto, `trace/v1/trace.proto` and `common/v1/common.proto`.

use std::time::{SystemTime, UNIX_EPOCH};

use lgtm_core::protobuf::{
    field_length, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, put_varint, varint_length, varint_tag,
};
use lgtm_core::redaction::{REDACTED, is_redacted};
use lgtm_core::span::{Limits, cut};
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::record::{
    DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS, END, EVENT, FLAGS, HAS_IS_REMOTE, IS_REMOTE, KIND, LINK,
    LINK_FLAGS, NAME, PARENT_SPAN_ID, SPAN_ID, START, TRACE_ID, TRACE_STATE, put_count, put_status,
};

/// Appends the content of a finished span; its end in nanoseconds since the Unix epoch.
pub(super) fn span(content: &mut Vec<u8>, data: &SpanData, limits: &Limits) -> u64 {
    let start = nanos(data.start_time);
    let end = nanos(data.end_time).max(start);
    put_context(content, &data.span_context);
    if data.parent_span_id != SpanId::INVALID {
        put_bytes(content, PARENT_SPAN_ID, &data.parent_span_id.to_bytes());
    }
    put_bytes(content, NAME, cut(&data.name, NAME_BYTES).as_bytes());
    put_integer(content, KIND, kind(&data.span_kind));
    put_fixed64(content, START, start);
    put_fixed64(content, END, end);
    let over = attributes(content, ATTRIBUTE, &data.attributes, limits);
    put_count(content, DROPPED_ATTRIBUTES, data.dropped_attributes_count + over);
    let over = events(content, &data.events.events, limits);
    put_count(content, DROPPED_EVENTS, data.events.dropped_count + over);
    for linked in &data.links.links {
        link(content, linked, limits);
    }
    put_count(content, DROPPED_LINKS, data.links.dropped_count);
    match &data.status {
        Status::Unset => {}
        Status::Ok => put_status(content, lgtm_core::span::Status::Ok, ""),
        Status::Error { description } if description.is_empty() => {
            let message = message_of_error(&data.events.events).unwrap_or_default();
            put_status(content, lgtm_core::span::Status::Error, cut(message, NAME_BYTES));
        }
        Status::Error { description } => {
            put_status(content, lgtm_core::span::Status::Error, cut(description, NAME_BYTES));
        }
    }
    let remote = if data.parent_span_is_remote { IS_REMOTE } else { 0 };
    content.extend_from_slice(&FLAGS);
    content.extend_from_slice(&(flags(&data.span_context) | HAS_IS_REMOTE | remote).to_le_bytes());
    end
}

/// Bytes of a name or a status description at most. The limit of values is not for them.
const NAME_BYTES: usize = 128 * 1024;

/// `Span.attributes`.
const ATTRIBUTE: u8 = length_tag(9);

/// Says in attributes which scope a span belongs to: for scopes that are not told apart.
/// Source: OpenTelemetry specification, "Mapping to non-OTLP formats".
pub(super) fn name_scope(data: &mut SpanData) {
    let name = data.instrumentation_scope.name().to_owned();
    data.attributes.push(KeyValue::new("otel.scope.name", name));
    if let Some(version) = data.instrumentation_scope.version() {
        let version = version.to_owned();
        data.attributes.push(KeyValue::new("otel.scope.version", version));
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn kind(kind: &SpanKind) -> u64 {
    use lgtm_core::span::SpanKind as Own;
    let kind = match kind {
        SpanKind::Internal => Own::Internal,
        SpanKind::Server => Own::Server,
        SpanKind::Client => Own::Client,
        SpanKind::Producer => Own::Producer,
        SpanKind::Consumer => Own::Consumer,
    };
    kind as u64
}

fn flags(context: &SpanContext) -> u32 {
    u32::from(context.trace_flags().to_u8())
}

/// Ids and trace state, which have the same numbers in `Span` and `Span.Link`.
fn put_context(content: &mut Vec<u8>, context: &SpanContext) {
    put_bytes(content, TRACE_ID, &context.trace_id().to_bytes());
    put_bytes(content, SPAN_ID, &context.span_id().to_bytes());
    let state = context.trace_state().header();
    if !state.is_empty() {
        put_bytes(content, TRACE_STATE, state.as_bytes());
    }
}

/// tracing-opentelemetry sets the status of a span with an event of level ERROR, but does not say why: the last such
/// event does.
fn message_of_error(events: &[Event]) -> Option<&str> {
    let is_error = |event: &&Event| {
        event.attributes.iter().any(|attribute| {
            attribute.key.as_str() == "level"
                && matches!(&attribute.value, Value::String(level) if level.as_str() == "ERROR")
        })
    };
    events.iter().rev().find(is_error).map(|event| event.name.as_ref())
}

/// Appends events as long as they are within the limit in bytes; how many are not.
fn events(content: &mut Vec<u8>, events: &[Event], limits: &Limits) -> u32 {
    let before = content.len();
    for (place, event) in events.iter().enumerate() {
        let start = content.len();
        put_event(content, event, limits);
        if content.len() - before > limits.span_bytes {
            content.truncate(start);
            return u32::try_from(events.len() - place).unwrap_or(u32::MAX);
        }
    }
    0
}

fn put_event(content: &mut Vec<u8>, event: &Event, limits: &Limits) {
    const TIME: u8 = fixed64_tag(1);
    const NAME: u8 = length_tag(2);
    const ATTRIBUTE: u8 = length_tag(3);
    const DROPPED_ATTRIBUTES: u8 = varint_tag(4);
    put_message(content, EVENT, |content| {
        put_fixed64(content, TIME, nanos(event.timestamp));
        put_bytes(content, NAME, cut(&event.name, NAME_BYTES).as_bytes());
        let over = attributes(content, ATTRIBUTE, &event.attributes, limits);
        put_count(content, DROPPED_ATTRIBUTES, event.dropped_attributes_count + over);
    });
}

fn link(content: &mut Vec<u8>, link: &Link, limits: &Limits) {
    const ATTRIBUTE: u8 = length_tag(4);
    const DROPPED_ATTRIBUTES: u8 = varint_tag(5);
    put_message(content, LINK, |content| {
        put_context(content, &link.span_context);
        let over = attributes(content, ATTRIBUTE, &link.attributes, limits);
        put_count(content, DROPPED_ATTRIBUTES, link.dropped_attributes_count + over);
        let remote = if link.span_context.is_remote() { IS_REMOTE } else { 0 };
        content.push(LINK_FLAGS);
        content.extend_from_slice(&(flags(&link.span_context) | HAS_IS_REMOTE | remote).to_le_bytes());
    });
}

/// Appends a message whose length is known only when it is written: the content moves over for the length.
fn put_message(buffer: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    buffer.push(tag);
    let start = buffer.len();
    write(buffer);
    let length = buffer.len() - start;
    let end = buffer.len();
    put_varint(buffer, length as u64);
    let moved = buffer.len() - end;
    if let Some(message) = buffer.get_mut(start..) {
        message.rotate_right(moved);
    }
}

/// Appends attributes under this tag, as far as they are within the limit in bytes; how many are not. Of several values
/// of one key the last counts: the SDK keeps them all.
pub(super) fn attributes(buffer: &mut Vec<u8>, tag: u8, attributes: &[KeyValue], limits: &Limits) -> u32 {
    const KEY: u8 = length_tag(1);
    const VALUE: u8 = length_tag(2);
    let before = buffer.len();
    let mut over = 0;
    for (place, KeyValue { key, value, .. }) in attributes.iter().enumerate() {
        let later = attributes.get(place + 1..).unwrap_or_default();
        if later.iter().any(|later| later.key == *key) {
            continue;
        }
        let key = cut(key.as_str(), NAME_BYTES);
        let hidden = hides(key, attributes).then(|| Value::from(REDACTED));
        let value = Cut { value: hidden.as_ref().unwrap_or(value), limit: limits.value_bytes };
        let length = value.length();
        let pair = field_length(key.len()) + field_length(length);
        if buffer.len() - before + field_length(pair) > limits.span_bytes {
            over += 1;
            continue;
        }
        buffer.push(tag);
        put_varint(buffer, pair as u64);
        put_bytes(buffer, KEY, key.as_bytes());
        buffer.push(VALUE);
        put_varint(buffer, length as u64);
        value.put(buffer);
    }
    over
}

/// Whether the value under this name, one of these attributes, must not leave the process. tracing-opentelemetry shows an error
/// value under further names.
fn hides(key: &str, attributes: &[KeyValue]) -> bool {
    match key {
        "exception.message" | "exception.stacktrace" => {
            attributes.iter().any(|attribute| is_redacted(attribute.key.as_str()))
        }
        _ => is_redacted(key.strip_suffix(".chain").unwrap_or(key)),
    }
}

const STRING: u8 = length_tag(1);
const BOOL: u8 = varint_tag(2);
const INT: u8 = varint_tag(3);
const DOUBLE: u8 = fixed64_tag(4);
const ARRAY: u8 = length_tag(5);
/// `ArrayValue.values`.
const ELEMENT: u8 = length_tag(1);

/// A value whose texts are cut at a limit, as the content of an `AnyValue`.
struct Cut<'a> {
    value: &'a Value,
    limit: usize,
}

impl Cut<'_> {
    fn length(&self) -> usize {
        match self.value {
            Value::Bool(_) => 2,
            Value::I64(value) => integer_length(*value),
            Value::F64(_) => 9,
            Value::String(text) => self.text_length(text),
            Value::Array(array) => field_length(self.elements_length(array)),
            // The SDK's values have no further kinds yet; an empty `AnyValue` says so to the receiver.
            _ => 0,
        }
    }

    fn put(&self, buffer: &mut Vec<u8>) {
        match self.value {
            Value::Bool(value) => put_integer(buffer, BOOL, u64::from(*value)),
            Value::I64(value) => put_integer(buffer, INT, value.cast_unsigned()),
            Value::F64(value) => put_fixed64(buffer, DOUBLE, value.to_bits()),
            Value::String(text) => self.put_text(buffer, text),
            Value::Array(array) => {
                buffer.push(ARRAY);
                put_varint(buffer, self.elements_length(array) as u64);
                self.put_elements(buffer, array);
            }
            _ => {}
        }
    }

    fn text_length(&self, text: &StringValue) -> usize {
        field_length(cut(text.as_str(), self.limit).len())
    }

    fn put_text(&self, buffer: &mut Vec<u8>, text: &StringValue) {
        put_bytes(buffer, STRING, cut(text.as_str(), self.limit).as_bytes());
    }

    fn elements_length(&self, array: &Array) -> usize {
        match array {
            Array::Bool(values) => values.len() * field_length(2),
            Array::I64(values) => values.iter().map(|value| field_length(integer_length(*value))).sum(),
            Array::F64(values) => values.len() * field_length(9),
            Array::String(values) => values.iter().map(|text| field_length(self.text_length(text))).sum(),
            _ => 0,
        }
    }

    fn put_elements(&self, buffer: &mut Vec<u8>, array: &Array) {
        let mut element = |length: usize, put: &dyn Fn(&mut Vec<u8>)| {
            buffer.push(ELEMENT);
            put_varint(buffer, length as u64);
            put(buffer);
        };
        match array {
            Array::Bool(values) => {
                values.iter().for_each(|value| element(2, &|buffer| put_integer(buffer, BOOL, u64::from(*value))));
            }
            Array::I64(values) => values.iter().for_each(|value| {
                element(integer_length(*value), &|buffer| put_integer(buffer, INT, value.cast_unsigned()));
            }),
            Array::F64(values) => {
                values.iter().for_each(|value| element(9, &|buffer| put_fixed64(buffer, DOUBLE, value.to_bits())));
            }
            Array::String(values) => {
                values.iter().for_each(|text| element(self.text_length(text), &|buffer| self.put_text(buffer, text)));
            }
            _ => {}
        }
    }
}

fn integer_length(value: i64) -> usize {
    1 + varint_length(value.cast_unsigned())
}
