//! The routes of the five listeners: which path has which gate and which handler.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use tonic::Status;

use crate::PURPOSE;
use crate::devstack::Shared;
use crate::gate::{self, Gate};
use crate::ingest::{loki_push, otlp, otlp_logs, otlp_metrics, remote_write};
use crate::read;
use crate::script::Endpoint;

pub(crate) fn loki(shared: &Shared) -> Router {
    let push = Router::new().route("/loki/api/v1/push", post(loki_push::push)).with_state(shared.clone());
    let query = Router::new()
        .route("/loki/api/v1/query_range", get(read::loki::query_range).post(read::loki::query_range))
        .route("/loki/api/v1/query", get(read::loki::query).post(read::loki::query))
        .route("/loki/api/v1/labels", get(read::loki::labels))
        .route("/loki/api/v1/label/{name}/values", get(read::loki::label_values))
        .with_state(shared.clone());
    let otlp = Router::new().route("/otlp/v1/logs", post(otlp_logs::loki_logs)).with_state(shared.clone());
    page(
        "Loki: POST /loki/api/v1/push, /otlp/v1/logs; GET /loki/api/v1/query_range, query, labels, label/{name}/values",
    )
    .merge(gated(push, shared, Endpoint::LokiPush))
    .merge(gated(otlp, shared, Endpoint::OtlpLogsHttp))
    .merge(gated(query, shared, Endpoint::LokiQuery))
}

pub(crate) fn otlp_grpc(shared: &Shared) -> Router {
    let traces = Router::new()
        .route_service("/opentelemetry.proto.collector.trace.v1.TraceService/Export", otlp::grpc_service(shared));
    let logs = Router::new()
        .route_service("/opentelemetry.proto.collector.logs.v1.LogsService/Export", otlp_logs::grpc_service(shared));
    let metrics = Router::new().route_service(
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        otlp_metrics::grpc_service(shared),
    );
    Router::new()
        .merge(gated(traces, shared, Endpoint::OtlpGrpc))
        .merge(gated(logs, shared, Endpoint::OtlpLogsGrpc))
        .merge(gated(metrics, shared, Endpoint::OtlpMetricsGrpc))
        .fallback(async || {
            let text = "only the services for traces, logs and metrics of opentelemetry.proto.collector are served";
            Status::unimplemented(text).into_http::<axum::body::Body>()
        })
}

pub(crate) fn otlp_http(shared: &Shared) -> Router {
    let traces = Router::new().route("/v1/traces", post(otlp::http_traces)).with_state(shared.clone());
    let logs = Router::new().route("/v1/logs", post(otlp_logs::http_logs)).with_state(shared.clone());
    let metrics = Router::new().route("/v1/metrics", post(otlp_metrics::http_metrics)).with_state(shared.clone());
    page("OTLP over HTTP: POST /v1/traces, /v1/logs, /v1/metrics")
        .merge(gated(traces, shared, Endpoint::OtlpHttp))
        .merge(gated(logs, shared, Endpoint::OtlpLogsHttp))
        .merge(gated(metrics, shared, Endpoint::OtlpMetricsHttp))
}

pub(crate) fn tempo(shared: &Shared) -> Router {
    let query = Router::new()
        .route("/api/traces/{id}", get(read::tempo::trace))
        .route("/api/v2/traces/{id}", get(read::tempo::trace_v2))
        .route("/api/search", get(read::tempo::search))
        .with_state(shared.clone());
    page("Tempo: GET /api/traces/{id}, /api/v2/traces/{id}, /api/search, /api/echo")
        .route("/api/echo", get(async || "echo"))
        .merge(gated(query, shared, Endpoint::TempoQuery))
}

pub(crate) fn mimir(shared: &Shared) -> Router {
    let write = Router::new()
        .route("/api/v1/push", post(remote_write::push))
        .route("/api/v1/write", post(remote_write::write))
        .with_state(shared.clone());
    let otlp = Router::new()
        .route("/otlp/v1/metrics", post(otlp_metrics::http_metrics))
        .route("/api/v1/otlp/v1/metrics", post(otlp_metrics::http_metrics))
        .with_state(shared.clone());
    let query = prometheus_api().with_state(shared.clone());
    // Mimir's prefix, and Prometheus' own paths.
    let query = Router::new().nest("/prometheus/api/v1", query.clone()).nest("/api/v1", query);
    page(
        "Mimir: POST /api/v1/push, /api/v1/write, /otlp/v1/metrics; GET query, query_range, query_exemplars, series, labels, \
         label/{name}/values, metadata under /prometheus/api/v1/ and /api/v1/",
    )
    .route("/-/ready", get(ready))
    .route("/-/healthy", get(ready))
    .merge(gated(write, shared, Endpoint::RemoteWrite))
    .merge(gated(otlp, shared, Endpoint::OtlpMetricsHttp))
    .merge(gated(query, shared, Endpoint::PrometheusQuery))
}

fn prometheus_api() -> Router<Shared> {
    use read::prometheus::{label_values, labels, metadata, query, query_exemplars, query_range, series};
    Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/query_exemplars", get(query_exemplars).post(query_exemplars))
        .route("/series", get(series).post(series))
        .route("/labels", get(labels).post(labels))
        .route("/label/{name}/values", get(label_values))
        .route("/metadata", get(metadata))
}

/// The routes that every HTTP listener has.
fn page(what: &'static str) -> Router {
    let text = format!("{PURPOSE}\n{what}\n");
    Router::new().route("/", get(async move || text)).route("/ready", get(ready))
}

async fn ready() -> (StatusCode, &'static str) {
    (StatusCode::OK, "ready\n")
}

/// Puts the gate of `endpoint` before every route of `routes`.
fn gated(routes: Router, shared: &Shared, endpoint: Endpoint) -> Router {
    let gate = Gate { shared: shared.clone(), endpoint };
    // The gate has its own body limit.
    routes.layer(DefaultBodyLimit::disable()).layer(middleware::from_fn_with_state(gate, gate::pass))
}
