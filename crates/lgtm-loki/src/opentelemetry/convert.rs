//! Shape: from a record of the SDK to an event as the writer knows it. Caller threads.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use lgtm_core::redaction::{REDACTED, is_redacted};
use lgtm_core::span::{Attachment, Origin, OtelRecord, Value, VisitedEvent};
use lgtm_core::{SpanId, TraceContext, TraceId, json, unix_nanos};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry_sdk::logs::SdkLogRecord;
use tracing_core::metadata::Kind;
use tracing_core::{Interest, Level, Metadata};

/// How deep lists and maps are shown.
const MAX_DEPTH: usize = 32;
/// Bytes of text that a value which is no text is made into, at most about: more than any line takes.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// Records have no callsites: one for each level stands for all.
struct Callsite(Level);

impl tracing_core::Callsite for Callsite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        metadata_of(self.0)
    }
}

macro_rules! metadata {
    ($($level:ident),+) => {
        fn metadata_of(level: Level) -> &'static Metadata<'static> {
            match level {
                $(Level::$level => {
                    static CALLSITE: Callsite = Callsite(Level::$level);
                    static METADATA: Metadata<'static> = tracing_core::metadata! {
                        name: "record", target: "opentelemetry", level: Level::$level, fields: &[], callsite: &CALLSITE,
                        kind: Kind::EVENT
                    };
                    &METADATA
                })+
            }
        }
    };
}

metadata!(TRACE, DEBUG, INFO, WARN, ERROR);

/// Makes an event of the record, outside of all spans; gives the callsite that stands for its level.
pub(super) fn record(
    event: &mut VisitedEvent,
    record: &SdkLogRecord,
    scope: &InstrumentationScope,
) -> &'static Metadata<'static> {
    let target = record.target().map_or(scope.name(), AsRef::as_ref);
    let observed = record.observed_timestamp().map_or(0, nanoseconds);
    let mut origin = Origin { target: target.to_owned(), ..Origin::default() };
    let mut attributes: Vec<_> = record.attributes_iter().collect();
    attributes.retain(|(key, value)| !takes_place(&mut origin, key.as_str(), value));
    origin.record = Some(Box::new(OtelRecord {
        severity_number: record.severity_number().map_or(0, |severity| severity as u8),
        severity_text: record.severity_text().unwrap_or_default(),
        event_name: record.event_name().unwrap_or_default(),
        observed_timestamp: observed,
        scope_name: scope.name().to_owned(),
        scope_version: scope.version().unwrap_or_default().to_owned(),
    }));
    let timestamp =
        record.timestamp().map(nanoseconds).or((observed > 0).then_some(observed)).unwrap_or_else(unix_nanos);
    let body = record.body().map_or(Cow::Borrowed(""), text);
    event.begin_record(&body, origin, timestamp);
    for (key, value) in attributes {
        match value {
            AnyValue::Int(number) => event.add_field(key.as_str(), Value::Integer(*number)),
            AnyValue::Double(number) => event.add_field(key.as_str(), Value::Double(*number)),
            AnyValue::Boolean(flag) => event.add_field(key.as_str(), Value::Bool(*flag)),
            other => event.add_field(key.as_str(), Value::from(&*text(other))),
        }
    }
    event.end_record();
    metadata_of(level(record))
}

/// Puts the event where its record belongs: into its own trace, else into that of the calling thread.
pub(super) fn place(event: &mut VisitedEvent, record: &SdkLogRecord, attachment: &Attachment) {
    let (span, trace) = attachment.innermost().unwrap_or_default();
    let current = trace.or_else(lgtm_core::current::trace);
    let own = record.trace_context().and_then(|own| {
        let trace_id = TraceId::from_bytes(own.trace_id.to_bytes())?;
        let span_id = SpanId::from_bytes(own.span_id.to_bytes())?;
        Some(TraceContext::new(trace_id, span_id, own.trace_flags.is_some_and(|flags| flags.is_sampled())))
    });
    let Some(own) = own else {
        (event.span, event.trace) = (span, current);
        return;
    };
    match current.filter(|current| current.trace_id == own.trace_id) {
        // The current one knows whether the trace's fate is open.
        Some(current) if current.span_id == own.span_id => (event.span, event.trace) = (span, Some(current)),
        Some(_) => (event.span, event.trace) = (span, Some(own)),
        None => event.trace = Some(own),
    }
}

/// Takes what says where in the source the record was made, as an event has it; true if this was such an attribute.
fn takes_place(origin: &mut Origin, key: &str, value: &AnyValue) -> bool {
    match (key, value) {
        ("code.file.path" | "code.filepath", AnyValue::String(file)) => origin.file = file.as_str().to_owned(),
        ("code.line.number" | "code.lineno", AnyValue::Int(line)) => match u32::try_from(*line) {
            Ok(line) => origin.line = line,
            Err(_) => return false,
        },
        _ => return false,
    }
    true
}

fn level(record: &SdkLogRecord) -> Level {
    match record.severity_number() {
        Some(severity) if severity < Severity::Debug => Level::TRACE,
        Some(severity) if severity < Severity::Info => Level::DEBUG,
        Some(severity) if severity < Severity::Warn => Level::INFO,
        Some(severity) if severity < Severity::Error => Level::WARN,
        Some(_) => Level::ERROR,
        None => record.severity_text().and_then(level_of_text).unwrap_or(Level::INFO),
    }
}

fn level_of_text(text: &str) -> Option<Level> {
    let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(text));
    let names: [(&[&str], Level); 5] = [
        (&["trace"], Level::TRACE),
        (&["debug"], Level::DEBUG),
        (&["info", "information", "notice"], Level::INFO),
        (&["warn", "warning"], Level::WARN),
        (&["error", "fatal", "critical", "alert", "emergency"], Level::ERROR),
    ];
    names.into_iter().find(|(names, _)| is(names)).map(|(_, level)| level)
}

/// Nanoseconds since the Unix epoch; 0: before it.
fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Text as it is, everything else as JSON.
fn text(value: &AnyValue) -> Cow<'_, str> {
    if let AnyValue::String(text) = value {
        return Cow::Borrowed(text.as_str());
    }
    let mut json = Vec::new();
    match value {
        // A text of its own needs no quotes.
        AnyValue::Bytes(bytes) => put_hex(&mut json, bytes),
        other => put_json(&mut json, other, MAX_DEPTH),
    }
    Cow::Owned(String::from_utf8(json).unwrap_or_default())
}

fn put_json(json: &mut Vec<u8>, value: &AnyValue, depth: usize) {
    if depth == 0 || json.len() > MAX_TEXT_BYTES {
        return json::string(json, "…".as_bytes());
    }
    match value {
        AnyValue::Int(number) => json::value(json, Value::Integer(*number)),
        AnyValue::Double(number) => json::value(json, Value::Double(*number)),
        AnyValue::Boolean(flag) => json::value(json, Value::Bool(*flag)),
        AnyValue::String(text) => json::string(json, text.as_str().as_bytes()),
        AnyValue::Bytes(bytes) => {
            json.push(b'"');
            put_hex(json, bytes);
            json.push(b'"');
        }
        AnyValue::ListAny(list) => {
            json.push(b'[');
            for (place, value) in list.iter().enumerate() {
                if place > 0 {
                    json.push(b',');
                }
                put_json(json, value, depth - 1);
            }
            json.push(b']');
        }
        AnyValue::Map(map) => {
            // In one order, so that the same line is the same.
            let mut pairs: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
            pairs.sort_by_key(|(key, _)| *key);
            json.push(b'{');
            for (place, (key, value)) in pairs.into_iter().enumerate() {
                if place > 0 {
                    json.push(b',');
                }
                json::string(json, key.as_bytes());
                json.push(b':');
                if is_redacted(key) {
                    json::string(json, REDACTED.as_bytes());
                } else {
                    put_json(json, value, depth - 1);
                }
            }
            json.push(b'}');
        }
        _ => json::string(json, b""),
    }
}

fn put_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    let mut hex = String::with_capacity(2 * bytes.len().min(MAX_TEXT_BYTES));
    for byte in bytes.iter().take(MAX_TEXT_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    text.extend_from_slice(hex.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Key;

    fn map(pairs: &[(&'static str, AnyValue)]) -> AnyValue {
        AnyValue::Map(Box::new(pairs.iter().map(|(key, value)| (Key::new(*key), value.clone())).collect()))
    }

    #[test]
    fn values_that_are_no_text_are_json_without_secrets() {
        let list = AnyValue::ListAny(Box::new(vec![AnyValue::Int(1), AnyValue::from("a\"b"), AnyValue::Boolean(true)]));
        let value = map(&[("list", list), ("password", AnyValue::from("hunter2")), ("half", AnyValue::Double(0.5))]);
        assert_eq!(text(&value), r#"{"half":0.5,"list":[1,"a\"b",true],"password":"[redacted]"}"#);
        assert_eq!(text(&AnyValue::Bytes(Box::new(vec![0, 171]))), "00ab");
        assert_eq!(text(&AnyValue::from("as it is")), "as it is");
    }

    #[test]
    fn what_is_nested_without_end_ends() {
        let deep = (0..10_000).fold(AnyValue::Int(1), |inner, _| AnyValue::ListAny(Box::new(vec![inner])));
        let shown = text(&deep).into_owned();
        assert_eq!(shown, format!("{}\"…\"{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)));
        std::mem::forget(deep);
        let wide = AnyValue::ListAny(Box::new(vec![AnyValue::from("x".repeat(100_000)); 10]));
        assert!(text(&wide).len() < MAX_TEXT_BYTES + 200_000);
    }

    #[test]
    fn severities_by_name_are_levels() {
        let levels = ["Warning", "FATAL", "notice", "whatever"].map(level_of_text);
        assert_eq!(levels, [Some(Level::WARN), Some(Level::ERROR), Some(Level::INFO), None]);
    }
}
