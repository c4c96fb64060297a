//! Counts of spans and exemplars, whatever captures the spans.

use ::metrics::histogram;
use tracing::info_span;

use super::harness::{Arrived, Row, row};

/// The lines of this metric that have this text.
fn lines<'a>(arrived: &'a Arrived, metric: &str, with: &str) -> Vec<&'a str> {
    arrived.exposition.lines().filter(|line| line.starts_with(metric) && line.contains(with)).collect()
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "every span is counted by its kind",
            || (0..3).for_each(|_| drop(info_span!("work", otel.kind = "server"))),
            |arrived| {
                let counted = lines(arrived, "otlp_spans_created_total", "span_kind=\"server\"");
                assert!(matches!(counted[..], [line] if line.ends_with(" 3")), "{counted:?}");
            },
        ),
        row(
            "how long spans take is a histogram",
            || (0..2).for_each(|_| drop(info_span!("work"))),
            |arrived| {
                let counted = lines(arrived, "otlp_spans_duration_seconds_count", "span_kind=\"internal\"");
                assert!(matches!(counted[..], [line] if line.ends_with(" 2")), "{counted:?}");
            },
        ),
        row(
            "an exemplar names the span that arrives",
            || info_span!("work").in_scope(|| histogram!("checkout_seconds").record(0.042)),
            |arrived| {
                let span = arrived.span("work");
                let found = lines(arrived, "checkout_seconds_bucket", &span.trace_id);
                assert!(matches!(found[..], [line] if line.contains(&span.span_id)), "{found:?}");
            },
        ),
        row(
            "a trace that is left out gives no exemplar",
            || info_span!("work").in_scope(|| histogram!("checkout_seconds").record(0.042)),
            |arrived| {
                assert_eq!(lines(arrived, "checkout_seconds_bucket", "trace_id"), Vec::<&str>::new());
                assert!(!lines(arrived, "checkout_seconds_count", "").is_empty());
            },
        )
        .sampler(|| lgtm_core::Sampler::AlwaysOff),
    ]
}
