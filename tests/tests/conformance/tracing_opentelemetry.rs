//! The tests that tracing-opentelemetry 0.34 publishes, retold. Through lgtm's `opentelemetry` door it is tracing-opentelemetry
//! itself that captures, so what is asked here is asked of lgtm's own layer as well.
//!
//! # They hold
//!
//! | theirs | here |
//! |---|---|
//! | `errors.rs`: `map_error_event_to_status_description` | "instrument(err) fails the span ..." (`events.rs`) |
//! | `errors.rs`: `transform_error_event_to_exception_event` | "an error value gives an exception ..." (`events.rs`) |
//! | `follows_from.rs`: `trace_follows_from_closed`, `trace_follows_from_partially_closed` | below |
//! | `parents.rs`: `explicit_parents_of_events` | below |
//! | `parallel.rs`: `multi_threading` | below, within the limit of events |
//! | `filtered.rs`: `trace_filtered` | "a child of a span that a filter hides ..." (`tree.rs`) |
//! | `trace_state_propagation.rs`: `trace_with_assigned_otel_context`, `trace_root_with_children`, `propagate_invalid_context`, `inject_context_into_outgoing_requests`, `sampling_decision_respects_new_parent` | `propagation.rs`, `sampling.rs` |
//! | `span_ext.rs`: `set_status_ok`, `set_status_error`, `test_add_link_variants` | `run_time.rs`, `links.rs` |
//! | `otel_context.rs`: `test_span_ref_ext_from_separate_layer` | a layer beside ours finds the ids: `SpanExt::trace_context` (`run_time.rs`) |
//! | `batch_global_subscriber.rs`: `shutdown_in_scope` | below |
//! | `layer.rs`: `dynamic_span_names`, `span_kind`, `span_status_code` | `names.rs`; the status as its `Debug` form: below |
//! | `layer.rs`: `includes_timings`, `includes_span_location`, `excludes_span_location`, `includes_thread`, `excludes_thread` | `details.rs` |
//! | `layer.rs`: `excludes_level`, `excludes_target` | "without being asked a span has its fields only" (`details.rs`) |
//! | `layer.rs`: `records_event_name` | below; differs for an `error` field without a message |
//! | `layer.rs`: `record_after`, `follows_from_adds_link`, `follows_from_multiple_links` | below, `links.rs` |
//! | `layer.rs`: `parent_context`, `parent_context_2` | below: a parent set again is refused |
//! | `layer.rs`: `tracing_error_compatibility` | below, with a value that asks the subscriber while it is shown |
//!
//! # They hold differently in lgtm's own layer
//!
//! - `span_status_description`: a description alone sets no status. The specification: "Description MUST be IGNORED for
//!   StatusCode Ok & Unset values".
//! - `records_error_fields`, `records_no_error_fields`: an error among a *span's* fields is the attribute's text; exceptions are
//!   events. The chain is one text in `exception.stacktrace`: the semantic conventions want a string there.
//! - `propagates_error_fields_from_event_to_span`: an event's exception is not copied to the span's attributes: the
//!   specification wants it on the event, and the status tells of it.
//! - `set_parent_fails_after_span_entered`: it may still be set, until an id of the span has left the process.
//! - `test_add_event`, `test_add_event_with_timestamp`: `tracing::info!(parent: &span, ..)` is the way to an event.
//!
//! # They do not apply
//!
//! - `error_mapping_disabled`, `event_filter_count`, `includes_level`, `includes_target`: options of their builder that ours
//!   does not have (levels and targets of spans are not told).
//! - `context_activation_disabled`, `trace_id_from_existing_context`, `otel_context_propagation`,
//!   `trace_with_active_otel_context`: they read and set `opentelemetry::Context`, which lgtm's own layer has nothing to do
//!   with; through the `opentelemetry` door they hold (`tests/tests/opentelemetry.rs`).
//! - `metrics_publishing.rs` and the filter of `metrics.rs`: metrics out of events' fields; here the `metrics` crate is the door.
//! - `stack.rs`: their own container. `lgtm_core::current` has tests of its own.

use std::fmt;

use lgtm_core::propagation::set_parent;
use lgtm_core::span::SpanExt as _;
use lgtm_devstack::StatusCode;
use tracing::{Level, debug, debug_span, event, info, info_span, trace, trace_span};

use super::harness::{Row, row, text};
use super::propagation::headers;
use super::tree::on_another_thread;

/// The status as people who use the OpenTelemetry crate write it.
#[derive(Debug)]
enum Written {
    Ok,
}

/// Asks the subscriber for the current span while it is shown.
struct Trace;

impl fmt::Debug for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = tracing::Span::current();
        current.with_subscriber(|(id, dispatch)| {
            if let Some(registry) = dispatch.downcast_ref::<tracing_subscriber::Registry>() {
                use tracing_subscriber::registry::LookupSpan as _;
                let _ = registry.span(id).map(|span| span.extensions_mut().get_mut::<u8>().copied());
            }
        });
        formatter.write_str(current.metadata().map_or("none", |callsite| callsite.name()))
    }
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "span_status_code: a status by its Debug form",
            || drop(debug_span!("request", otel.status_code = ?Written::Ok)),
            |arrived| assert_eq!(arrived.span("request").status.code, StatusCode::Ok),
        ),
        row(
            "span_status_description: a description alone",
            || drop(debug_span!("request", otel.status_description = "message")),
            |arrived| assert_eq!(arrived.span("request").status.code, StatusCode::Unset),
        )
        .but("there a description alone is an error", |arrived| {
            let status = &arrived.span("request").status;
            assert_eq!((status.code, status.message.as_str()), (StatusCode::Error, "message"));
        }),
        row(
            "trace_follows_from_closed: a cause that is closed",
            || {
                let cause = debug_span!("f");
                let id = cause.id();
                drop(cause);
                debug_span!("span").follows_from(id);
            },
            |arrived| assert_eq!(arrived.spans.len(), 2),
        ),
        row(
            "trace_follows_from_partially_closed: a cause that another thread is closing",
            || {
                for _ in 0..50 {
                    let cause = debug_span!("f");
                    let id = cause.id();
                    on_another_thread(move || drop(cause));
                    debug_span!("span").follows_from(id);
                }
            },
            |arrived| assert_eq!(arrived.spans.len(), 100),
        ),
        row(
            "explicit_parents_of_events",
            || {
                let root = debug_span!("root").entered();
                debug!("1");
                debug!(parent: &root, "2");
                debug!(parent: None, "3");
                let child = debug_span!(parent: &root, "child");
                child.in_scope(|| {
                    debug!("4");
                    debug!(parent: &root, "5");
                    debug!(parent: &child, "6");
                    debug!(parent: None, "7");
                });
                debug!("8");
                debug!(parent: &root, "9");
                debug!(parent: &child, "10");
                debug!(parent: None, "11");
                let root = root.exit();
                debug!("12");
                debug!(parent: &root, "13");
                debug!(parent: &child, "14");
                debug!(parent: None, "15");
            },
            |arrived| {
                assert_eq!(arrived.events("root"), ["1", "2", "5", "8", "9", "13"]);
                assert_eq!(arrived.events("child"), ["4", "6", "10", "14"]);
                for (message, span) in [("2", "root"), ("5", "root"), ("4", "child"), ("14", "child")] {
                    assert!(arrived.is_in(message, span), "{message}");
                }
                for message in ["3", "7", "11", "12", "15"] {
                    assert_eq!(arrived.place_of_log(message), None, "{message}");
                }
            },
        ),
        row(
            "multi_threading: many threads' events on one span, as many as the limit takes",
            || {
                let root = debug_span!("root");
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                std::thread::scope(|scope| {
                    for _ in 0..10 {
                        scope.spawn(|| {
                            tracing::dispatcher::with_default(&dispatch, || {
                                root.in_scope(|| (0..100).for_each(|_| trace!("event")));
                            });
                        });
                    }
                });
            },
            |arrived| {
                let root = arrived.span("root");
                assert_eq!((root.events.len(), root.dropped_events, arrived.logs.len()), (128, 872, 1000));
            },
        ),
        row(
            "shutdown_in_scope: a span that is entered twice and closed at the end",
            || {
                let span = info_span!("outer");
                let _entered = span.enter();
                info_span!("inner").in_scope(|| info!("inside"));
            },
            |arrived| assert_eq!(arrived.parent_of("inner").as_deref(), Some("outer")),
        ),
        row(
            "records_event_name",
            || {
                debug_span!("test span").in_scope(|| {
                    event!(Level::INFO, "event name 1");
                    event!(name: "event name 2", Level::INFO, field1 = "field1");
                    event!(name: "event name 3", Level::INFO, error = "field2");
                    event!(name: "event name 4", Level::INFO, message = "field3");
                    event!(name: "event name 5", Level::INFO, name = "field4");
                });
            },
            |arrived| {
                let names = ["event name 1", "event name 2", "event name 3", "field3", "event name 5"];
                assert_eq!(arrived.events("test span"), names);
            },
        )
        .but("there a field `error` without a message is an exception", |arrived| {
            let names = ["event name 1", "event name 2", "exception", "field3", "event name 5"];
            assert_eq!(arrived.events("test span"), names);
        }),
        row(
            "record_after: values recorded before and after the span was entered",
            || {
                let root = trace_span!("root", before = "before", after = "before");
                root.record("before", "after");
                root.in_scope(|| ());
                root.record("after", "after");
            },
            |arrived| {
                assert_eq!(arrived.attribute("root", "before"), Some(&text("after")));
                assert_eq!(arrived.attribute("root", "after"), Some(&text("after")));
            },
        ),
        row(
            "parent_context_2: a parent that is set again changes nothing",
            || {
                let span = trace_span!("root");
                set_parent(&span, &headers("01")).expect("a parent");
                let place = span.trace_context().expect("a place");
                drop(trace_span!(parent: &span, "child-1"));
                assert!(set_parent(&span, &headers("01")).is_err());
                drop(trace_span!(parent: &span, "child-2"));
                assert_eq!(span.trace_context(), Some(place));
            },
            |arrived| {
                assert_eq!(arrived.parent_of("child-1").as_deref(), Some("root"));
                assert_eq!(arrived.parent_of("child-2").as_deref(), Some("root"));
            },
        ),
        row(
            "tracing_error_compatibility: a value that looks at its span while it is recorded",
            || {
                let span = info_span!("blows up", exception = tracing::field::Empty);
                let _entered = span.enter();
                span.record("exception", tracing::field::debug(Trace));
                info!(exception = ?Trace, "hello");
            },
            |arrived| {
                assert!(arrived.attribute("blows up", "exception").is_some());
                assert!(arrived.event("blows up").attributes.text("exception").is_some());
            },
        ),
        row(
            "records_error_fields: an error among a span's fields is told",
            || {
                let failure = super::events::chain();
                drop(debug_span!("request", error = &failure as &(dyn std::error::Error + 'static)));
            },
            |arrived| assert_eq!(arrived.attribute("request", "error"), Some(&text("not saved"))),
        ),
    ]
}
