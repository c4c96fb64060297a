//! Headers: what comes in may be anything of any size, what goes out is within W3C's bounds.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use lgtm_core::propagation::{baggage, extract, inject, set_parent};
use lgtm_tests::capture::capture;
use tracing::info_span;

use crate::settings;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// A length that no server takes for a header.
const HUGE: usize = 4 * 1024 * 1024;

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The headers that a service sends on, which has got these.
fn passed_on(incoming: &HeaderMap) -> HeaderMap {
    let mut outgoing = HeaderMap::new();
    let captured = capture(&settings(), || {
        let span = info_span!("served");
        set_parent(&span, incoming).unwrap();
        let _attached = baggage::attach(baggage::extract(incoming));
        span.in_scope(|| inject(&mut outgoing));
    });
    assert_eq!(captured.span("served").name, "served");
    outgoing
}

fn members(value: &HeaderValue) -> usize {
    value.to_str().unwrap().split(',').count()
}

#[test]
fn what_is_passed_on_is_within_the_bounds_of_the_specification() {
    let state = (0..40).map(|number| format!("vendor{number}={}", "v".repeat(250))).collect::<Vec<_>>();
    let many = (0..5000).map(|number| format!("key{number}=value")).collect::<Vec<_>>().join(",");
    let out = passed_on(&headers(&[
        ("traceparent", PARENT.to_owned()),
        ("tracestate", state[..32].join(",")),
        ("baggage", many),
    ]));
    assert!(out["traceparent"].to_str().unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert!(out["tracestate"].len() <= 8192 && members(&out["tracestate"]) <= 32);
    assert!(out["baggage"].len() <= 8192 && members(&out["baggage"]) == 180);

    // More members than the specification has: none of them is to be believed.
    let out = passed_on(&headers(&[("traceparent", PARENT.to_owned()), ("tracestate", state.join(","))]));
    assert_eq!(out.get("tracestate"), None);
    // Few members, each as large as it may be, and one that does not fit.
    let large = [format!("a={}", "x".repeat(8000)), format!("b={}", "x".repeat(8000)), "c=1".to_owned()].join(",");
    let out = passed_on(&headers(&[("baggage", large)]));
    assert!(out["baggage"].len() <= 8192 && members(&out["baggage"]) == 2, "{}", out["baggage"].len());
}

#[test]
fn headers_of_any_size_and_kind_are_read_in_no_time_and_panic_nothing() {
    let hostile = [
        "0".repeat(HUGE),
        ",".repeat(HUGE),
        "=".repeat(HUGE),
        ";".repeat(HUGE),
        "a=1,".repeat(HUGE / 4),
        (0..HUGE / 10).map(|number| format!("k{number}=%00,")).collect(),
        format!("{PARENT}{}", " ".repeat(HUGE)),
        format!("a={}", "%F0".repeat(HUGE / 3)),
        format!("a=b;{}", "p=q;".repeat(HUGE / 4)),
        format!("ff{}", &PARENT[2..]),
    ];
    let began = Instant::now();
    for value in &hostile {
        let incoming = headers(&[
            ("traceparent", value.clone()),
            ("tracestate", value.clone()),
            ("baggage", value.clone()),
            ("baggage", value.clone()),
        ]);
        let parent = extract(&incoming);
        // White space around it is no part of a header's value.
        assert_eq!(parent.is_some(), value.starts_with(PARENT), "{}", &value[..60]);
        assert!(baggage::extract(&incoming).to_string().len() <= 8192);
        let state = extract(&headers(&[("traceparent", PARENT.to_owned()), ("tracestate", value.clone())]));
        assert!(state.unwrap().trace_state.is_none_or(|state| state.len() <= 8192));
    }
    // Seconds, where work that grows with the square would take hours.
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}
