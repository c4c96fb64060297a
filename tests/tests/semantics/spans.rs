//! Spans: kind, status, name, attributes, events, exceptions, links, limits, parents.

use std::error::Error;
use std::fmt;

use insta::assert_snapshot;
use lgtm_devstack::{SpanKind, StatusCode};
use lgtm_tests::capture::{capture, place_of};
use tracing::field::Empty;
use tracing::{Span, error, info, info_span, warn};

use super::{lines, settings};

#[test]
fn fields_become_attributes_of_their_type_under_the_resource_of_the_service() {
    let captured = capture(&settings(), || {
        info_span!(
            "request",
            "http.request.method" = "GET",
            order_id = 17_u64,
            delta = -4_i64,
            huge = u64::MAX,
            ratio = 0.5,
            cached = true,
            shape = ?Some(1),
            shown = %"as text",
        );
    });
    let span = captured.span("request");
    assert_snapshot!(lines(&span.attributes), @r#"
    http.request.method = String("GET")
    order_id = Int(17)
    delta = Int(-4)
    huge = String("18446744073709551615")
    ratio = Double(0.5)
    cached = Bool(true)
    shape = String("Some(1)")
    shown = String("as text")
    "#);
    let resource = lines(&span.resource).replace(env!("CARGO_PKG_VERSION"), "[version]");
    assert_snapshot!(resource, @r#"
    service.name = String("shop")
    service.version = String("1.2.3")
    service.instance.id = String("instance-1")
    deployment.environment.name = String("test")
    telemetry.sdk.name = String("lgtm")
    telemetry.sdk.language = String("rust")
    telemetry.sdk.version = String("[version]")
    "#);
    assert_eq!((span.kind, span.status.code), (SpanKind::Internal, StatusCode::Unset));
    assert_eq!(span.parent_span_id, None);
}

#[test]
fn the_otel_fields_describe_the_span_and_are_no_attributes() {
    let captured = capture(&settings(), || {
        for kind in ["server", "client", "producer", "consumer", "internal"] {
            info_span!("static", otel.name = kind, otel.kind = kind);
        }
        info_span!("failed", otel.status_code = "error", otel.status_description = "no stock");
        info_span!("fine", otel.status_code = "ok");
    });
    for (name, kind) in [
        ("server", SpanKind::Server),
        ("client", SpanKind::Client),
        ("producer", SpanKind::Producer),
        ("consumer", SpanKind::Consumer),
        ("internal", SpanKind::Internal),
    ] {
        let span = captured.span(name);
        assert_eq!((span.kind, span.attributes.len()), (kind, 0), "{name}");
    }
    let failed = captured.span("failed");
    assert_eq!((failed.status.code, failed.status.message.as_str()), (StatusCode::Error, "no stock"));
    assert_eq!(captured.span("fine").status.code, StatusCode::Ok);
}

#[test]
fn what_is_recorded_late_replaces_the_earlier_value() {
    let captured = capture(&settings(), || {
        let span = info_span!("GET", otel.name = Empty, otel.status_code = Empty, user = "unknown", rows = Empty);
        span.record("user", "ada");
        span.record("rows", 3);
        span.record("rows", 4);
        span.record("otel.name", "GET /orders");
        span.record("otel.status_code", "error");
    });
    let span = captured.span("GET /orders");
    assert_snapshot!(lines(&span.attributes), @r#"
    user = String("ada")
    rows = Int(4)
    "#);
    assert_eq!(span.status.code, StatusCode::Error);
}

#[test]
fn events_become_span_events_in_order_and_an_error_sets_the_status() {
    let captured = capture(&settings(), || {
        let _span = info_span!("request").entered();
        info!(rows = 3, "found");
        warn!(target: "shop::stock", "low");
        error!(item = 7, "sold out");
        info!("after");
    });
    let span = captured.span("request");
    let events: Vec<String> =
        span.events.iter().map(|event| format!("{}\n{}", event.name, lines(&event.attributes))).collect();
    assert_snapshot!(events.join("\n"), @r#"
    found
    level = String("INFO")
    target = String("semantics::spans")
    rows = Int(3)

    low
    level = String("WARN")
    target = String("shop::stock")

    sold out
    level = String("ERROR")
    target = String("semantics::spans")
    item = Int(7)

    after
    level = String("INFO")
    target = String("semantics::spans")
    "#);
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Error, "sold out"));
    let times: Vec<u64> = span.events.iter().map(|event| event.time_ns).collect();
    assert!(times.is_sorted() && times.iter().all(|time| (span.start_ns..=span.end_ns).contains(time)));
}

#[test]
fn a_status_that_the_program_has_set_is_not_changed_by_events() {
    let captured = capture(&settings(), || {
        info_span!("fine", otel.status_code = "ok").in_scope(|| error!("only noise"));
        let late = info_span!("handled", otel.status_code = Empty);
        late.in_scope(|| error!("retried"));
        late.record("otel.status_code", "ok");
    });
    for name in ["fine", "handled"] {
        let span = captured.span(name);
        assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Ok, ""), "{name}");
        assert_eq!(span.events.len(), 1, "{name}");
    }
}

#[derive(Debug)]
struct Wrapped {
    what: &'static str,
    source: Option<Box<Wrapped>>,
}

impl fmt::Display for Wrapped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.what)
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[test]
fn an_error_value_becomes_an_exception_event_with_the_chain_of_its_sources() {
    let captured = capture(&settings(), || {
        let _span = info_span!("request").entered();
        let root = Wrapped { what: "connection refused", source: None };
        let middle = Wrapped { what: "database unreachable", source: Some(Box::new(root)) };
        let error = Wrapped { what: "order not saved", source: Some(Box::new(middle)) };
        error!(error = &error as &(dyn Error + 'static), attempt = 2, "giving up");
    });
    let span = captured.span("request");
    let event = &span.events[0];
    assert_eq!(event.name, "exception");
    assert_snapshot!(lines(&event.attributes), @r#"
    level = String("ERROR")
    target = String("semantics::spans")
    exception.message = String("order not saved")
    exception.stacktrace = String("order not saved\ncaused by: database unreachable\ncaused by: connection refused")
    message = String("giving up")
    error = String("order not saved")
    attempt = Int(2)
    "#);
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Error, "giving up"));
}

#[test]
fn follows_from_becomes_a_link_that_names_trace_and_span() {
    let captured = capture(&settings(), || {
        let first = info_span!("first");
        let second = info_span!(parent: None, "second");
        second.follows_from(&first);
        drop(second);
    });
    let (first, second) = (captured.span("first"), captured.span("second"));
    assert_ne!(first.trace_id, second.trace_id);
    let links: Vec<_> = second.links.iter().map(|link| (link.trace_id.as_str(), link.span_id.as_str())).collect();
    assert_eq!(links, [place_of(first)]);
}

#[test]
fn what_goes_over_the_limits_is_left_out_and_counted() {
    let captured = capture(&settings(), || {
        let many = info_span!("many").entered();
        for number in 0..130 {
            info!(number, "event");
        }
        for _ in 0..131 {
            let other = info_span!(parent: None, "other", otel.name = "linked");
            many.follows_from(&other);
        }
        drop(many);
        let large = info_span!("large", value = "v".repeat(200 * 1024)).entered();
        for number in 0..4 {
            info!(number, filler = "e".repeat(100 * 1024), "event");
        }
        drop(large);
    });
    let many = captured.span("many");
    assert_eq!((many.events.len(), many.dropped_events), (128, 2));
    assert_eq!((many.links.len(), many.dropped_links), (128, 3));
    assert_eq!(many.events.last().and_then(|event| event.attributes.int("number")), Some(127), "the first ones stay");
    let large = captured.span("large");
    assert_eq!(large.attributes.text("value").map(str::len), Some(128 * 1024), "a value is cut");
    assert_eq!((large.events.len(), large.dropped_events), (2, 2), "256 KiB of events");
    // Loki has them all: its bounds are its own.
    assert_eq!(captured.logs.len(), 134);
}

#[test]
fn parents_are_those_of_the_program_also_where_they_are_explicit_or_on_other_threads() {
    let captured = capture(&settings(), || {
        let root = info_span!("root");
        let entered = root.clone().entered();
        let contextual = info_span!("contextual");
        let explicit = info_span!(parent: &contextual, "explicit");
        let alone = info_span!(parent: None, "alone");
        alone.in_scope(|| {
            info_span!("child of alone");
        });
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, || {
                assert_eq!(lgtm_core::current::trace(), None, "a new thread is in no span");
                root.in_scope(|| {
                    info_span!("on another thread");
                    info!("said on another thread");
                });
            });
        })
        .join()
        .expect("a thread");
        info!(parent: &explicit, "said for another span");
        drop(entered);
    });
    let root = captured.span("root");
    let parent_of = |name: &str| captured.span(name).parent_span_id.as_deref();
    assert_eq!(parent_of("root"), None);
    assert_eq!(parent_of("contextual"), Some(root.span_id.as_str()));
    assert_eq!(parent_of("explicit"), Some(captured.span("contextual").span_id.as_str()));
    assert_eq!(parent_of("alone"), None);
    assert_eq!(parent_of("child of alone"), Some(captured.span("alone").span_id.as_str()));
    assert_eq!(parent_of("on another thread"), Some(root.span_id.as_str()));
    assert_ne!(captured.span("alone").trace_id, root.trace_id);
    assert_eq!(captured.place_of_log("said on another thread"), Some(place_of(root)));
    assert_eq!(captured.place_of_log("said for another span"), Some(place_of(captured.span("explicit"))));
}

#[test]
fn spans_that_are_left_out_of_order_keep_the_right_one_current() {
    let captured = capture(&settings(), || {
        let outer = info_span!("outer").entered();
        let inner = info_span!("inner").entered();
        drop(outer);
        info!("in the inner one");
        drop(inner);
        info!("in none");
        assert_eq!(lgtm_core::current::trace(), None);
    });
    assert_eq!(captured.place_of_log("in the inner one"), Some(place_of(captured.span("inner"))));
    assert_eq!(captured.place_of_log("in none"), None);
    assert_eq!(Span::current().id(), None);
}

#[test]
fn a_span_that_is_entered_twice_is_one_span() {
    let captured = capture(&settings(), || {
        let span = info_span!("request");
        for _ in 0..3 {
            span.in_scope(|| span.in_scope(|| info!("again")));
        }
    });
    assert_eq!(captured.span("request").events.len(), 3);
    let place = place_of(captured.span("request"));
    assert!(captured.logs.iter().all(|entry| entry.structured_metadata["span_id"] == place.1));
}
