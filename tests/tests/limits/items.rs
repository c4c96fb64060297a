//! Spans: attributes, events, links, texts. What is over a bound is counted on the span, as OTLP has it.

use lgtm_core::span::{SpanExt as _, Status};
use lgtm_devstack::Value;
use lgtm_tests::capture::capture;
use tracing::{error, info, info_span};

use crate::settings;

/// The bound on one item, beyond which it would be dropped.
const ITEM_BYTES: usize = 1024 * 1024;

fn bytes_of(value: &Value) -> usize {
    if let Value::String(text) = value { text.len() } else { 8 }
}

#[test]
fn a_span_of_which_everything_is_too_much_arrives_within_its_bounds_and_says_what_is_missing() {
    let huge = "ä".repeat(200_000);
    let captured = capture(&settings(), || {
        let cause = info_span!("cause").trace_context().unwrap();
        let span = info_span!("work", otel.name = huge.as_str(), huge = huge.as_str());
        for number in 0..500 {
            span.set_attribute(&format!("key{number}"), huge.as_str());
            span.add_link(cause, &[("huge", huge.as_str().into()), ("other", huge.as_str().into())]);
        }
        span.in_scope(|| {
            for number in 0..500 {
                info!(number, "event");
            }
            error!(huge = huge.as_str(), "{huge}");
        });
        span.set_status(Status::Error, &huge[..100_000]);
    });
    let span = captured.spans.iter().find(|span| span.name != "cause").unwrap();
    let attributes: usize = span.attributes.iter().map(|(key, value)| key.len() + bytes_of(value)).sum();
    assert!(span.attributes.len() <= 128 && attributes <= 256 * 1024, "{} {attributes}", span.attributes.len());
    assert!(span.dropped_attributes >= 500 - 128);
    assert_eq!((span.events.len(), span.dropped_events), (128, 501 - 128));
    assert!(span.links.len() <= 128);
    assert_eq!(span.links.len() + span.dropped_links as usize, 500);
    let links = span.links.iter().flat_map(|link| link.attributes.iter());
    let links: usize = links.map(|(key, value)| key.len() + bytes_of(value)).sum();
    assert!(links <= 256 * 1024, "{links}");
    assert!(span.name.len() <= 128 * 1024 && span.status.message.len() <= 128 * 1024);
    assert!(attributes + links + span.name.len() + span.status.message.len() < ITEM_BYTES);
}

#[test]
fn events_that_are_many_and_large_take_no_more_than_their_share_of_a_span() {
    let large = "x".repeat(20_000);
    let captured = capture(&settings(), || {
        info_span!("work").in_scope(|| {
            for number in 0..100 {
                info!(number, large, "event");
            }
        });
    });
    let span = captured.span("work");
    let bytes: usize =
        span.events.iter().flat_map(|event| event.attributes.iter()).map(|(_, value)| bytes_of(value)).sum();
    assert!(bytes <= 256 * 1024, "{bytes}");
    assert!(!span.events.is_empty());
    assert_eq!(span.events.len() + span.dropped_events as usize, 100);
    assert_eq!(captured.logs.len(), 100, "Loki's bounds are its own");
}
