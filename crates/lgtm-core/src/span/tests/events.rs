//! Events, and `Debug` implementations that panic. Those that log are in `tests/reentrancy.rs`: tracing lets them under a
//! global subscriber only.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::dispatcher::with_default;
use tracing::{error, info, info_span};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry};

use super::support::*;
use crate::current;
use crate::span::Role;

/// Counts how often it is shown, and does something each time.
struct Shown<F>(AtomicU32, F);

impl<F: Fn()> Shown<F> {
    fn new(act: F) -> Self {
        Self(AtomicU32::new(0), act)
    }

    fn times(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<F: Fn()> fmt::Debug for Shown<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fetch_add(1, Ordering::Relaxed);
        (self.1)();
        formatter.write_str("shown")
    }
}

fn three_layers() -> (tracing::Dispatch, [Arc<Log>; 3]) {
    let probes = [Role::Observer, Role::Exporter, Role::Observer].map(Probe::new);
    let logs = [0, 1, 2].map(|index: usize| Arc::clone(&probes[index].log));
    (three(probes.map(|probe| (probe, everything()))), logs)
}

#[test]
fn fields_are_visited_once_for_all_layers() {
    let (dispatch, logs) = three_layers();
    with_default(&dispatch, || {
        let value = Shown::new(|| ());
        // One callsite, many times: the layers must not take one event for another.
        for number in 1..=10 {
            info!(number, ?value, "line");
            assert_eq!(value.times(), number);
        }
        drop(info_span!("span", ?value));
        assert_eq!(value.times(), 11);
    });
    for log in &logs {
        let events = log.events();
        let numbers: Vec<_> = events.iter().map(|event| event.fields[0].1.clone()).collect();
        assert_eq!(numbers, (1..=10).map(|number| format!("Integer({number})")).collect::<Vec<_>>());
        assert!(events.iter().all(|event| event.message == "line" && event.fields[1].1 == "shown"));
        assert_eq!(*events, logs[0].events(), "also one time for all layers");
    }
}

#[test]
fn a_debug_implementation_that_panics_leaves_the_next_spans_and_events_right() {
    let (dispatch, logs) = three_layers();
    with_default(&dispatch, || {
        let bad = Shown::new(|| std::panic::resume_unwind(Box::new("scripted")));
        let root = info_span!("root", late = tracing::field::Empty).entered();
        for _ in 0..3 {
            assert!(catch_unwind(AssertUnwindSafe(|| info!(?bad, "lost"))).is_err());
            assert!(catch_unwind(AssertUnwindSafe(|| drop(info_span!(parent: None, "lost", ?bad)))).is_err());
            assert!(
                catch_unwind(AssertUnwindSafe(|| root.record("late", tracing::field::debug(&bad)).is_disabled()))
                    .is_err()
            );
            info_span!("child", fine = 1).in_scope(|| info!(fine = 2, "kept"));
        }
        assert_eq!(
            current::trace().map(|trace| trace.trace_id),
            logs[0].event("kept").trace.map(|trace| trace.trace_id)
        );
    });
    assert_eq!(store_of(&dispatch).open_records(), 0);
    for log in &logs {
        assert_eq!((log.closed().len(), log.events().len()), (4, 3));
        assert_eq!(log.span("child").parent_span_id, log.span("root").span_id);
        assert_eq!(log.event("kept").fields, [("fine".to_owned(), "Integer(2)".to_owned())]);
    }
}

#[test]
fn a_layer_that_missed_an_event_does_not_take_it_for_the_next_one() {
    let turn = Arc::new(AtomicU32::new(0));
    let probes = [Role::Observer, Role::Exporter].map(Probe::new);
    let logs = [0, 1].map(|index: usize| Arc::clone(&probes[index].log));
    let [first, second] = probes;
    let (evens, odds) = (Arc::clone(&turn), Arc::clone(&turn));
    let layers = Registry::default()
        .with(first.with_filter(dynamic_filter_fn(move |_, _| evens.load(Ordering::Relaxed) % 2 == 0)))
        .with(second.with_filter(dynamic_filter_fn(move |_, _| odds.load(Ordering::Relaxed) % 2 == 1)));
    with_default(&tracing::Dispatch::new(layers), || {
        // One callsite at one place of the stack: nothing but the announcement tells the events apart.
        for number in 0..10 {
            turn.store(number, Ordering::Relaxed);
            info!(number, "line");
        }
    });
    for (own, log) in logs.iter().enumerate() {
        let numbers: Vec<_> = log.events().iter().map(|event| event.fields[0].1.clone()).collect();
        let expected: Vec<_> = (0..5).map(|number| format!("Integer({})", 2 * number + own)).collect();
        assert_eq!(numbers, expected);
    }
}

#[test]
fn an_event_without_context_or_with_an_explicit_parent_belongs_there() {
    let (dispatch, logs) = three_layers();
    with_default(&dispatch, || {
        let other = info_span!("other");
        info_span!("current").in_scope(|| {
            info!(parent: &other, "explicit");
            info!(parent: None, "root");
            info!("contextual");
        });
    });
    for log in &logs {
        assert_eq!(log.event("explicit").trace, log.span("other").context);
        assert_eq!(log.event("explicit").span, log.span("other").id);
        assert_eq!((log.event("root").trace, log.event("root").span), (None, 0));
        assert_eq!(log.event("contextual").trace, log.span("current").context);
    }
}

#[derive(Debug)]
struct Failure(&'static str, Option<Box<Failure>>);

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

#[test]
fn an_error_value_is_an_exception_with_its_sources() {
    let (dispatch, log, _) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let chain = Failure("outer", Some(Box::new(Failure("middle", Some(Box::new(Failure("root", None)))))));
        error!(error = &chain as &(dyn std::error::Error + 'static), "failed");
        error!(error = &Failure("alone", None) as &(dyn std::error::Error + 'static), "failed alone");
        info!("fine");
    });
    let event = log.event("failed");
    assert_eq!(event.exception, Some(("outer".to_owned(), "outer\ncaused by: middle\ncaused by: root".to_owned())));
    assert_eq!(event.fields, [("error".to_owned(), "outer".to_owned())]);
    assert_eq!(log.event("failed alone").exception, Some(("alone".to_owned(), String::new())));
    assert_eq!(log.event("fine").exception, None);
}

#[test]
fn an_event_is_bounded() {
    let (dispatch, log, attachment) = one(Probe::new(Role::Exporter));
    let limits = attachment.limits();
    let large = "x".repeat(2 * limits.value_bytes);
    with_default(&dispatch, || info!(a = large, b = large, c = large, d = ?large, e = 5, "{large}"));
    let event = log.events()[0].clone();
    assert_eq!(event.message.len(), limits.value_bytes);
    let bytes: usize = event.fields.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= limits.span_bytes, "{bytes}");
    assert_eq!((event.fields.len() as u32 + event.dropped, event.fields.last().unwrap().0.as_str()), (5, "e"));
    assert!(event.dropped > 0);
}

#[test]
fn destructors_of_a_thread_may_log_and_open_spans() {
    struct Farewell(tracing::Dispatch);
    impl Drop for Farewell {
        fn drop(&mut self) {
            with_default(&self.0, || {
                info_span!("farewell", value = 1).in_scope(|| info!("farewell"));
                let _ = current::trace();
            });
        }
    }
    thread_local! {
        static EARLY: std::cell::RefCell<Option<Farewell>> = const { std::cell::RefCell::new(None) };
        static LATE: std::cell::RefCell<Option<Farewell>> = const { std::cell::RefCell::new(None) };
    }
    let (dispatch, logs) = three_layers();
    let ours = dispatch.clone();
    std::thread::spawn(move || {
        // One destructor registered before our own thread-locals, one after.
        EARLY.with(|farewell| farewell.replace(Some(Farewell(ours.clone()))));
        with_default(&ours, || info_span!("span").in_scope(|| info!("line")));
        LATE.with(|farewell| farewell.replace(Some(Farewell(ours.clone()))));
    })
    .join()
    .expect("no panic while the thread ends");
    for log in &logs {
        assert!(log.closed().iter().filter(|span| span.name == "farewell").all(|span| span.fields.len() == 1));
    }
    assert_eq!(store_of(&dispatch).open_records(), 0);
}
