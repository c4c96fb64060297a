//! W3C trace context: in from a caller, out to the next service.

use http::{HeaderMap, HeaderValue};
use lgtm_core::Sampler;
use lgtm_core::propagation::{RemoteParent, SetParentError, extract, inject, set_parent};
use lgtm_core::sampler::Root;
use lgtm_tests::capture::{capture, place_of};
use tracing::{info, info_span};

use super::settings;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn headers(flags: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("00-{TRACE}-{CALLER}-{flags}");
    headers.insert("traceparent", HeaderValue::try_from(value).expect("a header"));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1,other=2"));
    headers
}

/// "The parent is remote" and "that is known" in the flags of an OTLP span.
const REMOTE: u32 = 0x300;
const LOCAL: u32 = 0x100;

#[test]
fn a_sampled_remote_parent_is_continued_whatever_the_root_sampler_says() {
    let mut settings = settings();
    settings.sampler = Sampler::ParentBased(Root::AlwaysOff);
    let captured = capture(&settings, || {
        let span = info_span!("handle");
        set_parent(&span, &headers("01")).expect("a remote parent");
        let _entered = span.entered();
        info!("handled");
        info_span!("query");
    });
    let (handle, query) = (captured.span("handle"), captured.span("query"));
    assert_eq!((handle.trace_id.as_str(), handle.parent_span_id.as_deref()), (TRACE, Some(CALLER)));
    assert_eq!((query.trace_id.as_str(), query.parent_span_id.as_ref()), (TRACE, Some(&handle.span_id)));
    assert_eq!(handle.flags & REMOTE, REMOTE);
    assert_eq!(query.flags & REMOTE, LOCAL);
    assert_eq!([&handle.trace_state, &query.trace_state], ["vendor=1,other=2"; 2]);
    assert_eq!(captured.place_of_log("handled"), Some(place_of(handle)));
    assert_eq!(captured.log("handled").structured_metadata["trace_sampled"], "true");
}

#[test]
fn an_unsampled_remote_parent_is_followed_too() {
    let captured = capture(&settings(), || {
        let span = info_span!("handle");
        set_parent(&span, &headers("00")).expect("a remote parent");
        let _entered = span.entered();
        info!("handled");
        let mut outgoing = HeaderMap::new();
        inject(&mut outgoing);
        assert_eq!(extract(&outgoing).map(|parent| parent.sampled), Some(false));
    });
    assert_eq!(captured.span_names(), Vec::<&str>::new());
    let metadata = &captured.log("handled").structured_metadata;
    assert_eq!((metadata["trace_id"].as_str(), metadata["trace_sampled"].as_str()), (TRACE, "false"));
}

#[test]
fn a_sampler_that_asks_no_parent_decides_alone_in_the_parents_trace() {
    let mut settings = settings();
    settings.sampler = Sampler::AlwaysOn;
    let captured = capture(&settings, || {
        let span = info_span!("handle");
        set_parent(&span, &headers("00")).expect("a remote parent");
    });
    assert_eq!(captured.span("handle").trace_id, TRACE);
}

#[test]
fn without_a_valid_header_the_span_is_a_root() {
    let captured = capture(&settings(), || {
        let mut headers = headers("01");
        headers.insert("traceparent", HeaderValue::from_static("00-not-a-trace-01"));
        let span = info_span!("handle");
        set_parent(&span, &headers).expect("nothing to do");
    });
    let handle = captured.span("handle");
    assert_eq!((handle.parent_span_id.as_ref(), handle.trace_state.as_str()), (None, ""));
    assert_ne!(handle.trace_id, TRACE);
}

#[test]
fn a_parent_can_be_set_until_an_id_of_the_span_has_left_the_process() {
    let _captured = capture(&settings(), || {
        let logged = info_span!("logged");
        logged.in_scope(|| info!("out"));
        assert_eq!(set_parent(&logged, &headers("01")), Err(SetParentError::InUse));

        let parent = info_span!("parent");
        let child = info_span!(parent: &parent, "child");
        assert_eq!(set_parent(&parent, &headers("01")), Err(SetParentError::InUse));
        assert_eq!(set_parent(&child, &headers("01")), Err(SetParentError::HasLocalParent));

        let injected = info_span!("injected");
        injected.in_scope(|| inject(&mut HeaderMap::new()));
        assert_eq!(set_parent(&injected, &headers("01")), Err(SetParentError::InUse));

        let entered = info_span!("entered");
        entered.in_scope(|| ());
        assert_eq!(set_parent(&entered, &headers("01")), Ok(()));
        assert_eq!(set_parent(&tracing::Span::none(), &headers("01")), Err(SetParentError::UnknownSpan));
    });
}

#[test]
fn inject_names_the_current_span_and_replaces_what_was_there() {
    let mut written = Vec::new();
    let captured = capture(&settings(), || {
        let mut outside = headers("01");
        inject(&mut outside);
        assert_eq!(outside, headers("01"), "outside all spans headers stay");

        let root = info_span!("handle");
        set_parent(&root, &headers("01")).expect("a remote parent");
        let _root = root.entered();
        let _leaf = info_span!("call").entered();
        let mut outgoing = HeaderMap::new();
        outgoing.insert("traceparent", HeaderValue::from_static("nonsense"));
        inject(&mut outgoing);
        written.extend(["traceparent", "tracestate"].map(|name| outgoing[name].to_str().expect("text").to_owned()));
        assert_eq!(outgoing.get_all("traceparent").iter().count(), 1);
    });
    let call = captured.span("call");
    assert_eq!(written, [format!("00-{TRACE}-{}-01", call.span_id), "vendor=1,other=2".to_owned()]);
    let parent = RemoteParent::parse(&written[0]).expect("a valid header");
    assert_eq!(parent.span_id.to_string(), call.span_id);
}
