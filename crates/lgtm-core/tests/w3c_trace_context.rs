//! The published test suite of the W3C Trace Context working group (levels 1 and 2, strict), retold: each test has the name of
//! the suite's, and plays a service that gets a request and makes requests of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test, also in its helpers")]

use http::{HeaderMap, HeaderName, HeaderValue};
use lgtm_core::propagation::{RemoteParent, inject, set_parent};
use lgtm_core::span::{Attachment, Role};
use tracing::{Dispatch, info_span};
use tracing_core::Subscriber;
use tracing_core::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

struct Spans(Attachment);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.0.register(dispatch);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.new_span(attributes, id, &context);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.0.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.0.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.close(&id, |_| ());
    }
}

/// What an outgoing request says.
struct Sent {
    trace_id: String,
    parent_id: String,
    flags: u8,
    tracestate: Vec<(String, String)>,
}

impl Sent {
    fn state(&self, key: &str) -> Option<&str> {
        self.tracestate.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// A service gets a request with these headers, and makes so many.
fn requests(headers: &[(&str, &str)], count: usize) -> Vec<Sent> {
    let mut incoming = HeaderMap::new();
    for (name, value) in headers {
        // As a server's parser does: names in any case; values as bytes, white space around them included.
        incoming.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let subscriber = tracing_subscriber::registry().with(Spans(Attachment::new(Role::Exporter, None)));
    tracing::dispatcher::with_default(&Dispatch::new(subscriber), || {
        let request = info_span!("request");
        set_parent(&request, &incoming).unwrap();
        request.in_scope(|| (0..count).map(|_| info_span!("call").in_scope(sent)).collect())
    })
}

fn sent() -> Sent {
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    assert!(headers.get_all("traceparent").iter().count() == 1 && headers.get_all("tracestate").iter().count() <= 1);
    let traceparent = headers["traceparent"].to_str().unwrap();
    assert!(RemoteParent::parse(traceparent).is_some(), "{traceparent}");
    let parts: Vec<_> = traceparent.split('-').collect();
    let tracestate = headers.get("tracestate").map(|value| value.to_str().unwrap()).unwrap_or_default();
    Sent {
        trace_id: parts[1].to_owned(),
        parent_id: parts[2].to_owned(),
        flags: u8::from_str_radix(parts[3], 16).unwrap(),
        tracestate: tracestate
            .split(',')
            .filter_map(|member| member.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn request(headers: &[(&str, &str)]) -> Sent {
    requests(headers, 1).remove(0)
}

const TRACE: &str = "12345678901234567890123456789012";
const SAMPLED: &str = "00-12345678901234567890123456789012-1234567890123456-01";
const PARENT: (&str, &str) = ("traceparent", "00-12345678901234567890123456789012-1234567890123456-00");

#[track_caller]
fn inherited(traceparent: &str) {
    assert_eq!(request(&[("traceparent", traceparent)]).trace_id, TRACE, "{traceparent}");
}

#[track_caller]
fn anew(traceparent: &str) {
    let sent = request(&[("traceparent", traceparent)]);
    assert!(sent.trace_id != TRACE && !traceparent.contains(&sent.trace_id), "{traceparent}");
}

/// The tracestate that goes on from these headers.
fn state(headers: &[&str]) -> Sent {
    let mut all = vec![PARENT];
    all.extend(headers.iter().map(|value| ("tracestate", *value)));
    let sent = request(&all);
    assert_eq!(sent.trace_id, TRACE, "{headers:?}");
    sent
}

#[test]
fn test_both_traceparent_and_tracestate_missing() {
    assert!(request(&[]).tracestate.is_empty());
}

#[test]
fn test_traceparent_included_tracestate_missing() {
    let sent = request(&[("traceparent", SAMPLED)]);
    assert_eq!(sent.trace_id, TRACE);
    assert_ne!(sent.parent_id, "1234567890123456");
}

#[test]
fn test_traceparent_duplicated() {
    let other = SAMPLED.replace("9012-", "9011-");
    let sent = request(&[("traceparent", &other), ("traceparent", SAMPLED)]);
    assert!(sent.trace_id != TRACE && !other.contains(&sent.trace_id));
}

#[test]
fn test_traceparent_header_name() {
    for name in ["trace-parent", "trace.parent"] {
        assert_ne!(request(&[(name, SAMPLED)]).trace_id, TRACE, "{name}");
    }
}

#[test]
fn test_traceparent_header_name_valid_casing() {
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        assert_eq!(request(&[(name, SAMPLED)]).trace_id, TRACE, "{name}");
    }
}

#[test]
fn test_traceparent_version_0x00() {
    anew(&format!("{SAMPLED}."));
    anew(&format!("{SAMPLED}-what-the-future-will-be-like"));
}

#[test]
fn test_traceparent_version_0xcc() {
    let future = SAMPLED.replacen("00", "cc", 1);
    inherited(&future);
    inherited(&format!("{future}-what-the-future-will-be-like"));
    anew(&format!("{future}.what-the-future-will-be-like"));
}

#[test]
fn test_traceparent_version_0xff() {
    anew(&SAMPLED.replacen("00", "ff", 1));
}

#[test]
fn test_traceparent_version_illegal_characters() {
    anew(&SAMPLED.replacen("00", ".0", 1));
    anew(&SAMPLED.replacen("00", "0.", 1));
}

#[test]
fn test_traceparent_version_too_long() {
    anew(&SAMPLED.replacen("00", "000", 1));
    anew(&SAMPLED.replacen("00", "0000", 1));
}

#[test]
fn test_traceparent_version_too_short() {
    anew(&SAMPLED.replacen("00", "0", 1));
}

#[test]
fn test_traceparent_trace_id_all_zero() {
    anew("00-00000000000000000000000000000000-1234567890123456-01");
}

#[test]
fn test_traceparent_trace_id_illegal_characters() {
    anew("00-.2345678901234567890123456789012-1234567890123456-01");
    anew("00-1234567890123456789012345678901.-1234567890123456-01");
}

#[test]
fn test_traceparent_trace_id_too_long() {
    anew("00-123456789012345678901234567890123-1234567890123456-01");
}

#[test]
fn test_traceparent_trace_id_too_short() {
    anew("00-1234567890123456789012345678901-1234567890123456-01");
}

#[test]
fn test_traceparent_parent_id_all_zero() {
    anew("00-12345678901234567890123456789012-0000000000000000-01");
}

#[test]
fn test_traceparent_parent_id_illegal_characters() {
    anew("00-12345678901234567890123456789012-.234567890123456-01");
    anew("00-12345678901234567890123456789012-123456789012345.-01");
}

#[test]
fn test_traceparent_parent_id_too_long() {
    anew("00-12345678901234567890123456789012-12345678901234567-01");
}

#[test]
fn test_traceparent_parent_id_too_short() {
    anew("00-12345678901234567890123456789012-123456789012345-01");
}

#[test]
fn test_traceparent_trace_flags_illegal_characters() {
    anew("00-12345678901234567890123456789012-1234567890123456-.0");
    anew("00-12345678901234567890123456789012-1234567890123456-0.");
}

#[test]
fn test_traceparent_trace_flags_too_long() {
    anew("00-12345678901234567890123456789012-1234567890123456-001");
}

#[test]
fn test_traceparent_trace_flags_too_short() {
    anew("00-12345678901234567890123456789012-1234567890123456-1");
}

#[test]
fn test_traceparent_ows_handling() {
    for (before, after) in [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t")] {
        inherited(&format!("{before}{SAMPLED}{after}"));
    }
}

#[test]
fn test_tracestate_included_traceparent_missing() {
    for value in ["foo=1", "foo=1,bar=2"] {
        assert!(request(&[("tracestate", value)]).tracestate.is_empty());
    }
}

#[test]
fn test_tracestate_included_traceparent_included() {
    let sent = state(&["foo=1,bar=2"]);
    assert_eq!((sent.state("foo"), sent.state("bar")), (Some("1"), Some("2")));
}

#[test]
fn test_tracestate_header_name() {
    for name in ["trace-state", "trace.state"] {
        assert!(request(&[PARENT, (name, "foo=1")]).tracestate.is_empty(), "{name}");
    }
}

#[test]
fn test_tracestate_header_name_valid_casing() {
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        assert_eq!(request(&[PARENT, (name, "foo=1")]).state("foo"), Some("1"), "{name}");
    }
}

#[test]
fn test_tracestate_empty_header() {
    assert!(state(&[""]).tracestate.is_empty());
    assert_eq!(state(&["foo=1", ""]).state("foo"), Some("1"));
    assert_eq!(state(&["", "foo=1"]).state("foo"), Some("1"));
}

#[test]
fn test_tracestate_multiple_headers_different_keys() {
    let sent = state(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"]);
    let members: Vec<_> = sent.tracestate.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(members, ["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"]);
}

#[test]
fn test_tracestate_duplicated_keys() {
    for headers in [&["foo=1,foo=1"][..], &["foo=1,foo=2"], &["foo=1", "foo=1"], &["foo=1", "foo=2"]] {
        assert_eq!(state(headers).state("foo"), Some("1"), "the first one stays: {headers:?}");
    }
}

#[test]
fn test_tracestate_all_allowed_characters() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (0x20..=0x7e_u8).filter(|byte| !b",=".contains(byte)).map(char::from).collect();
    for key in [key.to_owned(), format!("{key}@a-z0-9_-*/")] {
        assert_eq!(state(&[&format!("{key}={value}")]).state(&key), Some(value.as_str()));
    }
}

#[test]
fn test_tracestate_ows_handling() {
    for header in ["foo=1 \t , \t bar=2, \t baz=3", "foo=1\t \t,\t \tbar=2,\t \tbaz=3"] {
        let sent = state(&[header]);
        assert_eq!(["foo", "bar", "baz"].map(|key| sent.state(key)), [Some("1"), Some("2"), Some("3")]);
    }
    for header in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        assert_eq!(state(&[header]).state("foo"), Some("1"), "{header:?}");
    }
}

#[test]
fn test_tracestate_key_illegal_characters() {
    for header in ["foo =1", "FOO=1", "foo.bar=1"] {
        assert!(state(&[header]).tracestate.is_empty(), "{header}");
    }
}

#[test]
fn test_tracestate_key_illegal_vendor_format() {
    for key in ["foo@", "foo@@bar", "foo@bar@baz"] {
        let sent = state(&[&format!("{key}=1,bar=2")]);
        assert_eq!((sent.state(key), sent.state("bar")), (Some("1"), Some("2")));
    }
    assert!(state(&["@foo=1,bar=2"]).tracestate.is_empty());
}

#[test]
fn test_tracestate_member_count_limit() {
    let members = |count: usize| (1..=count).map(|number| format!("bar{number:02}={number:02}")).collect::<Vec<_>>();
    let headers = |count: usize| members(count).chunks(10).map(|chunk| chunk.join(",")).collect::<Vec<_>>();
    let send = |headers: Vec<String>| state(&headers.iter().map(String::as_str).collect::<Vec<_>>());
    let sent = send(headers(32));
    assert_eq!((sent.state("bar01"), sent.tracestate.len()), (Some("01"), 32));
    assert!(send(headers(33)).tracestate.is_empty());
}

#[test]
fn test_tracestate_key_length_limit() {
    let keys = [
        "z".repeat(256),
        format!("{}@{}", "t".repeat(241), "v".repeat(14)),
        format!("{}@v", "t".repeat(242)),
        format!("t@{}", "v".repeat(15)),
    ];
    for key in keys {
        let sent = state(&["foo=1", &format!("{key}=1")]);
        assert_eq!((sent.state("foo"), sent.state(&key)), (Some("1"), Some("1")), "{key}");
    }
    assert!(state(&["foo=1", &format!("{}=1", "z".repeat(257))]).tracestate.is_empty());
}

#[test]
fn test_tracestate_value_illegal_characters() {
    for header in ["foo=bar=baz", "foo=,bar=3"] {
        assert!(state(&[header]).tracestate.is_empty(), "{header}");
    }
}

fn distinct(sent: &[Sent], of: impl Fn(&Sent) -> &str) -> usize {
    sent.iter().map(of).collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn test_multiple_requests_with_valid_traceparent() {
    let sent = requests(&[("traceparent", SAMPLED)], 3);
    assert!(sent.iter().all(|sent| sent.trace_id == TRACE));
    assert_eq!(distinct(&sent, |sent| &sent.parent_id), 3);
}

#[test]
fn test_multiple_requests_without_traceparent() {
    assert_eq!(distinct(&requests(&[], 3), |sent| &sent.parent_id), 3);
}

#[test]
fn test_multiple_requests_with_illegal_traceparent() {
    let sent = requests(&[("traceparent", "00-00000000000000000000000000000000-1234567890123456-01")], 3);
    assert_eq!(distinct(&sent, |sent| &sent.parent_id), 3);
    assert!(sent.iter().all(|sent| sent.trace_id != "0".repeat(32)));
}

#[test]
fn test_propagates_random_flag() {
    let sent = request(&[("traceparent", "00-12345678901234567890123456789012-1234567890123456-02")]);
    assert_eq!((sent.trace_id.as_str(), sent.flags), (TRACE, 2));
    assert_ne!(sent.parent_id, "1234567890123456");
}
