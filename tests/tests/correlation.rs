//! From a number to the trace behind it, and from there to its log lines: exemplars in remote write name a span that has
//! arrived, and lines that name the same one.

#![allow(clippy::expect_used, reason = "a failed step fails the test, also in its helpers")]

use std::time::Instant;

use lgtm_core::sampler::Root;
use lgtm_core::span::KeepRules;
use lgtm_core::{Endpoint, Sampler};
use lgtm_devstack::{Devstack, Exemplar, Store};
use lgtm_tests::capture::{Captured, place_of};
use lgtm_tests::signals::{Layers, Order, PATIENCE, Settings};
use tracing::{Dispatch, error, info, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

struct Correlated {
    captured: Captured,
    stack: Devstack,
}

impl Correlated {
    /// The exemplars of all buckets of a histogram.
    fn exemplars(&self, histogram: &str) -> Vec<Exemplar> {
        exemplars(self.stack.store(), histogram)
    }
}

fn exemplars(store: &Store, histogram: &str) -> Vec<Exemplar> {
    store.series_named(&format!("{histogram}_bucket")).into_iter().flat_map(|series| series.exemplars).collect()
}

fn place_of_exemplar(exemplar: &Exemplar) -> (&str, &str) {
    (&exemplar.labels["trace_id"], &exemplar.labels["span_id"])
}

/// Runs `program` under all layers and a recorder, twice collected.
fn correlate(settings: &Settings, subscriber: impl FnOnce(Layers) -> Dispatch, program: impl FnOnce()) -> Correlated {
    let stack = Devstack::start_blocking().expect("a development stack");
    let (layers, pipelines) = settings.start(&stack);
    let endpoint = Endpoint::parse(&stack.mimir_url()).expect("Mimir's address");
    let mimir = lgtm_mimir::builder().push(endpoint).identity(settings.identity.clone()).build().expect("a recorder");
    let dispatch = subscriber(layers);
    metrics::with_local_recorder(&mimir.recorder(), || tracing::dispatcher::with_default(&dispatch, program));
    for report in pipelines.shutdown(PATIENCE) {
        assert_eq!(report.delivered, report.admitted, "{report}");
    }
    let pipeline = mimir.pipeline().expect("it pushes");
    let deadline = Instant::now() + PATIENCE;
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), deadline), "{}", pipeline.report());
    pipeline.begin_shutdown(deadline);
    assert!(pipeline.wait_ended(deadline), "{}", pipeline.report());
    let report = pipeline.report();
    assert_eq!(report.delivered, report.admitted, "{report}");
    let captured = Captured { logs: stack.store().logs(), spans: stack.store().spans() };
    Correlated { captured, stack }
}

#[test]
fn an_exemplar_names_the_span_it_was_recorded_in_and_so_do_that_spans_lines() {
    let outcome = correlate(
        &Settings::of("shop"),
        |layers| layers.dispatch(Order::default()),
        || {
            metrics::histogram!("outside_seconds").record(0.001);
            let _request = info_span!("request").entered();
            let _checkout = info_span!("checkout").entered();
            info!("paid");
            metrics::histogram!("checkout_duration_seconds").record(0.042);
        },
    );
    let checkout = outcome.captured.span("checkout");
    let found = outcome.exemplars("checkout_duration_seconds");
    assert_eq!(found.len(), 1, "once, though it was collected twice: {found:?}");
    assert_eq!(place_of_exemplar(&found[0]), place_of(checkout));
    assert_eq!(found[0].value, 0.042);
    assert_eq!(outcome.captured.place_of_log("paid"), Some(place_of(checkout)));
    assert_eq!(outcome.exemplars("outside_seconds"), [], "outside all spans there is nothing to point at");
    let duplicates = outcome.stack.store().counts().exemplars.duplicates;
    assert_eq!(duplicates, 0);
}

#[test]
fn the_exemplar_of_a_spans_duration_names_that_span() {
    let outcome = correlate(
        &Settings::of("shop"),
        |layers| layers.dispatch(Order::default()),
        || {
            let _request = info_span!("request", otel.kind = "server").entered();
            info_span!("query", otel.kind = "client").in_scope(|| ());
        },
    );
    let series = outcome.stack.store().series_named("otlp_spans_duration_seconds_bucket");
    for (kind, name) in [("server", "request"), ("client", "query")] {
        let of_kind = series.iter().filter(|series| series.labels["span_kind"] == kind);
        let found: Vec<&Exemplar> = of_kind.flat_map(|series| &series.exemplars).collect();
        assert_eq!(found.len(), 1, "{kind}: {found:?}");
        assert_eq!(place_of_exemplar(found[0]), place_of(outcome.captured.span(name)));
        let seconds = outcome.captured.span(name).duration().as_secs_f64();
        assert!(
            (found[0].value - seconds).abs() < 1e-9,
            "{} s in the exemplar, {seconds} s in the span",
            found[0].value
        );
    }
}

#[test]
fn traces_that_are_not_recorded_are_counted_and_leave_no_exemplar() {
    let mut settings = Settings::of("shop");
    settings.sampler = Sampler::ParentBased(Root::AlwaysOff);
    let outcome = correlate(
        &settings,
        |layers| layers.dispatch(Order::default()),
        || {
            let _request = info_span!("request").entered();
            metrics::histogram!("checkout_duration_seconds").record(0.042);
        },
    );
    assert_eq!(outcome.captured.span_names(), Vec::<&str>::new());
    let store = outcome.stack.store();
    let value = |name: &str| store.series_named(name).iter().filter_map(lgtm_devstack::Series::last_value).sum::<f64>();
    assert_eq!(value("otlp_spans_created_total"), 1.0);
    assert_eq!(value("otlp_spans_duration_seconds_count"), 1.0);
    assert_eq!(value("checkout_duration_seconds_count"), 1.0);
    assert_eq!(store.counts().exemplars.received, 0);
}

#[test]
fn in_a_span_that_is_hidden_from_tempo_the_exemplar_names_the_nearest_exported_one() {
    let subscriber = |layers: Layers| {
        let Layers { loki, tempo, spanmetrics } = layers;
        let shown = filter_fn(|metadata| metadata.target() != "hidden");
        Dispatch::new(tracing_subscriber::registry().with(spanmetrics).with(loki).with(tempo.with_filter(shown)))
    };
    let outcome = correlate(&Settings::of("shop"), subscriber, || {
        let _request = info_span!("request", otel.kind = "server").entered();
        let _hidden = info_span!(target: "hidden", "step", otel.kind = "client").entered();
        metrics::histogram!("step_seconds").record(0.042);
    });
    let request = place_of(outcome.captured.span("request"));
    for histogram in ["step_seconds", "otlp_spans_duration_seconds"] {
        let found = outcome.exemplars(histogram);
        assert!(!found.is_empty(), "{histogram}");
        for exemplar in &found {
            assert_eq!(place_of_exemplar(exemplar), request, "{histogram}");
        }
    }
}

#[test]
fn an_exemplar_of_a_trace_whose_fate_is_open_is_published_if_the_trace_is_kept() {
    let mut settings = Settings::of("shop");
    settings.sampler = Sampler::AlwaysOff;
    settings.tempo = |builder| {
        let mut rules = KeepRules::default();
        rules.slower_than = None;
        builder.keep(rules)
    };
    let outcome = correlate(
        &settings,
        |layers| layers.dispatch(Order::default()),
        || {
            info_span!("fine").in_scope(|| metrics::histogram!("work_seconds").record(0.001));
            info_span!("failing").in_scope(|| {
                metrics::histogram!("work_seconds").record(3.0);
                error!("it broke");
                metrics::histogram!("work_seconds").record(4.0);
            });
        },
    );
    let failing = outcome.captured.span("failing");
    assert_eq!(outcome.captured.span_names(), ["failing"]);
    let found = outcome.exemplars("work_seconds");
    assert_eq!(found.iter().map(|exemplar| exemplar.value).collect::<Vec<_>>(), [4.0], "the newest of the bucket");
    assert_eq!(place_of_exemplar(&found[0]), place_of(failing));
    // Those of span metrics, recorded while the span closes, go the same way.
    let found = outcome.exemplars("otlp_spans_duration_seconds");
    assert_eq!(found.iter().map(place_of_exemplar).collect::<Vec<_>>(), [place_of(failing)]);
}
