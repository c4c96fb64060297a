//! What a log entry says of itself: level, service, message and fields, whoever wrote it and in whichever form. Pure functions.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::num::{NonZeroU64, NonZeroU128};

use serde_json::{Map, Value};

use crate::store::LogEntry;

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Unknown,
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    pub(crate) const ALL: [(&str, Self); 7] = [
        ("unknown", Self::Unknown),
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("fatal", Self::Fatal),
    ];

    pub(crate) fn as_str(self) -> &'static str {
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
/// Those by which they give the trace and the span.
const TRACE_NAMES: [&str; 4] = ["trace_id", "traceID", "traceId", "trace.id"];
const SPAN_NAMES: [&str; 4] = ["span_id", "spanID", "spanId", "span.id"];

/// What a line says of itself in a word or a number each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    pub(crate) level: Level,
    pub(crate) service: &'a str,
    pub(crate) trace: Option<NonZeroU128>,
    pub(crate) span: Option<NonZeroU64>,
}

/// From labels and metadata, else from the line as JSON, or for the level as logfmt.
pub(crate) fn told(entry: &LogEntry) -> Told<'_> {
    // The line is read once, and only if it can have what is missing.
    let fields = OnceCell::new();
    let of_line = |names: &[&str]| {
        if !names.iter().any(|name| entry.line.contains(name)) {
            return None;
        }
        let fields: &Option<Map<String, Value>> = fields.get_or_init(|| object(entry));
        names.iter().find_map(|name| fields.as_ref()?.get(*name)?.as_str())
    };
    let id = |names: &[&str], digits: usize| {
        let found = names.iter().find_map(|name| entry.label(name)).or_else(|| of_line(names));
        let is_id = |text: &&str| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(found.filter(is_id)?, 16).ok()
    };
    let level = LEVEL_NAMES
        .iter()
        .find_map(|name| entry.label(name).and_then(Level::of_word))
        .or_else(|| entry.label("severity_number").and_then(Level::of_number))
        .or_else(|| of_line(&LEVEL_NAMES).and_then(Level::of_word))
        .or_else(|| LEVEL_NAMES.iter().find_map(|name| logfmt(&entry.line, name).and_then(Level::of_word)));
    Told {
        level: level.unwrap_or(Level::Unknown),
        service: ["service_name", "service", "job", "app"]
            .iter()
            .find_map(|name| entry.label(name))
            .unwrap_or("unknown_service"),
        trace: id(&TRACE_NAMES, 32).and_then(NonZeroU128::new),
        span: id(&SPAN_NAMES, 16).and_then(|id| NonZeroU64::new(u64::try_from(id).ok()?)),
    }
}

/// The text that a person reads first: the message of a JSON line, else the line.
pub(crate) fn message(entry: &LogEntry) -> Cow<'_, str> {
    let of_object = object(entry).and_then(|fields| {
        ["message", "msg", "body", "event"].iter().find_map(|name| fields.get(*name)?.as_str().map(str::to_owned))
    });
    of_object.map_or(Cow::Borrowed(entry.line.as_str()), Cow::Owned)
}

/// A field by name: structured metadata, a label, or a field of the line as JSON.
pub(crate) fn field<'a>(entry: &'a LogEntry, name: &str) -> Option<Cow<'a, str>> {
    if let Some(value) = entry.label(name) {
        return Some(Cow::Borrowed(value));
    }
    match object(entry)?.remove(name)? {
        Value::Null => None,
        Value::String(text) => Some(Cow::Owned(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// The line as a JSON object.
pub(crate) fn object(entry: &LogEntry) -> Option<Map<String, Value>> {
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
            assert_eq!(told(&entry).level, expected, "{entry:?}");
        }
    }

    #[test]
    fn ids_are_taken_from_metadata_and_from_json_and_only_if_they_are_ids() {
        let trace = "0AF7651916CD43DD8448EB211C80319C";
        let number = NonZeroU128::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(told(&entry(&[], &[("trace_id", trace)], "x")).trace, number);
        assert_eq!(told(&entry(&[], &[], &format!(r#"{{"traceId":"{trace}"}}"#))).trace, number);
        assert_eq!(told(&entry(&[], &[("trace_id", "javascript:x")], "x")).trace, None);
        assert_eq!(told(&entry(&[], &[("trace_id", &"0".repeat(32))], "x")).trace, None);
        let span = told(&entry(&[], &[("span_id", "b7ad6b7169203331")], "x")).span;
        assert_eq!(span, NonZeroU64::new(0xb7ad_6b71_6920_3331));
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
