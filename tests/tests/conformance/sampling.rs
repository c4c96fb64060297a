//! Which traces arrive, and what logs and headers say of the others.

use std::collections::HashMap;

use lgtm_core::Sampler;
use lgtm_core::propagation::{inject, set_parent};
use lgtm_core::sampler::Root;
use tracing::{info, info_span};

use super::harness::{Row, row};
use super::propagation::{TRACE, headers};

fn one_trace() {
    info_span!("root").in_scope(|| info_span!("child").in_scope(|| info!("said")));
}

fn below(flags: &str) {
    let span = info_span!("handle");
    set_parent(&span, &headers(flags)).expect("a parent");
    span.in_scope(|| info!("said"));
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("always_on keeps every trace", one_trace, |arrived| {
            assert_eq!(arrived.spans.len(), 2);
            assert_eq!(arrived.sampled("said"), Some("true"));
        })
        .sampler(|| Sampler::AlwaysOn),
        row("always_off keeps none; lines have their ids all the same", one_trace, |arrived| {
            assert!(arrived.spans.is_empty());
            assert_eq!((arrived.sampled("said"), arrived.place_of_log("said").is_some()), (Some("false"), true));
        })
        .sampler(|| Sampler::AlwaysOff),
        row("traceidratio of 0 keeps none", one_trace, |arrived| assert!(arrived.spans.is_empty()))
            .sampler(|| Sampler::TraceIdRatio(0.0)),
        row("traceidratio of 1 keeps all", one_trace, |arrived| assert_eq!(arrived.spans.len(), 2))
            .sampler(|| Sampler::TraceIdRatio(1.0)),
        row(
            "traceidratio keeps whole traces, about as many as it says, and logs agree",
            || (0..400).for_each(|_| one_trace()),
            |arrived| {
                let mut spans = HashMap::<&str, usize>::new();
                for span in &arrived.spans {
                    *spans.entry(span.trace_id.as_str()).or_default() += 1;
                }
                assert!(spans.values().all(|spans| *spans == 2));
                // More than six standard deviations of 10 off would be no accident.
                assert!((140..=260).contains(&spans.len()), "{}", spans.len());
                let told =
                    arrived.logs.iter().filter(|line| line.structured_metadata["trace_sampled"] == "true").count();
                assert_eq!(told, spans.len());
            },
        )
        .sampler(|| Sampler::TraceIdRatio(0.5)),
        row("parentbased_always_on keeps a root", one_trace, |arrived| assert_eq!(arrived.spans.len(), 2))
            .sampler(|| Sampler::ParentBased(Root::AlwaysOn)),
        row("parentbased_always_off leaves a root out", one_trace, |arrived| assert!(arrived.spans.is_empty()))
            .sampler(|| Sampler::ParentBased(Root::AlwaysOff)),
        row(
            "parentbased_always_off keeps what its sampled parent asks for",
            || below("01"),
            |arrived| assert_eq!(arrived.span("handle").trace_id, TRACE),
        )
        .sampler(|| Sampler::ParentBased(Root::AlwaysOff)),
        row(
            "parentbased_traceidratio follows a parent that was not sampled",
            || below("00"),
            |arrived| assert!(arrived.spans.is_empty()),
        )
        .sampler(|| Sampler::ParentBased(Root::TraceIdRatio(1.0))),
        row(
            "always_on asks no parent",
            || below("00"),
            |arrived| {
                assert_eq!(arrived.span("handle").trace_id, TRACE);
                assert_eq!(arrived.sampled("said"), Some("true"));
            },
        )
        .sampler(|| Sampler::AlwaysOn),
        row("always_off asks no parent", || below("01"), |arrived| assert!(arrived.spans.is_empty()))
            .sampler(|| Sampler::AlwaysOff),
        row(
            "the headers of a trace that is left out say so",
            || {
                info_span!("root").in_scope(|| {
                    let mut outgoing = HashMap::<String, String>::new();
                    inject(&mut outgoing);
                    info!(traceparent = outgoing["traceparent"], "outgoing");
                });
            },
            |arrived| {
                let header = arrived.field("outgoing", "traceparent");
                let flags =
                    header.as_str().and_then(|header| header.rsplit('-').next()).map(str::to_owned).expect("flags");
                assert_eq!(u8::from_str_radix(&flags, 16).expect("hexadecimal") & 1, 0);
            },
        )
        .sampler(|| Sampler::AlwaysOff),
        row(
            "what happens in a trace that is left out is counted all the same",
            || (0..3).for_each(|_| drop(info_span!("work"))),
            |arrived| {
                let counted = arrived.exposition.lines().any(|line| {
                    line.starts_with("otlp_spans_created_total")
                        && line.contains("span_kind=\"internal\"")
                        && line.ends_with(" 3")
                });
                assert!(counted, "{}", arrived.exposition);
            },
        )
        .sampler(|| Sampler::AlwaysOff),
    ]
}
