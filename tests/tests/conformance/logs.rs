//! Log lines beside spans: ids, fields, names.

use tracing::{Level, event, info, info_span, warn};

use super::harness::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a line names its trace, its span and that they are kept",
            || info_span!("work").in_scope(|| info!("said")),
            |arrived| {
                assert!(arrived.is_in("said", "work"));
                assert_eq!(arrived.sampled("said"), Some("true"));
            },
        ),
        row(
            "a line has the fields of its spans, the innermost wins",
            || {
                let _root = info_span!("request", region = "eu", user = "root").entered();
                let _leaf = info_span!("query", user = "leaf", rows = 3_i64).entered();
                info!(attempt = 4_i64, "done");
            },
            |arrived| {
                assert_eq!(arrived.field("done", "region"), "eu");
                assert_eq!(arrived.field("done", "user"), "leaf");
                assert_eq!(arrived.field("done", "rows"), 3);
                assert_eq!(arrived.field("done", "attempt"), 4);
                assert_eq!(arrived.field("done", "spans"), serde_json::json!(["request", "query"]));
            },
        ),
        row(
            "a line shows what its span recorded before it and not what it recorded after",
            || {
                let span = info_span!("work", status = tracing::field::Empty);
                span.in_scope(|| {
                    info!("before");
                    span.record("status", 200);
                    info!("after");
                });
            },
            |arrived| {
                assert_eq!(arrived.field("before", "status"), serde_json::Value::Null);
                assert_eq!(arrived.field("after", "status"), 200);
            },
        ),
        row(
            "a line's level is a label and a field",
            || warn!("slow"),
            |arrived| {
                assert_eq!(arrived.log("slow").labels["level"], "warn");
                assert_eq!(arrived.field("slow", "level"), "warn");
            },
        ),
        row(
            "numbers are numbers in a line",
            || info_span!("work", size = 3_u64).in_scope(|| info!(ratio = 0.5, delta = -1_i64, "said")),
            |arrived| {
                assert_eq!(arrived.field("said", "size"), 3);
                assert_eq!(arrived.field("said", "ratio"), 0.5);
                assert_eq!(arrived.field("said", "delta"), -1);
            },
        ),
        row(
            "an event without a message is a line with an empty one",
            || event!(Level::INFO, tick = 1_i64),
            |arrived| assert_eq!(arrived.field("", "tick"), 1),
        ),
        row(
            "the fields that describe a span are not in its lines",
            || info_span!("work", otel.kind = "server", otel.name = "GET /", user = "ada").in_scope(|| info!("said")),
            |arrived| {
                let line = arrived.log("said").json().expect("a line");
                let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
                assert!(keys.iter().all(|key| !key.starts_with("otel.")), "{keys:?}");
                assert_eq!(arrived.field("said", "user"), "ada");
            },
        ),
        row(
            "logfmt and text tell the same of spans",
            || info_span!("work", user = "ada").in_scope(|| info!("said")),
            |arrived| {
                let line = &arrived.logs[0].line;
                assert!(line.contains("user=ada") && line.contains("said"), "{line}");
                assert_eq!(arrived.logs[0].structured_metadata["span_id"], arrived.span("work").span_id);
            },
        )
        .loki(|builder| builder.format(lgtm_loki::Format::Logfmt)),
    ]
}
