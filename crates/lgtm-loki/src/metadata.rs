//! Shape: structured metadata, as fields of Loki's `EntryAdapter` message. Caller threads; appends to the queue's buffer.

use lgtm_core::callsite::remembered;
use lgtm_core::protobuf::{field_length, length_tag, put_bytes, put_varint};
use lgtm_core::span::{Origin, OtelRecord, cut};
use lgtm_core::{Identity, TraceContext};
use tracing_core::Metadata;

const STRUCTURED_METADATA: u8 = length_tag(3);
const NAME: u8 = length_tag(1);
const VALUE: u8 = length_tag(2);

/// Longest value of the program's identity: a line with more than 64 KiB of metadata is refused.
const MAX_VALUE_BYTES: usize = 2048;

/// What is the same for every line.
pub(crate) fn of_identity(identity: &Identity) -> Vec<u8> {
    let mut buffer = Vec::new();
    let value = |value: &str| cut(value, MAX_VALUE_BYTES).as_bytes().to_vec();
    pair(&mut buffer, b"service_instance_id", &value(&identity.service_instance_id));
    if let Some(version) = &identity.service_version {
        pair(&mut buffer, b"service_version", &value(version));
    }
    buffer
}

/// What this module remembers of a callsite.
const CALLSITE: u8 = 2;

/// What a line's callsite says.
#[inline]
pub(crate) fn of_callsite(buffer: &mut Vec<u8>, callsite: &'static Metadata<'static>) {
    let make = |bytes: &mut Vec<u8>| {
        pair(bytes, b"target", callsite.target().as_bytes());
        if let Some(file) = callsite.file() {
            pair(bytes, b"code_file_path", file.as_bytes());
        }
        if let Some(line) = callsite.line() {
            pair(bytes, b"code_line_number", itoa::Buffer::new().format(line).as_bytes());
        }
    };
    remembered(callsite, CALLSITE, make, |bytes| buffer.extend_from_slice(bytes));
}

/// What a record of the `log` crate says of itself in place of its callsite.
pub(crate) fn of_origin(buffer: &mut Vec<u8>, origin: &Origin) {
    pair(buffer, b"target", origin.target.as_bytes());
    if !origin.file.is_empty() {
        pair(buffer, b"code_file_path", origin.file.as_bytes());
    }
    if origin.line > 0 {
        pair(buffer, b"code_line_number", itoa::Buffer::new().format(origin.line).as_bytes());
    }
    if let Some(record) = &origin.record {
        of_record(buffer, record);
    }
}

/// What a record of OpenTelemetry says besides, by the names that Loki has for it where it takes OTLP.
fn of_record(buffer: &mut Vec<u8>, record: &OtelRecord) {
    let mut text = |name: &[u8], value: &str| {
        if !value.is_empty() {
            pair(buffer, name, cut(value, MAX_VALUE_BYTES).as_bytes());
        }
    };
    text(b"severity_text", record.severity_text);
    text(b"event_name", record.event_name);
    text(b"scope_name", &record.scope_name);
    text(b"scope_version", &record.scope_version);
    let mut number = |name: &[u8], value: u64| {
        if value > 0 {
            pair(buffer, name, itoa::Buffer::new().format(value).as_bytes());
        }
    };
    number(b"severity_number", record.severity_number.into());
    number(b"observed_timestamp", record.observed_timestamp);
}

/// What links a line to its trace: three pairs of known length.
#[inline]
pub(crate) fn of_trace(buffer: &mut Vec<u8>, trace: &TraceContext) {
    let mut pairs = *b"\x1a\x2c\x0a\x08trace_id\x12\x20                                \
        \x1a\x1b\x0a\x07span_id\x12\x10                ";
    pairs[14..46].copy_from_slice(&trace.trace_id.to_hex());
    pairs[59..75].copy_from_slice(&trace.span_id.to_hex());
    buffer.extend_from_slice(&pairs);
    buffer.extend_from_slice(if trace.sampled {
        b"\x1a\x15\x0a\x0dtrace_sampled\x12\x04true"
    } else if trace.is_undecided() {
        b"\x1a\x1a\x0a\x0dtrace_sampled\x12\x09undecided"
    } else {
        b"\x1a\x16\x0a\x0dtrace_sampled\x12\x05false"
    });
}

/// One `LabelPairAdapter`.
#[inline]
fn pair(buffer: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    buffer.push(STRUCTURED_METADATA);
    put_varint(buffer, (field_length(name.len()) + field_length(value.len())) as u64);
    put_bytes(buffer, NAME, name);
    put_bytes(buffer, VALUE, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use lgtm_core::{SpanId, TraceId};

    #[test]
    fn the_pairs_of_known_length_are_those_that_a_writer_of_any_length_writes() {
        for sampled in [true, false] {
            let trace = TraceContext::new(TraceId::random(), SpanId::random(), sampled);
            let mut expected = Vec::new();
            pair(&mut expected, b"trace_id", &trace.trace_id.to_hex());
            pair(&mut expected, b"span_id", &trace.span_id.to_hex());
            pair(&mut expected, b"trace_sampled", if sampled { b"true" } else { b"false" });
            let mut written = Vec::new();
            of_trace(&mut written, &trace);
            assert_eq!(written, expected);
        }
    }
}
