//! What standard error shows.

use std::sync::{Arc, Mutex};

use lgtm_core::{SpanId, TraceContext, TraceId, current};
use proptest::prelude::*;
use tracing::{info, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(layer: impl FnOnce(Output) -> Box<dyn Layer<Registry> + Send + Sync>, work: impl FnOnce()) -> String {
    let output = Output::default();
    let subscriber = tracing_subscriber::registry().with(layer(output.clone()));
    tracing::subscriber::with_default(subscriber, work);
    let bytes = output.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn trace() -> TraceContext {
    TraceContext::new(TraceId::random(), SpanId::random(), true)
}

fn log_twice(trace: TraceContext) {
    let _span = info_span!("checkout", cart = 7).entered();
    current::with_trace(Some(trace), || info!(total = 12.5, "two\nlines"));
    info!("outside of all traces");
}

#[test]
fn json_lines_carry_the_ids_and_stay_valid() {
    let trace = trace();
    let text = written(|output| json(move || output.clone()), || log_twice(trace));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["trace_id"], trace.trace_id.to_string());
    assert_eq!(lines[0]["span_id"], trace.span_id.to_string());
    assert_eq!(lines[0]["fields"]["message"], "two\nlines");
    assert_eq!(lines[0]["span"]["cart"], 7);
    assert_eq!(lines[1].get("trace_id"), None);
}

#[test]
fn pretty_lines_end_with_the_ids() {
    let trace = trace();
    let text = written(|output| pretty(move || output.clone(), false), || log_twice(trace));
    let ids = format!(" trace_id={} span_id={}", trace.trace_id, trace.span_id);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(" INFO checkout{cart=7}: lgtm::console::tests: \"two\\nlines\" total=12.5"), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines.iter().any(|line| line.contains("total=12.5") && line.ends_with(&ids)), "{text}");
    assert!(lines.last().unwrap().ends_with("outside of all traces"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour was asked for: {text}");
}

#[test]
fn colour_survives_the_ids() {
    let text = written(|output| pretty(move || output.clone(), true), || log_twice(trace()));
    assert!(text.lines().next().unwrap().contains('\u{1b}'), "{text}");
}

#[test]
fn off_is_no_layer() {
    assert!(layer::<Registry>(Console::Off).is_none());
    assert!(layer::<Registry>(Console::Json).is_some());
}

#[test]
fn neither_format_shows_the_value_of_a_secret() {
    let program = || {
        let span = info_span!("login", password = "hunter2", api.key = tracing::field::Empty, user = "ada").entered();
        span.record("api.key", "hunter2");
        info!(access_token = 17, token_count = 17, cookie = ?"hunter2", "in");
    };
    let text = written(|output| json(move || output.clone()), program);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (place, name) in [("span", "password"), ("span", "api.key"), ("fields", "access_token"), ("fields", "cookie")] {
        assert_eq!(line[place][name], "[redacted]", "{text}");
    }
    assert_eq!((&line["fields"]["token_count"], &line["span"]["user"]), (&17.into(), &"ada".into()));
    assert!(!text.contains("hunter2"));
    let text = written(|output| pretty(move || output.clone(), false), program);
    assert!(text.contains("login{password=[redacted] user=ada api.key=[redacted]}:"), "{text}");
    assert!(text.contains("in access_token=[redacted] token_count=17 cookie=[redacted]"), "{text}");
    assert!(!text.contains("hunter2"));
}

#[test]
fn late_fields_of_a_span_stand_once_in_an_object() {
    let text = written(
        |output| json(move || output.clone()),
        || {
            let span = info_span!("work", step = 1).entered();
            span.record("step", 2);
            info!("here");
        },
    );
    assert_eq!(text.matches("\"step\":2").count(), 2, "in the span and in the list: {text}");
    assert!(!text.contains("\"step\":1"), "{text}");
}

/// Text that wants to be more than a value.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("\n2026-01-01T00:00:00Z ERROR shop: forged".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{1b}[2J\u{1b}]0;title\u{7}".to_owned()),
        Just("\u{9b}31m\u{85}\u{2028}\u{202e}\0\u{7f}".to_owned()),
        Just("\",\"admin\":true,\"x\":\"".to_owned()),
        Just(" admin=true level=error trace_id=0 ".to_owned()),
        Just("\\".to_owned()),
        Just(": ".to_owned()),
        Just("}".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_text_forges_a_line_a_field_or_a_terminal_command(message in hostile(), value in hostile(), shown in hostile()) {
        let program = || {
            let _span = info_span!("work", outer = value.as_str(), late = tracing::field::Empty).entered();
            info!(own = value.as_str(), display = %shown, debug = ?shown.as_bytes(), "{message}");
        };
        let text = written(|output| json(move || output.clone()), program);
        prop_assert!(text.ends_with('\n') && !text[..text.len() - 1].contains(lgtm_core::is_unprintable), "{:?}", text);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let names = |object: &serde_json::Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(names(&line), ["fields", "level", "span", "spans", "target", "timestamp"]);
        prop_assert_eq!(names(&line["fields"]), ["debug", "display", "message", "own"]);
        prop_assert_eq!(names(&line["span"]), ["name", "outer"]);
        prop_assert_eq!(line["fields"]["message"].as_str(), Some(message.as_str()));
        prop_assert_eq!(line["fields"]["display"].as_str(), Some(shown.as_str()));

        let text = written(|output| pretty(move || output.clone(), false), program);
        prop_assert!(text.ends_with('\n') && !text[..text.len() - 1].contains(lgtm_core::is_unprintable), "{:?}", text);
        // What is in quotes is a value: outside of them each name stands once, and nothing else looks like a field.
        let bare = without_quoted(&text);
        let names: Vec<_> = bare.split([' ', '{', '}']).filter_map(|word| Some(word.split_once('=')?.0)).collect();
        prop_assert_eq!(names, ["outer", "own", "display", "debug"], "{}", text);
        prop_assert_eq!(bare.matches(" INFO ").count(), 1);
    }
}

/// The text without what is in quotes.
fn without_quoted(text: &str) -> String {
    let mut bare = String::new();
    let (mut inside, mut escaped) = (false, false);
    for character in text.chars() {
        match (character, inside, escaped) {
            (_, true, true) => escaped = false,
            ('\\', true, false) => escaped = true,
            ('"', ..) => inside = !inside,
            (_, true, _) => {}
            (character, false, _) => bare.push(character),
        }
    }
    bare
}
