//! A link as OTLP bytes. Caller threads. Source: opentelemetry-proto, `trace/v1/trace.proto`, `Span.Link`.

use super::attributes::Value;
use super::fields::{FieldVisitor, LINK_ATTRIBUTE, VisitLimits, Visited};
use super::record::Limits;
use crate::current::TraceContext;
use crate::protobuf::{field_length, length_tag, put_bytes, put_integer, put_varint, varint_length, varint_tag};

const LINK: u8 = length_tag(13);
const TRACE_ID: u8 = length_tag(1);
const SPAN_ID: u8 = length_tag(2);
const DROPPED_ATTRIBUTES: u8 = varint_tag(5);
/// Field 6 of type fixed32.
const FLAGS: u8 = 0x35;
/// "Whether it is remote is known".
const HAS_IS_REMOTE: u32 = 0x100;

/// Appends a link, with the tag it has in `Span`.
pub fn write(buffer: &mut Vec<u8>, to: &TraceContext, attributes: &[(&str, Value<'_>)], limits: &Limits) {
    let mut visited = Visited::default();
    let limits =
        VisitLimits { attributes: limits.link_attributes, value_bytes: limits.value_bytes, bytes: limits.span_bytes };
    let mut visitor = FieldVisitor { visited: &mut visited, tag: LINK_ATTRIBUTE, limits };
    for (key, value) in attributes {
        visitor.value(key, *value);
    }
    let is_repeated = |(place, (key, _)): (usize, &(&str, Value<'_>))| {
        attributes.iter().skip(place + 1).any(|(later, _)| later == key)
    };
    if attributes.iter().enumerate().any(is_repeated) {
        visited.keep_last();
    }
    let dropped = u64::from(visited.dropped);
    let dropped_length = if dropped == 0 { 0 } else { 1 + varint_length(dropped) };
    buffer.push(LINK);
    put_varint(buffer, (field_length(16) + field_length(8) + visited.attributes.len() + dropped_length + 5) as u64);
    put_bytes(buffer, TRACE_ID, &to.trace_id.to_bytes());
    put_bytes(buffer, SPAN_ID, &to.span_id.to_bytes());
    buffer.extend_from_slice(&visited.attributes);
    if dropped > 0 {
        put_integer(buffer, DROPPED_ATTRIBUTES, dropped);
    }
    buffer.push(FLAGS);
    buffer.extend_from_slice(&(u32::from(to.sampled) | HAS_IS_REMOTE).to_le_bytes());
}
