//! What a program says of a span at run time through the extension trait.

use lgtm_core::span::{SpanExt as _, Status};
use lgtm_devstack::{StatusCode, Value};
use tracing::{Span, error, info, info_span};

use super::harness::{Row, row, text};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "an attribute that the macro does not name",
            || {
                let span = info_span!("work");
                span.set_attribute("customer.tier", "gold");
                span.set_attribute("ratio", 0.25);
                span.set_attribute("cached", false);
                span.set_attribute("rows", 3);
            },
            |arrived| {
                assert_eq!(arrived.attribute("work", "customer.tier"), Some(&text("gold")));
                assert_eq!(arrived.attribute("work", "ratio"), Some(&Value::Double(0.25)));
                assert_eq!(arrived.attribute("work", "cached"), Some(&Value::Bool(false)));
                assert_eq!(arrived.attribute("work", "rows"), Some(&Value::Int(3)));
            },
        ),
        row(
            "an attribute set again has its last value, once",
            || {
                let span = info_span!("work", known = 1_i64);
                span.set_attribute("known", 2);
                span.set_attribute("added", 1);
                span.set_attribute("added", 2);
            },
            |arrived| {
                assert_eq!(arrived.attribute("work", "known"), Some(&Value::Int(2)));
                assert_eq!(arrived.attribute("work", "added"), Some(&Value::Int(2)));
                assert_eq!(arrived.span("work").attributes.duplicate_keys(), Vec::<&str>::new());
            },
        ),
        row(
            "an attribute set inside the span",
            || info_span!("work").in_scope(|| Span::current().set_attribute("late", true)),
            |arrived| assert_eq!(arrived.attribute("work", "late"), Some(&Value::Bool(true))),
        ),
        row(
            "a status with its description",
            || info_span!("work").set_status(Status::Error, "the card was refused"),
            |arrived| {
                let status = &arrived.span("work").status;
                assert_eq!((status.code, status.message.as_str()), (StatusCode::Error, "the card was refused"));
            },
        ),
        row(
            "a status of ok is final",
            || {
                let span = info_span!("work");
                span.set_status(Status::Ok, "");
                span.in_scope(|| error!("only noise"));
                span.set_status(Status::Error, "too late");
            },
            |arrived| assert_eq!(arrived.span("work").status.code, StatusCode::Ok),
        ),
        row(
            "what is set at run time is on the span's log lines too",
            || {
                let span = info_span!("work");
                span.set_attribute("customer.tier", "gold");
                span.in_scope(|| info!("inside"));
            },
            |arrived| assert_eq!(arrived.field("inside", "customer.tier"), "gold"),
        ),
        row(
            "the place of a span is that of the span that arrives",
            || {
                let span = info_span!("work");
                let place = span.trace_context().expect("a place");
                info!(trace = %place.trace_id, span = %place.span_id, sampled = place.sampled, "told");
            },
            |arrived| {
                let span = arrived.span("work");
                assert_eq!(arrived.field("told", "trace"), span.trace_id.as_str());
                assert_eq!(arrived.field("told", "span"), span.span_id.as_str());
                assert_eq!(arrived.field("told", "sampled"), true);
            },
        ),
        row(
            "a disabled span takes everything and is nowhere",
            || {
                Span::none().set_attribute("any", 1);
                Span::none().set_status(Status::Error, "any");
                assert!(Span::none().trace_context().is_none());
            },
            |arrived| assert!(arrived.spans.is_empty()),
        ),
    ]
}
