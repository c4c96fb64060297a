//! Spans: kind, status, name, attributes, events, exceptions, links, limits, parents.

use std::error::Error;
use std::fmt;

use insta::assert_snapshot;
use lgtm_core::span::{Limits, SpanExt as _, Status};
use lgtm_devstack::{SpanKind, StatusCode};
use lgtm_tempo::Detail;
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

#[test]
fn a_program_sets_attributes_status_and_links_at_run_time() {
    let captured = capture(&settings(), || {
        let target = info_span!("target");
        let to = target.trace_context().expect("a place");
        let span = info_span!("request", known = 1);
        span.set_attribute("known", 2);
        span.set_attribute("customer.tier", "gold");
        span.set_attribute("ratio", 0.25);
        span.set_attribute("cached", false);
        span.set_attribute("level", "a name of the line's own");
        span.set_attribute("otel.name", "POST /orders");
        span.set_attribute("otel.kind", "server");
        span.set_status(Status::Error, "the card was refused");
        span.add_link(to, &[("why", "retry".into()), ("try", 2.into())]);
        span.in_scope(|| info!("inside"));
        Span::none().set_attribute("a disabled span", "takes it");
    });
    let span = captured.span("POST /orders");
    assert_snapshot!(lines(&span.attributes), @r#"
    known = Int(2)
    customer.tier = String("gold")
    ratio = Double(0.25)
    cached = Bool(false)
    level = String("a name of the line's own")
    "#);
    assert_eq!(span.kind, SpanKind::Server);
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Error, "the card was refused"));
    let [link] = span.links.as_slice() else { panic!("one link: {:?}", span.links) };
    assert_eq!((link.trace_id.as_str(), link.span_id.as_str()), place_of(captured.span("target")));
    assert_snapshot!(lines(&link.attributes), @r#"
    why = String("retry")
    try = Int(2)
    "#);
    let line = captured.log("inside").json().expect("a JSON line");
    assert_eq!((&line["known"], &line["customer.tier"], &line["cached"]), (&2.into(), &"gold".into(), &false.into()));
    assert_eq!((&line["level"], &line["field_level"]), (&"info".into(), &"a name of the line's own".into()));
}

#[test]
fn the_programs_own_limits_hold_and_what_is_over_is_counted() {
    let mut settings = settings();
    settings.tempo = |builder| {
        let mut limits = Limits::default();
        (limits.attributes, limits.events, limits.links) = (2, 1, 1);
        (limits.event_attributes, limits.link_attributes, limits.value_bytes) = (1, 1, 4);
        builder.limits(limits)
    };
    let captured = capture(&settings, || {
        let target = info_span!("target");
        let span = info_span!("request", a = "ääää", b = 2, c = 3);
        span.set_attribute("d", 4);
        let to = target.trace_context().expect("a place");
        for _ in 0..3 {
            span.add_link(to, &[("one", 1.into()), ("two", 2.into())]);
        }
        span.in_scope(|| {
            info!(one = 1, two = 2, "first");
            info!("second");
        });
    });
    let span = captured.span("request");
    assert_snapshot!(lines(&span.attributes), @r#"
    a = String("ää")
    b = Int(2)
    "#);
    assert_eq!((span.dropped_attributes, span.dropped_events, span.dropped_links), (2, 1, 2));
    assert_eq!((span.links.len(), span.links[0].dropped_attributes), (1, 1));
    assert_eq!((span.events.len(), span.events[0].dropped_attributes), (1, 1));
}

#[test]
fn a_span_says_where_on_which_thread_and_how_long_if_asked() {
    let mut settings = settings();
    settings.tempo = |builder| {
        builder.detail(Detail::default().with_location().with_threads().with_busy_and_idle().with_backtraces())
    };
    let captured = capture(&settings, || {
        std::thread::scope(|scope| {
            let dispatch = tracing::dispatcher::get_default(tracing::Dispatch::clone);
            let work = move || {
                let _dispatch = tracing::dispatcher::set_default(&dispatch);
                let span = info_span!("request", key = 1);
                std::thread::sleep(std::time::Duration::from_millis(5));
                span.in_scope(|| {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    let failure: Box<dyn Error> = "no".into();
                    error!(error = &*failure, "failed");
                });
            };
            std::thread::Builder::new().name("a worker".to_owned()).spawn_scoped(scope, work).expect("a thread");
        });
    });
    let span = captured.span("request");
    let attributes = lines(&span.attributes);
    let value = |name: &str| {
        let wanted = format!("{name} = ");
        let line = attributes.lines().find_map(|line| line.trim().strip_prefix(&wanted).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {attributes}"))
    };
    assert!(value("code.file.path").ends_with("spans.rs\")"), "{attributes}");
    assert!(value("code.module.name").contains("semantics::spans"), "{attributes}");
    assert!(value("code.line.number").starts_with("Int("), "{attributes}");
    assert!(value("thread.id").starts_with("Int("), "{attributes}");
    assert_eq!(value("thread.name"), "String(\"a worker\")");
    let nanoseconds =
        |name: &str| -> u64 { value(name).trim_start_matches("Int(").trim_end_matches(')').parse().expect("a number") };
    let (busy, idle) = (nanoseconds("busy_ns"), nanoseconds("idle_ns"));
    assert!(busy >= 10_000_000 && idle >= 5_000_000, "{attributes}");
    assert_eq!(busy + idle, span.end_ns - span.start_ns);
    let exception = lines(&span.events[0].attributes);
    assert!(exception.contains("exception.stacktrace") && exception.contains("semantics::spans"), "{exception}");
    let line = captured.log("failed").json().expect("a JSON line");
    assert!(line.get("thread.name").is_none() && line.get("busy_ns").is_none(), "{line}");
}
