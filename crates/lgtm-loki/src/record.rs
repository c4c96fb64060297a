//! Shape: the event as OTLP's `LogRecord`, for receivers that are no Loki, and for Loki's own OTLP endpoint. Caller threads; appends to
//! reused buffers. Source: opentelemetry-proto, `logs/v1/logs.proto`; OpenTelemetry semantic conventions, "Exceptions in logs".

use lgtm_core::protobuf::{Field, Fields, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, varint_tag};
use lgtm_core::span::{Attributes, Value, VisitedEvent, cut, put_attribute};
use tracing_core::{Level, Metadata};

use crate::line::{Spans, count_truncated, cut_message};

const TIME: u8 = fixed64_tag(1);
const SEVERITY_NUMBER: u8 = varint_tag(2);
const SEVERITY_TEXT: u8 = length_tag(3);
const BODY: u8 = length_tag(5);
const ATTRIBUTES: u8 = length_tag(6);
const DROPPED_ATTRIBUTES: u8 = varint_tag(7);
/// Field 8 of type fixed32.
const FLAGS: u8 = 0x45;
const TRACE_ID: u8 = length_tag(9);
const SPAN_ID: u8 = length_tag(10);
const OBSERVED_TIME: u8 = fixed64_tag(11);
const EVENT_NAME: u8 = length_tag(12);
/// Longest name of an event, in bytes.
const MAX_NAME_BYTES: usize = 1024;
/// Of `AnyValue`.
const STRING_VALUE: u8 = length_tag(1);

/// `SeverityNumber` and the name that goes along.
fn severity(level: Level) -> (u64, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    }
}

/// Appends the content of a record of at most about `limit` bytes. What does not fit is counted in it, and in
/// `otlp_logs_truncated_total`.
pub(crate) fn write(
    record: &mut Vec<u8>,
    callsite: &'static Metadata<'static>,
    event: &VisitedEvent,
    limit: usize,
    spans: Spans<'_>,
) {
    let (mut number, mut name) = severity(*callsite.level());
    let mut observed = event.timestamp;
    let otel = event.origin().and_then(|origin| origin.record.as_deref());
    if let Some(otel) = otel {
        // What it does not say is not said.
        (number, name) = (otel.severity_number.into(), otel.severity_text);
        if otel.observed_timestamp > 0 {
            observed = otel.observed_timestamp;
        }
    }
    put_fixed64(record, TIME, event.timestamp);
    put_fixed64(record, OBSERVED_TIME, observed);
    put_integer(record, SEVERITY_NUMBER, number);
    put_bytes(record, SEVERITY_TEXT, name.as_bytes());
    if let Some(otel) = otel.filter(|otel| !otel.event_name.is_empty()) {
        put_bytes(record, EVENT_NAME, cut(otel.event_name, MAX_NAME_BYTES).as_bytes());
    }
    if let Some(trace) = &event.trace {
        put_bytes(record, TRACE_ID, &trace.trace_id.to_bytes());
        put_bytes(record, SPAN_ID, &trace.span_id.to_bytes());
        record.push(FLAGS);
        record.extend_from_slice(&u32::from(trace.sampled).to_le_bytes());
    }
    let whole = event.message();
    let message = if whole.len() > limit / 2 { cut_message(event, limit) } else { whole };
    let mut body = Vec::with_capacity(message.len() + 8);
    put_bytes(&mut body, STRING_VALUE, message.as_bytes());
    put_bytes(record, BODY, &body);

    let mut attributes = Written { begin: record.len(), record, limit, dropped: event.dropped_attributes() };
    attributes.add_all(event.attributes());
    if let Some(exception) = event.exception() {
        attributes.add("exception.message", Value::from(&exception.message));
        if !exception.chain.is_empty() {
            attributes.add("exception.stacktrace", Value::from(&exception.chain));
        }
    }
    spans(&mut |span| attributes.add_all(&span.attributes));
    match event.origin() {
        None => {
            attributes.add("target", Value::from(callsite.target()));
            if let Some(file) = callsite.file() {
                attributes.add("code.file.path", Value::from(file));
            }
            if let Some(line) = callsite.line() {
                attributes.add("code.line.number", Value::from(line));
            }
        }
        Some(origin) => {
            attributes.add("target", Value::from(&origin.target));
            if !origin.file.is_empty() {
                attributes.add("code.file.path", Value::from(&origin.file));
            }
            if origin.line > 0 {
                attributes.add("code.line.number", Value::from(origin.line));
            }
        }
    }
    if let Some(otel) = otel {
        for (key, value) in [("otel.scope.name", &otel.scope_name), ("otel.scope.version", &otel.scope_version)] {
            if !value.is_empty() {
                attributes.add(key, Value::from(value));
            }
        }
    }
    // The flags say only what is certain.
    if event.trace.as_ref().is_some_and(|trace| !trace.sampled && trace.is_undecided()) {
        attributes.add("trace_sampled", Value::from("undecided"));
    }
    let Written { record, dropped, .. } = attributes;
    if dropped > 0 {
        put_integer(record, DROPPED_ATTRIBUTES, u64::from(dropped));
    }
    if event.is_cut() || dropped > 0 || message.len() < whole.len() {
        count_truncated();
    }
}

/// The attributes of a record: what stands already wins, so that the event's fields win over its span's, and the leaf's over the root's.
struct Written<'a> {
    record: &'a mut Vec<u8>,
    /// Where they begin in the record: nothing else follows them.
    begin: usize,
    limit: usize,
    dropped: u32,
}

impl Written<'_> {
    fn add(&mut self, key: &str, value: Value<'_>) {
        let mut encoded = Vec::new();
        put_attribute(&mut encoded, key, value);
        self.add_all(&encoded);
    }

    /// Adds encoded `KeyValue`s, whatever the number of their field.
    fn add_all(&mut self, encoded: &[u8]) {
        for field in Fields(encoded) {
            let Field::Bytes(_, pair) = field else { continue };
            if self.has(key_of(pair)) {
                continue;
            }
            if self.record.len() + pair.len() > self.limit {
                self.dropped += 1;
                continue;
            }
            put_bytes(self.record, ATTRIBUTES, pair);
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        let written = self.record.get(self.begin..).unwrap_or_default();
        Attributes::new(written).any(|attribute| attribute.key == key)
    }
}

/// The key of a `KeyValue`.
fn key_of(pair: &[u8]) -> &[u8] {
    match Fields(pair).next() {
        Some(Field::Bytes(1, key)) => key,
        _ => &[],
    }
}
