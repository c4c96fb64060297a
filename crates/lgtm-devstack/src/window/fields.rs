//! What a log entry says of itself: level, service, message and fields, whoever wrote it and in whichever form.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::store::LogEntry;

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Unknown,
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    pub(super) const ALL: [(&str, Self); 7] = [
        ("unknown", Self::Unknown),
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("fatal", Self::Fatal),
    ];

    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("unknown", |(name, _)| name)
    }

    /// The level that a word of any logging library means.
    fn of_word(word: &str) -> Option<Self> {
        // OpenTelemetry numbers the steps between two levels: INFO2.
        let word = word.trim_end_matches(|character: char| character.is_ascii_digit());
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        Some(match () {
            () if is(&["info", "information", "inf", "notice"]) => Self::Info,
            () if is(&["error", "err", "eror"]) => Self::Error,
            () if is(&["warn", "warning", "wrn"]) => Self::Warn,
            () if is(&["debug", "dbg"]) => Self::Debug,
            () if is(&["trace", "trc", "verbose"]) => Self::Trace,
            () if is(&["fatal", "critical", "crit", "panic", "emerg", "alert"]) => Self::Fatal,
            () => return None,
        })
    }

    /// OpenTelemetry's severity number.
    fn of_number(number: &str) -> Option<Self> {
        Some(match number.parse::<u8>().ok()? {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9..=12 => Self::Info,
            13..=16 => Self::Warn,
            17..=20 => Self::Error,
            21..=24 => Self::Fatal,
            _ => return None,
        })
    }
}

/// The names by which labels, metadata and fields of a line give the level.
const LEVEL_NAMES: [&str; 5] = ["level", "severity_text", "detected_level", "severity", "lvl"];

/// From labels and metadata, else from the line as JSON or logfmt.
pub(super) fn level(entry: &LogEntry) -> Level {
    let named = LEVEL_NAMES.iter().find_map(|name| entry.label(name).and_then(Level::of_word));
    named
        .or_else(|| entry.label("severity_number").and_then(Level::of_number))
        .or_else(|| {
            let fields = object(entry)?;
            LEVEL_NAMES.iter().find_map(|name| fields.get(*name)?.as_str().and_then(Level::of_word))
        })
        .or_else(|| LEVEL_NAMES.iter().find_map(|name| logfmt(&entry.line, name).and_then(Level::of_word)))
        .unwrap_or(Level::Unknown)
}

/// The service that wrote a line.
pub(super) fn service(entry: &LogEntry) -> &str {
    ["service_name", "service", "job", "app"].iter().find_map(|name| entry.label(name)).unwrap_or("unknown_service")
}

/// The text that a person reads first: the message of a JSON line, else the line.
pub(super) fn message(entry: &LogEntry) -> Cow<'_, str> {
    let of_object = object(entry).and_then(|fields| {
        ["message", "msg", "body", "event"].iter().find_map(|name| fields.get(*name)?.as_str().map(str::to_owned))
    });
    of_object.map_or(Cow::Borrowed(entry.line.as_str()), Cow::Owned)
}

/// A field by name: structured metadata, a label, or a field of the line as JSON.
pub(super) fn field<'a>(entry: &'a LogEntry, name: &str) -> Option<Cow<'a, str>> {
    if let Some(value) = entry.label(name) {
        return Some(Cow::Borrowed(value));
    }
    match object(entry)?.remove(name)? {
        Value::Null => None,
        Value::String(text) => Some(Cow::Owned(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// The trace of a line in lower case, if it has one.
pub(super) fn trace_id(entry: &LogEntry) -> Option<String> {
    id(entry, &["trace_id", "traceID", "traceId", "trace.id"], 32)
}

/// The span of a line in lower case, if it has one.
pub(super) fn span_id(entry: &LogEntry) -> Option<String> {
    id(entry, &["span_id", "spanID", "spanId", "span.id"], 16)
}

fn id(entry: &LogEntry, names: &[&str], digits: usize) -> Option<String> {
    let is_id = |text: &str| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = match names.iter().find_map(|name| entry.label(name)) {
        Some(found) => Some(found.to_owned()),
        None => {
            let fields = object(entry)?;
            names.iter().find_map(|name| fields.get(*name)?.as_str().map(str::to_owned))
        }
    };
    found.filter(|text| is_id(text)).map(|text| text.to_ascii_lowercase())
}

/// The line as a JSON object.
pub(super) fn object(entry: &LogEntry) -> Option<Map<String, Value>> {
    if !entry.line.starts_with('{') {
        return None;
    }
    match serde_json::from_str(&entry.line) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// The value of `name=value` in a line, without quotes.
fn logfmt<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Labels;

    fn entry(labels: &[(&str, &str)], metadata: &[(&str, &str)], line: &str) -> LogEntry {
        let set =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Labels>();
        LogEntry {
            labels: Arc::new(set(labels)),
            timestamp_ns: 0,
            line: line.to_owned(),
            structured_metadata: set(metadata),
        }
    }

    #[test]
    fn the_level_is_found_wherever_a_library_puts_it() {
        for (entry, expected) in [
            (entry(&[("level", "warn")], &[], "x"), Level::Warn),
            (entry(&[], &[("severity_text", "INFO2")], "x"), Level::Info),
            (entry(&[], &[("severity_number", "17")], "x"), Level::Error),
            (entry(&[], &[], r#"{"level":"CRITICAL","msg":"x"}"#), Level::Fatal),
            (entry(&[], &[], "time=1 level=\"debug\" msg=x"), Level::Debug),
            (entry(&[("level", "blue")], &[], "nothing to say"), Level::Unknown),
        ] {
            assert_eq!(level(&entry), expected, "{entry:?}");
        }
    }

    #[test]
    fn ids_are_taken_from_metadata_and_from_json_and_only_if_they_are_ids() {
        let trace = "0AF7651916CD43DD8448EB211C80319C";
        let lower = trace.to_ascii_lowercase();
        assert_eq!(trace_id(&entry(&[], &[("trace_id", trace)], "x")), Some(lower.clone()));
        assert_eq!(trace_id(&entry(&[], &[], &format!(r#"{{"traceId":"{trace}"}}"#))), Some(lower));
        assert_eq!(trace_id(&entry(&[], &[("trace_id", "javascript:x")], "x")), None);
        assert_eq!(span_id(&entry(&[], &[("span_id", "b7ad6b7169203331")], "x")), Some("b7ad6b7169203331".to_owned()));
    }

    #[test]
    fn the_message_of_json_is_shown_and_its_fields_are_found() {
        let line = entry(&[], &[("order", "7")], r#"{"message":"paid","amount":12.5,"order":8}"#);
        assert_eq!(message(&line), "paid");
        assert_eq!(field(&line, "amount").as_deref(), Some("12.5"));
        assert_eq!(field(&line, "order").as_deref(), Some("7"), "metadata wins");
        assert_eq!(message(&entry(&[], &[], "{not json")), "{not json");
    }
}
