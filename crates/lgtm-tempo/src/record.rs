//! Shape: a span, an event, a link as OTLP bytes. Caller threads; appends to a buffer under the record's lock.
//! Source: opentelemetry-proto, `trace/v1/trace.proto`.

use std::borrow::Cow;

use lgtm_core::callsite::remembered;
use lgtm_core::protobuf::{
    field_length, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, put_varint, varint_length, varint_tag,
};
use lgtm_core::span::{
    Attribute, Attributes, KeepReason, Limits, SpanRecord, Status, VisitedEvent, cut, fit, put_attribute,
};
use lgtm_core::with_buffer;
use tracing_core::Metadata;

/// `ScopeSpans.spans`.
pub(crate) const SPAN: u8 = length_tag(2);
pub(crate) const TRACE_ID: u8 = length_tag(1);
pub(crate) const SPAN_ID: u8 = length_tag(2);
pub(crate) const TRACE_STATE: u8 = length_tag(3);
pub(crate) const PARENT_SPAN_ID: u8 = length_tag(4);
pub(crate) const NAME: u8 = length_tag(5);
pub(crate) const KIND: u8 = varint_tag(6);
pub(crate) const START: u8 = fixed64_tag(7);
pub(crate) const END: u8 = fixed64_tag(8);
pub(crate) const DROPPED_ATTRIBUTES: u8 = varint_tag(10);
pub(crate) const EVENT: u8 = length_tag(11);
pub(crate) const DROPPED_EVENTS: u8 = varint_tag(12);
#[cfg(feature = "opentelemetry")]
pub(crate) const LINK: u8 = length_tag(13);
pub(crate) const DROPPED_LINKS: u8 = varint_tag(14);
const STATUS: u8 = length_tag(15);
/// `Span.flags`, field 16 of type fixed32: two bytes of tag.
pub(crate) const FLAGS: [u8; 2] = [0x85, 0x01];

/// `Span.Link.flags`, field 6 of type fixed32.
#[cfg(feature = "opentelemetry")]
pub(crate) const LINK_FLAGS: u8 = 0x35;

/// Trace flag of W3C trace context.
const SAMPLED: u32 = 0x01;
/// "Whether the parent is remote is known", and "it is".
pub(crate) const HAS_IS_REMOTE: u32 = 0x100;
pub(crate) const IS_REMOTE: u32 = 0x200;

/// Appends the content of a finished span. What is always there and always of one length is written in one go.
pub(crate) fn span(content: &mut Vec<u8>, record: &SpanRecord, bounds: Option<&Limits>) {
    let mut ids = [0; 28];
    ids[..2].copy_from_slice(&[TRACE_ID, 16]);
    ids[2..18].copy_from_slice(&record.trace_id.to_bytes());
    ids[18..20].copy_from_slice(&[SPAN_ID, 8]);
    ids[20..].copy_from_slice(&record.span_id.to_bytes());
    content.extend_from_slice(&ids);
    if let Some(state) = &record.trace_state {
        put_bytes(content, TRACE_STATE, state.as_bytes());
    }
    if !record.parent_span_id.is_zero() {
        put_bytes(content, PARENT_SPAN_ID, &record.parent_span_id.to_bytes());
    }
    put_bytes(content, NAME, record.name().as_bytes());
    let mut times = [0; 20];
    times[..3].copy_from_slice(&[KIND, record.kind as u8, START]);
    times[3..11].copy_from_slice(&record.start.to_le_bytes());
    times[11] = END;
    times[12..].copy_from_slice(&record.end.to_le_bytes());
    content.extend_from_slice(&times);
    let mut dropped = record.dropped_attributes;
    match bounds {
        None => content.extend_from_slice(&record.attributes),
        Some(limits) => dropped += fit(content, &record.attributes, limits.attributes, limits.value_bytes),
    }
    if !record.exported_attributes.is_empty() {
        put_exported(content, record);
    }
    if record.busy_and_idle.is_some() {
        put_busy_and_idle(content, record);
    }
    // Where the keep rules decide, they say it later.
    if record.probability > 0.0 && record.probability < 1.0 && record.undecided.is_none() {
        put_sampling(content, KeepReason::Head, record.probability);
    }
    put_count(content, DROPPED_ATTRIBUTES, dropped);
    content.extend_from_slice(&record.events);
    put_count(content, DROPPED_EVENTS, record.dropped_events);
    content.extend_from_slice(&record.links);
    put_count(content, DROPPED_LINKS, record.dropped_links);
    if record.status != Status::Unset {
        put_status(content, record.status, &record.status_description);
    }
    let remote = if record.remote_parent { IS_REMOTE } else { 0 };
    let mut flags = [FLAGS[0], FLAGS[1], 0, 0, 0, 0];
    let sampled = if record.sampled { SAMPLED } else { 0 };
    flags[2..].copy_from_slice(&(sampled | HAS_IS_REMOTE | remote).to_le_bytes());
    content.extend_from_slice(&flags);
}

/// Writes a span that has waited for the keep rules, as an item of the queue.
pub(crate) fn kept(buffer: &mut Vec<u8>, content: &[u8], reason: KeepReason, probability: f64) {
    with_buffer(|sampling| {
        put_sampling(sampling, reason, probability);
        buffer.push(SPAN);
        put_varint(buffer, (content.len() + sampling.len()) as u64);
        buffer.extend_from_slice(content);
        buffer.extend_from_slice(sampling);
    });
}

/// The attribute that says with which probability a span like this is kept: a metrics generator weighs the span by its
/// inverse (`span_multiplier_key`). And why it was kept, if not by the head sampler.
#[cold]
fn put_sampling(content: &mut Vec<u8>, reason: KeepReason, probability: f64) {
    if probability > 0.0 {
        put_attribute(content, "lgtm.sampling.probability", probability.into());
    }
    if reason != KeepReason::Head {
        put_attribute(content, "lgtm.sampling.reason", reason.as_str().into());
    }
}

/// What the layer adds to a span. An attribute of the program's own of the same name wins: OTLP wants each name once.
#[cold]
fn put_exported(content: &mut Vec<u8>, record: &SpanRecord) {
    for Attribute { key, value } in Attributes::new(&record.exported_attributes) {
        if record.attributes().all(|attribute| attribute.key != key) {
            put_attribute(content, &String::from_utf8_lossy(key), value);
        }
    }
}

/// The names are tracing-opentelemetry's. Nanoseconds.
#[cold]
fn put_busy_and_idle(content: &mut Vec<u8>, record: &SpanRecord) {
    if let Some(times) = &record.busy_and_idle {
        let (busy, idle) = times.of(record.end.saturating_sub(record.start));
        put_attribute(content, "busy_ns", busy.cast_signed().into());
        put_attribute(content, "idle_ns", idle.cast_signed().into());
    }
}

#[inline]
pub(crate) fn put_count(content: &mut Vec<u8>, tag: u8, count: u32) {
    if count > 0 {
        put_integer(content, tag, u64::from(count));
    }
}

pub(crate) fn put_status(content: &mut Vec<u8>, status: Status, message: &str) {
    const MESSAGE: u8 = length_tag(2);
    const CODE: u8 = varint_tag(3);
    let message = message.as_bytes();
    let message_length = if message.is_empty() { 0 } else { field_length(message.len()) };
    content.push(STATUS);
    put_varint(content, (message_length + 2) as u64);
    if !message.is_empty() {
        put_bytes(content, MESSAGE, message);
    }
    put_integer(content, CODE, status as u64);
}

/// What this module remembers of a callsite.
const LEVEL_AND_TARGET: u8 = 3;

/// Appends an event, with the tag it has in `Span`.
///
/// A backtrace is written behind the error's sources, if it is not empty. `bounds` are those that bind what was visited.
#[inline]
pub(crate) fn event(
    buffer: &mut Vec<u8>,
    callsite: &'static Metadata<'static>,
    event: &VisitedEvent,
    backtrace: &str,
    bounds: Option<&Limits>,
) {
    match bounds {
        None => {
            put_event_of(
                buffer,
                callsite,
                event,
                event.attributes(),
                event.dropped_attributes(),
                backtrace,
                usize::MAX,
            );
        }
        Some(limits) => bound_event(buffer, callsite, event, backtrace, limits),
    }
}

#[cold]
fn bound_event(
    buffer: &mut Vec<u8>,
    callsite: &'static Metadata<'static>,
    event: &VisitedEvent,
    backtrace: &str,
    limits: &Limits,
) {
    with_buffer(|fitted| {
        let over = fit(fitted, event.attributes(), limits.event_attributes, limits.value_bytes);
        let dropped = event.dropped_attributes() + over;
        put_event_of(buffer, callsite, event, fitted, dropped, backtrace, limits.value_bytes);
    });
}

#[inline(always)]
fn put_event_of(
    buffer: &mut Vec<u8>,
    callsite: &'static Metadata<'static>,
    event: &VisitedEvent,
    attributes: &[u8],
    dropped: u32,
    backtrace: &str,
    value_bytes: usize,
) {
    // The names of the levels are those that tracing-opentelemetry writes.
    let make = |bytes: &mut Vec<u8>| {
        // A field of the program's own wins: OTLP wants each name once.
        for (key, value) in [("level", callsite.level().as_str()), ("target", callsite.target())] {
            if callsite.fields().field(key).is_none() {
                pair(bytes, key, value);
            }
        }
    };
    if let Some(origin) = event.origin() {
        return with_buffer(|own| {
            pair(own, "level", callsite.level().as_str());
            pair(own, "target", &origin.target);
            let name = if event.message().is_empty() { callsite.name() } else { event.message() };
            put_event(buffer, name, &[own, attributes], event.timestamp, dropped);
        });
    }
    remembered(callsite, LEVEL_AND_TARGET, make, |level_and_target| match event.exception() {
        None => {
            let name = if event.message().is_empty() { callsite.name() } else { event.message() };
            put_event(buffer, name, &[level_and_target, attributes], event.timestamp, dropped);
        }
        Some(exception) => with_buffer(|own| {
            let trace: Cow<'_, str> = match (exception.chain.as_str(), backtrace) {
                (chain, "") => chain.into(),
                ("", backtrace) => backtrace.into(),
                (chain, backtrace) => format!("{chain}\n\n{backtrace}").into(),
            };
            let pairs = [
                ("exception.message", &*exception.message),
                ("exception.stacktrace", &*trace),
                ("message", event.message()),
            ];
            for (key, value) in pairs {
                if !value.is_empty() && (key == "message" || callsite.fields().field(key).is_none()) {
                    pair(own, key, cut(value, value_bytes));
                }
            }
            // The name is fixed by the semantic conventions for exceptions.
            put_event(buffer, "exception", &[level_and_target, own, attributes], event.timestamp, dropped);
        }),
    });
}

#[inline]
fn put_event(buffer: &mut Vec<u8>, name: &str, attributes: &[&[u8]], timestamp: u64, dropped: u32) {
    const TIME: u8 = fixed64_tag(1);
    const NAME: u8 = length_tag(2);
    const DROPPED_ATTRIBUTES: u8 = varint_tag(4);
    let dropped = u64::from(dropped);
    let dropped_length = if dropped == 0 { 0 } else { 1 + varint_length(dropped) };
    let attributes_length: usize = attributes.iter().map(|part| part.len()).sum();
    buffer.push(EVENT);
    put_varint(buffer, (9 + field_length(name.len()) + attributes_length + dropped_length) as u64);
    put_fixed64(buffer, TIME, timestamp);
    put_bytes(buffer, NAME, name.as_bytes());
    for part in attributes {
        buffer.extend_from_slice(part);
    }
    if dropped > 0 {
        put_integer(buffer, DROPPED_ATTRIBUTES, dropped);
    }
}

const fn value_length(value: &str) -> usize {
    field_length(value.len())
}

const fn pair_length(key: &str, value: &str) -> usize {
    field_length(key.len()) + field_length(value_length(value))
}

/// One `KeyValue` of an event.
fn pair(buffer: &mut Vec<u8>, key: &str, value: &str) {
    const ATTRIBUTE: u8 = length_tag(3);
    const KEY: u8 = length_tag(1);
    const VALUE: u8 = length_tag(2);
    const STRING_VALUE: u8 = length_tag(1);
    buffer.push(ATTRIBUTE);
    put_varint(buffer, pair_length(key, value) as u64);
    put_bytes(buffer, KEY, key.as_bytes());
    buffer.push(VALUE);
    put_varint(buffer, value_length(value) as u64);
    put_bytes(buffer, STRING_VALUE, value.as_bytes());
}
