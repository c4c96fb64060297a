//! `Debug`, `Display` and `Error` implementations are the program's code: whatever they do while a value is shown, nothing is
//! poisoned, no lock is held, and no line or span is half written.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use lgtm::Telemetry;
use lgtm_devstack::{LogEntry, Span, Store};

use crate::harness::{Addresses, PATIENCE, backends, run, say};
use crate::lifecycle::assert_conserved;

/// Does something each time it is shown.
struct Shown<'a>(&'a (dyn Fn() + Sync));

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("half ")?;
        (self.0)();
        formatter.write_str("shown")
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// An error whose source does something when it is shown.
#[derive(Debug)]
struct Failed(Option<Box<Failed>>, fn());

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_none() {
            (self.1)();
        }
        formatter.write_str("failed")
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error that is its own source.
#[derive(Debug)]
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("and again")
    }
}

impl Error for Endless {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&Endless)
    }
}

/// Shows the value everywhere a program can: a message, a field of an event, of a span, one recorded late.
fn show(value: &Shown<'_>) {
    let places: [&(dyn Fn() + Sync); 4] = [
        &|| tracing::info!("message {value}"),
        &|| tracing::info!(before = 1, ?value, after = 2, "event"),
        &|| drop(tracing::info_span!("span", before = 1, ?value, after = 2).entered()),
        &|| {
            let late = tracing::info_span!("late", value = tracing::field::Empty).entered();
            late.record("value", tracing::field::debug(value));
        },
    ];
    for place in places {
        // Some of the values panic: that is for the program to catch.
        let _ = catch_unwind(AssertUnwindSafe(place));
    }
}

pub(crate) fn program(name: &str) -> bool {
    let Some(kind) = name.strip_prefix("hostile: ") else { return false };
    let telemetry = Arc::new(lgtm::init().unwrap());
    tracing::info_span!("outer").in_scope(|| match kind {
        "panics" => panics(),
        "logs" => show(&Shown(&|| tracing::info!("from inside"))),
        "opens spans" => show(&Shown(&|| {
            tracing::info_span!("inside").in_scope(|| tracing::info!("from inside"));
            tracing::Span::current().record("value", "set from inside");
        })),
        "records metrics" => show(&Shown(&|| {
            metrics::counter!("shown_total").increment(1);
            metrics::histogram!("shown_seconds").record(0.5);
            metrics::describe_counter!("shown_total", "How often it was shown.");
        })),
        "takes its time" => takes_its_time(&telemetry),
        "flushes" => show(&Shown(&|| {
            telemetry.flush().unwrap();
        })),
        "has errors without end" => tracing::error!(error = &Endless as &dyn Error, "endless"),
        "changes filters" => show(&Shown(&|| telemetry.filters().set_log_filter("info").unwrap())),
        _ => panic!("no kind `{kind}`"),
    });
    // What comes after it is whole.
    tracing::info_span!("afterwards", number = 1).in_scope(|| tracing::info!(number = 2, "after all"));
    say(&telemetry.shutdown().json());
    true
}

fn panics() {
    let value = Shown(&|| panic!("shown by accident"));
    for _ in 0..3 {
        show(&value);
    }
    let failed = Failed(Some(Box::new(Failed(None, || panic!("shown by accident")))), || {});
    let caught = catch_unwind(AssertUnwindSafe(|| tracing::error!(error = &failed as &dyn Error, "never said")));
    assert!(caught.is_err(), "the program's panic is the program's");
}

/// While one thread is inside a value, others record and everything is sent: nothing that they need is held.
fn takes_its_time(telemetry: &Arc<Telemetry>) {
    let (begins, begun) = mpsc::channel::<mpsc::Sender<()>>();
    let telemetry = Arc::clone(telemetry);
    let others = std::thread::spawn(move || {
        for goes_on in begun {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    std::thread::spawn(|| {
                        for number in 0..50 {
                            tracing::info_span!("other", number).in_scope(|| tracing::info!(number, "meanwhile"));
                            metrics::counter!("meanwhile_total", "number" => number.to_string()).increment(1);
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            telemetry.flush().unwrap();
            goes_on.send(()).unwrap();
        }
    });
    let begins = Mutex::new(begins);
    show(&Shown(&|| {
        let (goes_on, wait) = mpsc::channel();
        begins.lock().unwrap().send(goes_on).unwrap();
        wait.recv_timeout(PATIENCE).unwrap();
    }));
    drop(begins);
    others.join().unwrap();
}

/// The guard is dropped while a value is shown, on another thread than the one that made it.
pub(crate) fn guard_dropped_inside() {
    let guard = Mutex::new(Some(lgtm::init().unwrap()));
    tracing::info!("before");
    let begin = Instant::now();
    show(&Shown(&|| drop(guard.lock().unwrap().take())));
    say(&begin.elapsed().as_millis().to_string());
}

/// A recorder that tells of everything that it is asked.
struct Telling;

struct TellingHandle;

impl metrics::CounterFn for TellingHandle {
    fn increment(&self, by: u64) {
        tracing::info!(by, "counted");
    }

    fn absolute(&self, to: u64) {
        tracing::info!(to, "counted");
    }
}

impl metrics::Recorder for Telling {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let name = key.name();
        tracing::info_span!("registering", name).in_scope(|| tracing::info!(queue = name, "registered"));
        metrics::Counter::from_arc(Arc::new(TellingHandle))
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

/// Everything that lgtm itself counts on the program's threads passes by a recorder that logs.
pub(crate) fn recorder_that_logs() {
    metrics::set_global_recorder(Telling).unwrap();
    let telemetry = lgtm::builder().without_metrics().log_label_from_field("queue", 1).init().unwrap();
    for queue in ["mail", "print", "fax"] {
        tracing::info_span!("job", otel.kind = "consumer").in_scope(|| tracing::info!(queue, "taken"));
    }
    // A line that is cut is counted.
    tracing::info!(text = "x".repeat(400_000), "long");
    say(&telemetry.shutdown().json());
}

fn messages(store: &Store) -> Vec<String> {
    let logs = store.logs();
    logs.iter().map(|entry| entry.json().unwrap()["message"].as_str().unwrap().to_owned()).collect()
}

fn hostile(kind: &str) -> (Vec<std::sync::Arc<LogEntry>>, Vec<std::sync::Arc<Span>>, lgtm_devstack::Devstack) {
    let stack = backends();
    let variables = [("LGTM_SHUTDOWN_TIMEOUT", "60s"), ("LGTM_CONSOLE", "json")];
    let finished = run(&format!("hostile: {kind}"), &Addresses::of(&stack).with(&variables));
    assert!(finished.success, "{kind}: {}", finished.stderr);
    for line in finished.stderr.lines().filter(|line| line.contains("\"timestamp\"")) {
        let whole = serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert!(whole, "{kind}: the console shows a line and what was left of another one: {line}");
    }
    let report = finished.report();
    assert_conserved(&report);
    for signal in ["logs", "spans", "metrics"] {
        assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{kind}: {report}");
    }
    let (logs, spans) = (stack.store().logs(), stack.store().spans());
    assert_eq!(messages(stack.store()).iter().filter(|message| *message == "after all").count(), 1, "{kind}");
    let afterwards: Vec<_> = spans.iter().filter(|span| span.name == "afterwards").collect();
    assert_eq!(afterwards.len(), 1, "{kind}");
    assert_eq!(afterwards[0].parent_span_id, None, "nothing is left entered: {kind}");
    assert_eq!(afterwards[0].events.len(), 1, "{kind}");
    (logs, spans, stack)
}

/// The lines and spans of [`show`], whole.
fn assert_shown(logs: &[std::sync::Arc<LogEntry>], spans: &[std::sync::Arc<Span>], kind: &str) {
    let line = |message: &str| {
        let lines: Vec<_> =
            logs.iter().filter_map(|entry| entry.json()).filter(|line| line["message"] == message).collect();
        assert_eq!(lines.len(), 1, "{kind}: {message}");
        lines[0].clone()
    };
    line("message half shown");
    let event = line("event");
    assert_eq!((&event["before"], &event["value"], &event["after"]), (&1.into(), &"half shown".into(), &2.into()));
    for name in ["span", "late", "outer"] {
        assert_eq!(spans.iter().filter(|span| span.name == name).count(), 1, "{kind}: {name}");
    }
    let outer = spans.iter().find(|span| span.name == "outer").unwrap();
    let parent = |name: &str| spans.iter().find(|span| span.name == name).unwrap().parent_span_id.clone();
    assert_eq!((parent("span"), parent("late")), (Some(outer.span_id.clone()), Some(outer.span_id.clone())), "{kind}");
}

#[test]
fn a_debug_implementation_that_panics_loses_its_own_line_and_nothing_else() {
    let (logs, spans, _stack) = hostile("panics");
    let lines: Vec<_> = logs.iter().map(|entry| entry.json().unwrap()).collect();
    let said = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    // The panics themselves are events; what could not be shown is not there in part.
    assert_eq!(said("shown by accident"), 13);
    assert_eq!(lines.len(), 13 + 1, "{lines:#?}");
    assert!(spans.iter().all(|span| span.name != "span"), "a span whose fields panic was never opened");
    assert_eq!(spans.iter().filter(|span| span.name == "late").count(), 3);
    let outer = spans.iter().find(|span| span.name == "outer").unwrap();
    assert!(outer.events.iter().all(|event| event.name != "event"), "{outer:?}");
}

#[test]
fn a_debug_implementation_that_logs_or_opens_spans_gives_whole_lines_and_spans() {
    for kind in ["logs", "opens spans"] {
        let (logs, spans, _stack) = hostile(kind);
        assert_shown(&logs, &spans, kind);
        let inside = logs.iter().filter(|entry| entry.json().unwrap()["message"] == "from inside").count();
        // Each layer that formats for itself shows a value once: ours together, and the console.
        assert!((4..=8).contains(&inside), "{kind}: {inside}");
        let opened = spans.iter().filter(|span| span.name == "inside").count();
        assert_eq!(opened, if kind == "logs" { 0 } else { inside });
    }
}

#[test]
fn a_debug_implementation_that_records_metrics_is_counted() {
    let (logs, spans, stack) = hostile("records metrics");
    assert_shown(&logs, &spans, "records metrics");
    let total = stack.store().series_named("shown_total")[0].last_value().unwrap();
    assert!((4.0..=8.0).contains(&total), "{total}");
    assert_eq!(stack.store().series_named("shown_seconds_count")[0].last_value(), Some(total));
}

#[test]
fn a_debug_implementation_that_takes_its_time_holds_up_no_other_thread_and_no_delivery() {
    let (logs, spans, stack) = hostile("takes its time");
    assert_shown(&logs, &spans, "takes its time");
    let meanwhile = logs.iter().filter(|entry| entry.json().unwrap()["message"] == "meanwhile").count();
    assert!(meanwhile >= 4 * 200, "{meanwhile}");
    assert_eq!(stack.store().series_named("meanwhile_total").len(), 50);
}

#[test]
fn a_debug_implementation_that_flushes_or_changes_filters_does_not_wait_for_itself() {
    for kind in ["flushes", "changes filters"] {
        let (logs, spans, _stack) = hostile(kind);
        assert_shown(&logs, &spans, kind);
    }
}

#[test]
fn a_debug_implementation_that_drops_the_guard_ends_telemetry_and_the_program_goes_on() {
    let stack = backends();
    let finished = run("guard dropped inside", &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_TIMEOUT", "60s")]));
    assert!(finished.success, "{}", finished.stderr);
    let took = Duration::from_millis(finished.said[0].parse().unwrap());
    assert!(took < Duration::from_secs(60), "{took:?}");
    // The line that was being shown came too late.
    assert_eq!(messages(stack.store()), ["before"]);
}

#[test]
fn a_recorder_that_logs_and_opens_spans_makes_no_loop_and_holds_nothing_up() {
    let stack = backends();
    let finished = run("recorder that logs", &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_TIMEOUT", "60s")]));
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    for signal in ["logs", "spans"] {
        assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{report}");
    }
    let messages = messages(stack.store());
    let said = |text: &str| messages.iter().filter(|message| *message == text).count();
    assert_eq!((said("taken"), said("long")), (3, 1));
    // Of what lgtm counts itself it tells nothing, or that would be counted again.
    assert_eq!((said("registered"), said("counted")), (0, 3), "{messages:?}");
}

#[test]
fn an_error_that_is_its_own_source_is_shown_with_an_end() {
    let (logs, spans, _stack) = hostile("has errors without end");
    assert_eq!(logs.iter().filter(|entry| entry.json().unwrap()["message"] == "endless").count(), 1);
    let outer = spans.iter().find(|span| span.name == "outer").unwrap();
    let event = outer.events.iter().find(|event| event.name == "exception").unwrap();
    let chain = event.attributes.text("exception.stacktrace").unwrap();
    assert_eq!(chain.matches("caused by: and again").count(), 32, "{chain}");
}
