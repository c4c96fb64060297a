//! `follows_from` and links.

use lgtm_core::span::SpanExt as _;
use lgtm_core::{SpanId, TraceContext, TraceId};
use lgtm_devstack::Value;
use lgtm_tests::capture::place_of;
use tracing::info_span;

use super::harness::{Arrived, Row, row, text};

fn links<'a>(arrived: &'a Arrived, span: &str) -> Vec<(&'a str, &'a str)> {
    arrived.span(span).links.iter().map(|link| (link.trace_id.as_str(), link.span_id.as_str())).collect()
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "follows_from is a link to the other span, of another trace too",
            || {
                let first = info_span!("first");
                let second = info_span!(parent: None, "second");
                second.follows_from(&first);
            },
            |arrived| assert_eq!(links(arrived, "second"), [place_of(arrived.span("first"))]),
        ),
        row(
            "several links stay in their order",
            || {
                let (one, two, three) = (info_span!("one"), info_span!("two"), info_span!("three"));
                let span = info_span!("last");
                for cause in [&one, &two, &three] {
                    span.follows_from(cause);
                }
            },
            |arrived| {
                assert_eq!(links(arrived, "last"), ["one", "two", "three"].map(|name| place_of(arrived.span(name))));
            },
        ),
        row(
            "a link inside the span",
            || {
                let cause = info_span!("cause");
                info_span!("work").in_scope(|| {
                    tracing::Span::current().follows_from(&cause);
                });
            },
            |arrived| assert_eq!(links(arrived, "work"), [place_of(arrived.span("cause"))]),
        ),
        row(
            "following a disabled span is no link",
            || {
                info_span!("work").follows_from(tracing::Span::none());
            },
            |arrived| assert!(links(arrived, "work").is_empty()),
        ),
        row(
            "a link changes nobody's parent",
            || {
                let cause = info_span!("cause");
                info_span!("root").in_scope(|| {
                    info_span!("child").follows_from(&cause);
                });
            },
            |arrived| {
                assert_eq!(arrived.parent_of("child").as_deref(), Some("root"));
                assert!(links(arrived, "cause").is_empty());
            },
        ),
        row(
            "a link to a span of another process, with attributes",
            || {
                let to = TraceContext::new(
                    TraceId::from_hex(b"4bf92f3577b34da6a3ce929d0e0e4736").expect("an id"),
                    SpanId::from_hex(b"00f067aa0ba902b7").expect("an id"),
                    true,
                );
                info_span!("work").add_link(to, &[("why", "retry".into()), ("try", 2.into())]);
            },
            |arrived| {
                assert_eq!(links(arrived, "work"), [("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")]);
                let attributes = &arrived.span("work").links[0].attributes;
                assert_eq!(
                    (attributes.get("why"), attributes.get("try")),
                    (Some(&text("retry")), Some(&Value::Int(2)))
                );
            },
        ),
        row(
            "a link by the place of a span",
            || {
                let first = info_span!("first");
                let place = first.trace_context().expect("a place");
                info_span!(parent: None, "second").add_link(place, &[]);
            },
            |arrived| assert_eq!(links(arrived, "second"), [place_of(arrived.span("first"))]),
        ),
    ]
}
