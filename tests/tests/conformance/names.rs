//! Name, kind, status, resource, scope.

use lgtm_devstack::{SpanKind, StatusCode, Value};
use tracing::field::Empty;
use tracing::{Level, debug_span, error, info, info_span, span, trace_span, warn};

use super::harness::{Row, row, text};

fn status(arrived: &super::harness::Arrived, span: &str) -> (StatusCode, String) {
    let status = &arrived.span(span).status;
    (status.code, status.message.clone())
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a span has the name of its macro",
            || drop(info_span!("load the page")),
            |arrived| assert_eq!(arrived.span_names(), ["load the page"]),
        ),
        row(
            "a name may be any text",
            || drop(info_span!("größe \"\u{1F600}\" \\ \n")),
            |arrived| assert_eq!(arrived.span_names(), ["größe \"\u{1F600}\" \\ \n"]),
        ),
        row(
            "otel.name replaces the name and is no attribute",
            || drop(info_span!("static", otel.name = format!("GET {}", "/orders"))),
            |arrived| assert!(arrived.attributes("GET /orders").is_empty()),
        ),
        row(
            "otel.name recorded before the span is entered replaces the name",
            || {
                let span = info_span!("static", otel.name = Empty);
                span.record("otel.name", "dynamic");
                span.in_scope(|| ());
            },
            |arrived| assert_eq!(arrived.span_names(), ["dynamic"]),
        ),
        row(
            "otel.name recorded after the span was entered replaces the name",
            || {
                info_span!("static", otel.name = Empty).in_scope(|| {
                    tracing::Span::current().record("otel.name", "late");
                })
            },
            |arrived| assert_eq!(arrived.span_names(), ["late"]),
        )
        .but("tracing-opentelemetry has started the SDK's span by then", |arrived| {
            assert_eq!(arrived.span_names(), ["static"]);
        }),
        row(
            "a span without a kind is internal",
            || drop(info_span!("work")),
            |arrived| assert_eq!(arrived.span("work").kind, SpanKind::Internal),
        ),
        row(
            "otel.kind names each of the five kinds",
            || {
                for kind in ["server", "client", "producer", "consumer", "internal"] {
                    drop(info_span!("static", otel.name = kind, otel.kind = kind));
                }
            },
            |arrived| {
                let kinds = [
                    ("server", SpanKind::Server),
                    ("client", SpanKind::Client),
                    ("producer", SpanKind::Producer),
                    ("consumer", SpanKind::Consumer),
                    ("internal", SpanKind::Internal),
                ];
                for (name, kind) in kinds {
                    assert_eq!((arrived.span(name).kind, arrived.attributes(name).len()), (kind, 0), "{name}");
                }
            },
        ),
        row(
            "otel.kind is read whatever its case",
            || {
                drop(info_span!("upper", otel.kind = "SERVER"));
                drop(info_span!("mixed", otel.kind = "Client"));
            },
            |arrived| {
                assert_eq!(arrived.span("upper").kind, SpanKind::Server);
                assert_eq!(arrived.span("mixed").kind, SpanKind::Client);
            },
        ),
        row(
            "otel.kind may be any displayed value",
            || drop(info_span!("work", otel.kind = %"producer")),
            |arrived| assert_eq!(arrived.span("work").kind, SpanKind::Producer),
        ),
        row(
            "an unknown otel.kind leaves the span internal",
            || drop(info_span!("work", otel.kind = "sideways")),
            |arrived| assert_eq!(arrived.span("work").kind, SpanKind::Internal),
        ),
        row(
            "a span has no status of its own",
            || drop(info_span!("work")),
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Unset, String::new())),
        ),
        row(
            "otel.status_code ok",
            || drop(info_span!("work", otel.status_code = "ok")),
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Ok, String::new())),
        ),
        row(
            "otel.status_code error with otel.status_description",
            || drop(info_span!("work", otel.status_code = "error", otel.status_description = "no stock")),
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Error, "no stock".to_owned())),
        ),
        row(
            "otel.status_code is read whatever its case",
            || {
                drop(info_span!("one", otel.status_code = "ERROR"));
                drop(info_span!("two", otel.status_code = "Ok"));
            },
            |arrived| {
                assert_eq!(arrived.span("one").status.code, StatusCode::Error);
                assert_eq!(arrived.span("two").status.code, StatusCode::Ok);
            },
        ),
        row(
            "otel.status_code recorded late",
            || {
                let span = info_span!("work", otel.status_code = Empty);
                span.in_scope(|| {
                    span.record("otel.status_code", "error");
                });
            },
            |arrived| assert_eq!(arrived.span("work").status.code, StatusCode::Error),
        ),
        row(
            "an event of level ERROR makes its span failed, with its message",
            || info_span!("work").in_scope(|| error!("sold out")),
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Error, "sold out".to_owned())),
        ),
        row(
            "the last event of level ERROR is the description",
            || {
                info_span!("work").in_scope(|| {
                    error!("first");
                    error!("second");
                });
            },
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Error, "second".to_owned())),
        ),
        row(
            "an event of level WARN fails no span",
            || info_span!("work").in_scope(|| warn!("slow")),
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Unset, String::new())),
        ),
        row(
            "an event of level ERROR fails its own span only",
            || info_span!("outer").in_scope(|| info_span!("inner").in_scope(|| error!("inside"))),
            |arrived| {
                assert_eq!(arrived.span("outer").status.code, StatusCode::Unset);
                assert_eq!(arrived.span("inner").status.code, StatusCode::Error);
            },
        ),
        row(
            "a status of ok is not changed by events",
            || info_span!("work", otel.status_code = "ok").in_scope(|| error!("only noise")),
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Ok, String::new())),
        ),
        row(
            "a status of error keeps its own description",
            || {
                info_span!("work", otel.status_code = "error", otel.status_description = "mine")
                    .in_scope(|| error!("another"));
            },
            |arrived| assert_eq!(status(arrived, "work"), (StatusCode::Error, "mine".to_owned())),
        ),
        row(
            "spans of every level are spans",
            || {
                drop(trace_span!("trace"));
                drop(debug_span!("debug"));
                drop(span!(Level::ERROR, "error"));
            },
            |arrived| {
                assert_eq!(arrived.spans.len(), 3);
                assert!(arrived.spans.iter().all(|span| span.status.code == StatusCode::Unset));
            },
        ),
        row(
            "the resource names the service, its instance and the SDK",
            || drop(info_span!("work")),
            |arrived| {
                let resource = &arrived.span("work").resource;
                assert_eq!(resource.get("service.name"), Some(&text("shop")));
                assert_eq!(resource.get("service.instance.id"), Some(&text("one")));
                assert_eq!(resource.get("telemetry.sdk.name"), Some(&text("lgtm")));
                assert_eq!(resource.get("telemetry.sdk.language"), Some(&text("rust")));
                assert!(matches!(resource.get("telemetry.sdk.version"), Some(Value::String(_))));
                assert_eq!(resource.duplicate_keys(), Vec::<&str>::new());
            },
        ),
        row(
            "the scope of spans is lgtm-tempo with its version",
            || info_span!("work").in_scope(|| info!("said")),
            |arrived| {
                let scope = &arrived.span("work").scope;
                assert_eq!((scope.name.as_str(), scope.version.is_empty()), ("lgtm-tempo", false));
            },
        ),
    ]
}
