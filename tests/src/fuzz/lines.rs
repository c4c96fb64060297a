//! Log lines in all three formats, each read by somebody else: `serde_json`, a reader of logfmt, and the eye.

use std::collections::HashMap;
use std::sync::OnceLock;

use lgtm_core::pipeline::Pipeline;
use lgtm_core::span::SpanExt as _;
use lgtm_core::{Endpoint, Identity};
use lgtm_devstack::LogEntry;
use lgtm_loki::Format;
use serde_json::Value;
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

use super::backend::{backend, flush_delivered, options};
use super::input::{Input, field_name, may_be_secret};

/// What becomes a line.
struct Case {
    message: String,
    own: String,
    number: i64,
    ratio: f64,
    flag: bool,
    outer: Vec<(String, String)>,
    inner: Vec<(String, String)>,
}

/// Lines are shorter than this.
const LIMIT: usize = 1024;

/// Any message and fields make one line in each format, within its limit, each name once; the line says what was told, unless it
/// says that it is truncated.
///
/// # Panics
/// If not so.
pub fn lines(data: &[u8]) {
    let mut input = Input::new(data);
    let case = Case {
        message: input.text(),
        own: input.long_text(),
        number: input.number(),
        ratio: input.float(),
        flag: input.flag(),
        outer: input.some(6, |input| (field_name(input), input.text())),
        inner: input.some(6, |input| (field_name(input), input.long_text())),
    };
    let backend = backend();
    let (dispatch, pipelines) = layers(&backend.stack.loki_url(), &backend.worker);
    tracing::dispatcher::with_default(dispatch, || case.log());
    pipelines.iter().for_each(flush_delivered);
    let stored = backend.stack.store().logs();
    for (service, read) in FORMATS {
        let lines: Vec<_> = stored.iter().filter(|entry| entry.label("service_name") == Some(service)).collect();
        // The second line of a span has its share of the fields from a cache.
        assert_eq!(lines.len(), 3, "{service}");
        for entry in lines {
            assert!(entry.line.len() <= LIMIT, "{} bytes: {}", entry.line.len(), entry.line);
            read(&case, entry);
        }
    }
}

/// A service for each format, and how its lines are read.
/// Looks at the line of a case.
type Look = fn(&Case, &LogEntry);

const FORMATS: [(&str, Look); 3] = [("json", json), ("logfmt", logfmt), ("text", text)];

fn layers(loki: &str, worker: &lgtm_core::Worker) -> &'static (Dispatch, [Pipeline; 3]) {
    static LAYERS: OnceLock<(Dispatch, [Pipeline; 3])> = OnceLock::new();
    LAYERS.get_or_init(|| {
        let layer = |service: &str, format| {
            let mut identity = Identity::new(service);
            identity.service_instance_id = "one".to_owned();
            lgtm_loki::builder()
                .endpoint(Endpoint::parse(loki).expect("an address"))
                .identity(identity)
                .worker(worker.clone())
                .options(options())
                .format(format)
                .max_line_bytes(LIMIT)
                .build()
                .expect("a layer")
        };
        let (json, one) = layer("json", Format::Json);
        let (logfmt, two) = layer("logfmt", Format::Logfmt);
        let (text, three) = layer("text", Format::Text);
        (Dispatch::new(tracing_subscriber::registry().with(json).with(logfmt).with(text)), [one, two, three])
    })
}

impl Case {
    fn log(&self) {
        let outer = tracing::info_span!("outer");
        self.outer.iter().for_each(|(key, value)| outer.set_attribute(key, value));
        let _outer = outer.entered();
        let inner = tracing::info_span!("inner");
        self.inner.iter().for_each(|(key, value)| inner.set_attribute(key, value));
        let _inner = inner.entered();
        let Self { message, own, number, ratio, flag, .. } = self;
        for _ in 0..3 {
            tracing::warn!(own, number, ratio, flag, "{message}");
        }
    }

    /// The spans' fields as a line has them: the leaf wins over the root, the event over both.
    fn fields(&self) -> HashMap<&str, &str> {
        let mut fields = HashMap::new();
        for (key, value) in self.outer.iter().chain(&self.inner) {
            fields.insert(key.as_str(), value.as_str());
        }
        fields
    }
}

/// The names that a line has for itself.
const OWN: [&str; 8] = ["message", "level", "target", "spans", "truncated", "trace_id", "span_id", "trace_sampled"];

fn json(case: &Case, entry: &LogEntry) {
    let line = &entry.line;
    let object: HashMap<String, Value> = once(line);
    let message = object["message"].as_str().expect("a message");
    let whole = !object.contains_key("truncated");
    assert!(if whole { message == case.message } else { case.message.starts_with(message) }, "{line}");
    assert_eq!(object["level"], "warn", "{line}");
    if !whole {
        return;
    }
    assert_eq!(object["own"], case.own.as_str(), "{line}");
    assert_eq!(object["number"].as_i64(), Some(case.number), "{line}");
    assert_eq!(object["flag"], case.flag, "{line}");
    if case.ratio.is_finite() {
        // serde_json reads numbers of many digits not to the last bit; the event's own field is the first of its name.
        let number = line.split_once("\"ratio\":").and_then(|(_, rest)| rest.split([',', '}']).next());
        assert_eq!(number.and_then(|number| number.parse().ok()), Some(case.ratio), "{line}");
    }
    assert_eq!(object["spans"], serde_json::json!(["outer", "inner"]), "{line}");
    for (key, value) in case.fields() {
        let named = if OWN.contains(&key) { format!("field_{key}") } else { key.to_owned() };
        let renamed_too = case.fields().contains_key(named.as_str()) && named != key;
        let of_event = ["own", "number", "ratio", "flag"].contains(&key);
        if !of_event && !renamed_too && !named_by_prefix(case, key) && !may_be_secret(key) {
            assert_eq!(object.get(&named).and_then(Value::as_str), Some(value), "{named:?} in {line}");
        }
    }
}

/// Whether this is the name that a field of another name gets.
fn named_by_prefix(case: &Case, key: &str) -> bool {
    key.strip_prefix("field_").is_some_and(|bare| OWN.contains(&bare) && case.fields().contains_key(bare))
}

/// The object of a line; each name stands there once.
fn once(line: &str) -> HashMap<String, Value> {
    struct Once(HashMap<String, Value>);
    impl<'de> serde::Deserialize<'de> for Once {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Once;
                fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    formatter.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                    let mut all = HashMap::new();
                    while let Some((name, value)) = map.next_entry::<String, Value>()? {
                        if all.insert(name.clone(), value).is_some() {
                            return Err(serde::de::Error::custom(format!("{name:?} is there twice")));
                        }
                    }
                    Ok(Once(all))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Once>(line).unwrap_or_else(|error| panic!("{error}: {line}")).0
}

fn logfmt(case: &Case, entry: &LogEntry) {
    let line = &entry.line;
    assert!(!line.contains(['\n', '\r']), "{line:?}");
    let pairs = logfmt_pairs(line);
    let mut known = HashMap::new();
    for (name, value) in &pairs {
        assert!(known.insert(name.as_str(), value.as_str()).is_none(), "{name:?} is there twice: {line}");
    }
    let whole = !known.contains_key("truncated");
    let message = known["message"];
    assert!(if whole { message == case.message } else { case.message.starts_with(message) }, "{line}");
    assert_eq!(known["level"], "warn", "{line}");
    if whole {
        assert_eq!(known["own"], case.own, "{line}");
        assert_eq!(known["number"], case.number.to_string(), "{line}");
        assert_eq!(known["flag"], case.flag.to_string(), "{line}");
        assert_eq!(known["spans"], "outer:inner", "{line}");
    }
}

/// Reads a line as Loki's `logfmt` does: names up to `=`, values bare or as JSON strings.
fn logfmt_pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').unwrap_or_else(|| panic!("a name without value in {line}"));
        assert!(!name.is_empty() && !name.contains([' ', '"']), "the name {name:?} in {line}");
        let (value, after) = if after.starts_with('"') {
            let mut texts = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = texts.next().expect("a value").unwrap_or_else(|error| panic!("{error}: {line}"));
            (value, after.split_at(texts.byte_offset()).1)
        } else {
            let (value, after) = after.split_at(after.find(' ').unwrap_or(after.len()));
            (value.to_owned(), after)
        };
        pairs.push((name.to_owned(), value));
        assert!(after.is_empty() || after.starts_with(' '), "{after:?} behind a value in {line}");
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    pairs
}

fn text(_: &Case, entry: &LogEntry) {
    let line = &entry.line;
    assert!(line.starts_with("WARN "), "{line:?}");
    // No reader may see a second line in it, whatever its idea of one.
    assert!(!line.contains(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']), "{line:?}");
    assert!(!line.contains('\u{1b}'), "a terminal would obey it: {line:?}");
}
