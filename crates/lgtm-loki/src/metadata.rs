//! Shape: structured metadata, as fields of Loki's `EntryAdapter` message. Caller threads; appends to the queue's buffer.

use lgtm_core::protobuf::{field_length, length_tag, put_bytes, put_varint};
use lgtm_core::{Identity, TraceContext};
use tracing_core::Metadata;

const STRUCTURED_METADATA: u8 = length_tag(3);
const NAME: u8 = length_tag(1);
const VALUE: u8 = length_tag(2);

/// What is the same for every line.
pub(crate) fn of_identity(identity: &Identity) -> Vec<u8> {
    let mut buffer = Vec::new();
    pair(&mut buffer, b"service_instance_id", identity.service_instance_id.as_bytes());
    if let Some(version) = &identity.service_version {
        pair(&mut buffer, b"service_version", version.as_bytes());
    }
    buffer
}

/// What a line's callsite says.
pub(crate) fn of_callsite(buffer: &mut Vec<u8>, metadata: &Metadata<'_>) {
    pair(buffer, b"target", metadata.target().as_bytes());
    if let Some(file) = metadata.file() {
        pair(buffer, b"code_file_path", file.as_bytes());
    }
    if let Some(line) = metadata.line() {
        pair(buffer, b"code_line_number", itoa::Buffer::new().format(line).as_bytes());
    }
}

/// What links a line to its trace.
pub(crate) fn of_trace(buffer: &mut Vec<u8>, trace: &TraceContext) {
    pair(buffer, b"trace_id", &trace.trace_id.to_hex());
    pair(buffer, b"span_id", &trace.span_id.to_hex());
    pair(buffer, b"trace_sampled", if trace.sampled { b"true" } else { b"false" });
}

/// One `LabelPairAdapter`.
#[inline]
fn pair(buffer: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    buffer.push(STRUCTURED_METADATA);
    put_varint(buffer, (field_length(name.len()) + field_length(value.len())) as u64);
    put_bytes(buffer, NAME, name);
    put_bytes(buffer, VALUE, value);
}
