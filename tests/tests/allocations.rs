//! What the hot path allocates on the calling thread under all layers and the recorder, once everything is warm: nothing for an event, at most
//! once for a span.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, also in its helpers; measurements are shown"
)]

use std::error::Error;

use allocation_counter::{AllocationInfo, measure};
use lgtm_core::Endpoint;
use lgtm_tempo::Protocol;
use lgtm_tests::discard::Discard;
use lgtm_tests::signals::{Order, PATIENCE, Settings};
use tracing::{debug, error, info, info_span};

/// Enough for every pooled record and buffer to have been used several times.
const WARM_UP: u64 = 30_000;
const MEASURED: u64 = 4_000;
/// A buffer that is handed over whole to the worker may have to be replaced: once in some hundred items.
const HAND_OVER: f64 = 0.05;

/// Does `work` until it is warm; then how often it allocates on this thread each time.
fn allocations(what: &str, mut work: impl FnMut(u64)) -> f64 {
    (0..WARM_UP).for_each(&mut work);
    let AllocationInfo { count_total, bytes_total, .. } = measure(|| (0..MEASURED).for_each(&mut work));
    let each = count_total as f64 / MEASURED as f64;
    println!("{what}: {each:.4} allocations, {:.1} bytes", bytes_total as f64 / MEASURED as f64);
    each
}

#[track_caller]
fn assert_at_most(limit: f64, what: &str, work: impl FnMut(u64)) {
    let each = allocations(what, work);
    assert!(each <= limit + HAND_OVER, "{what}: {each} allocations, at most {limit} are allowed");
}

/// Runs `program` under all layers and the recorder, against a backend that takes everything.
fn measured(program: impl FnOnce()) {
    let backend = Discard::start().expect("a backend");
    let mut settings = Settings::of("allocations");
    settings.protocol = Protocol::Http;
    let (layers, pipelines) = settings.start_at(&backend.url(), &backend.url());
    let mimir = lgtm_mimir::builder()
        .push(Endpoint::parse(&backend.url()).expect("an address"))
        .identity(settings.identity.clone())
        .build()
        .expect("a recorder");
    let dispatch = layers.dispatch(Order::default());
    metrics::with_local_recorder(&mimir.recorder(), || tracing::dispatcher::with_default(&dispatch, program));
    for report in pipelines.shutdown(PATIENCE) {
        assert_eq!(report.delivered, report.admitted, "{report}");
    }
}

#[test]
fn in_steady_state_events_do_not_allocate() {
    measured(events);
}

#[test]
fn in_steady_state_an_event_with_an_error_value_does_not_allocate() {
    measured(|| {
        let _request = info_span!("request").entered();
        let cause = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let cause = &cause as &(dyn Error + 'static);
        assert_at_most(0.0, "event with an error value", |_| error!(error = cause, "failed"));
    });
}

#[test]
fn in_steady_state_spans_allocate_at_most_once() {
    measured(spans);
}

#[test]
fn in_steady_state_samples_do_not_allocate() {
    measured(samples);
}

fn events() {
    assert_at_most(0.0, "event without fields, outside spans", |_| info!("ready"));
    assert_at_most(0.0, "event with fields, outside spans", |number| {
        info!(number, ratio = 0.5, name = "ada", shape = ?Some(number), "order {number} placed");
    });
    let root = info_span!("request", method = "GET", number = 1);
    let _root = root.entered();
    let leaf = info_span!("query", rows = 3);
    leaf.in_scope(|| {
        assert_at_most(0.0, "event without fields, in two spans", |_| debug!("ready"));
        assert_at_most(0.0, "event with fields, in two spans", |number| {
            info!(number, ratio = 0.5, name = "ada", "order {number} placed");
        });
        assert_at_most(0.0, "event with a field that its span has too", |number| info!(rows = number, "counted"));
        assert_at_most(0.0, "event of level ERROR", |number| error!(number, "failed"));
    });
}

fn spans() {
    assert_at_most(1.0, "span without fields", |_| drop(info_span!("request").entered()));
    assert_at_most(1.0, "span with three fields", |number| {
        drop(info_span!("request", method = "GET", route = "/orders/{id}", number).entered());
    });
    assert_at_most(1.0, "span with a name of its own", |number| {
        drop(info_span!("request", otel.name = "GET /orders/{id}", otel.kind = "server", number).entered());
    });
    assert_at_most(1.0, "span with a field recorded late", |number| {
        let span = info_span!("request", method = "GET", status = tracing::field::Empty).entered();
        span.record("status", number);
    });
    assert_at_most(1.0, "span with three fields and an event inside", |number| {
        info_span!("request", method = "GET", route = "/orders/{id}", number)
            .in_scope(|| info!(latency_ms = number, "order placed"));
    });
    assert_at_most(2.0, "two nested spans with an event inside", |number| {
        let _request = info_span!("request", method = "GET", number).entered();
        let _query = info_span!("query", rows = 3, number).entered();
        info!(latency_ms = number, "order placed");
    });
}

fn samples() {
    let requests = metrics::counter!("requests_total", "method" => "GET");
    let duration = metrics::histogram!("request_duration_seconds", "method" => "GET");
    let _request = info_span!("request", method = "GET").entered();
    assert_at_most(0.0, "sample of a counter", |_| requests.increment(1));
    assert_at_most(0.0, "sample of a histogram with its exemplar", |number| duration.record(number as f64 / 1e4));
}
