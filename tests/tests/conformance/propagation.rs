//! W3C trace context and baggage: in from a caller, out to the next service.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use lgtm_core::propagation::baggage::{self, Baggage};
use lgtm_core::propagation::{SetParentError, extract, inject, set_parent};
use lgtm_core::span::SpanExt as _;
use tracing::{Span, info, info_span};

use super::harness::{Row, row, same_trace};

pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(crate) const CALLER: &str = "00f067aa0ba902b7";

pub(crate) fn headers(flags: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::try_from(format!("00-{TRACE}-{CALLER}-{flags}")).expect("a header"));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1,other=2"));
    headers
}

/// Tells the headers that go out now.
fn tell_outgoing() {
    let mut outgoing = HashMap::<String, String>::new();
    inject(&mut outgoing);
    let header = |name: &str| outgoing.get(name).cloned().unwrap_or_default();
    info!(parent: None, traceparent = header("traceparent"), tracestate = header("tracestate"), "outgoing");
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a remote parent is continued",
            || {
                let span = info_span!("handle");
                set_parent(&span, &headers("01")).expect("a parent");
                span.in_scope(|| {
                    info!("handled");
                    drop(info_span!("query"));
                });
            },
            |arrived| {
                let span = arrived.span("handle");
                assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_deref()), (TRACE, Some(CALLER)));
                assert_eq!((span.flags, span.trace_state.as_str()), (0x301, "vendor=1,other=2"));
                assert_eq!(arrived.parent_of("query").as_deref(), Some("handle"));
                assert_eq!(
                    (arrived.span("query").flags, arrived.span("query").trace_state.as_str()),
                    (0x101, "vendor=1,other=2")
                );
                assert!(arrived.is_in("handled", "handle"));
            },
        ),
        row(
            "a remote parent through the extension trait",
            || info_span!("handle").set_parent(&headers("01")).expect("a parent"),
            |arrived| assert_eq!(arrived.parent_of("handle").as_deref(), Some(CALLER)),
        ),
        row(
            "a remote parent by its parts",
            || {
                let parent = extract(&headers("01")).expect("a parent");
                info_span!("handle").set_remote_parent(&parent).expect("a parent");
            },
            |arrived| assert_eq!(arrived.span("handle").trace_id, TRACE),
        ),
        row(
            "headers in a map of strings",
            || {
                let carrier = HashMap::from([("traceparent".to_owned(), format!("00-{TRACE}-{CALLER}-01"))]);
                set_parent(&info_span!("handle"), &carrier).expect("a parent");
            },
            |arrived| assert_eq!(arrived.parent_of("handle").as_deref(), Some(CALLER)),
        ),
        row(
            "a parent that was not sampled is followed: lines, but no spans",
            || {
                let span = info_span!("handle");
                set_parent(&span, &headers("00")).expect("a parent");
                span.in_scope(|| info!("handled"));
            },
            |arrived| {
                assert!(arrived.spans.is_empty());
                assert_eq!(arrived.place_of_log("handled").map(|place| place.0), Some(TRACE));
                assert_eq!(arrived.sampled("handled"), Some("false"));
            },
        ),
        row(
            "malformed headers make a root and are no error",
            || {
                for (number, wrong) in
                    ["", "nonsense", "00-0-0-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]
                        .into_iter()
                        .enumerate()
                {
                    let mut headers = headers("01");
                    headers.insert("traceparent", HeaderValue::from_static(wrong));
                    let span = info_span!("handle", otel.name = format!("{number}"));
                    set_parent(&span, &headers).expect("nothing to do");
                }
            },
            |arrived| {
                assert_eq!(arrived.spans.len(), 4);
                assert!(arrived.spans.iter().all(|span| span.parent_span_id.is_none() && span.trace_state.is_empty()));
            },
        ),
        row(
            "headers that are no UTF-8 make a root",
            || {
                let mut headers = HeaderMap::new();
                headers.insert("traceparent", HeaderValue::from_bytes(b"00-\xff").expect("a header"));
                set_parent(&info_span!("handle"), &headers).expect("nothing to do");
            },
            |arrived| assert_eq!(arrived.parent_of("handle"), None),
        ),
        row(
            "no headers make a root",
            || set_parent(&info_span!("handle"), &HeaderMap::new()).expect("nothing to do"),
            |arrived| assert_eq!(arrived.parent_of("handle"), None),
        ),
        row(
            "a parent that comes after a line named the span is refused",
            || {
                let span = info_span!("handle");
                span.in_scope(|| info!("out"));
                assert_eq!(set_parent(&span, &headers("01")), Err(SetParentError::InUse));
            },
            |arrived| {
                assert_eq!(arrived.parent_of("handle"), None);
                assert!(arrived.is_in("out", "handle"));
            },
        ),
        row(
            "a parent for a span that has a local one is refused",
            || {
                info_span!("root").in_scope(|| {
                    let child = info_span!("child");
                    assert_eq!(set_parent(&child, &headers("01")), Err(SetParentError::HasLocalParent));
                });
            },
            |arrived| assert_eq!(arrived.parent_of("child").as_deref(), Some("root")),
        ),
        row(
            "a parent for a disabled span is refused",
            || assert_eq!(set_parent(&Span::none(), &headers("01")), Err(SetParentError::UnknownSpan)),
            |arrived| assert!(arrived.spans.is_empty()),
        ),
        row(
            "outgoing headers name the current span and pass the tracestate on",
            || {
                let span = info_span!("handle");
                set_parent(&span, &headers("01")).expect("a parent");
                span.in_scope(|| info_span!("call").in_scope(tell_outgoing));
            },
            |arrived| {
                let call = arrived.span("call");
                assert_eq!(arrived.field("outgoing", "traceparent"), format!("00-{TRACE}-{}-01", call.span_id));
                assert_eq!(arrived.field("outgoing", "tracestate"), "vendor=1,other=2");
            },
        ),
        row(
            "outgoing headers of a root have no tracestate",
            || info_span!("root").in_scope(tell_outgoing),
            |arrived| {
                let root = arrived.span("root");
                let header = arrived.field("outgoing", "traceparent");
                let header = header.as_str().expect("text");
                assert!(header.starts_with(&format!("00-{}-{}-0", root.trace_id, root.span_id)), "{header}");
                assert_eq!(arrived.field("outgoing", "tracestate"), "");
            },
        ),
        row("outside of all spans nothing is written", tell_outgoing, |arrived| {
            assert_eq!(arrived.field("outgoing", "traceparent"), "")
        }),
        row(
            "what goes out of one service comes into the next one",
            || {
                let mut wire = HeaderMap::new();
                info_span!("client", otel.kind = "client").in_scope(|| inject(&mut wire));
                let server = info_span!(parent: None, "server", otel.kind = "server");
                set_parent(&server, &wire).expect("a parent");
            },
            |arrived| {
                assert_eq!(arrived.parent_of("server").as_deref(), Some("client"));
                assert!(same_trace(arrived.span("client"), arrived.span("server")));
            },
        ),
        row(
            "baggage goes along",
            || {
                let mut bag = Baggage::default();
                assert!(bag.insert("customer", "ada lovelace, first"));
                let _attached = baggage::attach(bag);
                let mut wire = HeaderMap::new();
                info_span!("client").in_scope(|| inject(&mut wire));
                let arrived = baggage::extract(&wire);
                info!(customer = arrived.get("customer").unwrap_or_default(), "received");
            },
            |arrived| assert_eq!(arrived.field("received", "customer"), "ada lovelace, first"),
        ),
    ]
}
