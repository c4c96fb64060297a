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
use crate::ingest::{loki_push, otlp, remote_write};
use crate::script::Endpoint;

pub(crate) fn loki(shared: &Shared) -> Router {
    let push = Router::new()
        .route("/loki/api/v1/push", post(loki_push::push))
        .with_state(shared.clone());
    page("Loki: POST /loki/api/v1/push; GET /loki/api/v1/query_range, /loki/api/v1/query")
        .merge(gated(push, shared, Endpoint::LokiPush))
}

pub(crate) fn otlp_grpc(shared: &Shared) -> Router {
    let service = otlp::grpc_service(shared);
    let export = Router::new().route_service(
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        service,
    );
    Router::new()
        .merge(gated(export, shared, Endpoint::OtlpGrpc))
        .fallback(async || {
            Status::unimplemented("only opentelemetry TraceService/Export is served")
                .into_http::<axum::body::Body>()
        })
}

pub(crate) fn otlp_http(shared: &Shared) -> Router {
    let traces = Router::new()
        .route("/v1/traces", post(otlp::http_traces))
        .with_state(shared.clone());
    page("OTLP over HTTP: POST /v1/traces").merge(gated(traces, shared, Endpoint::OtlpHttp))
}

pub(crate) fn tempo(_shared: &Shared) -> Router {
    page("Tempo: GET /api/traces/{id}, /api/v2/traces/{id}, /api/search, /api/echo")
        .route("/api/echo", get(async || "echo"))
}

pub(crate) fn mimir(shared: &Shared) -> Router {
    let write = Router::new()
        .route("/api/v1/push", post(remote_write::push))
        .route("/api/v1/write", post(remote_write::write))
        .with_state(shared.clone());
    page("Mimir: POST /api/v1/push, /api/v1/write; GET /prometheus/api/v1/… and /api/v1/…")
        .route("/-/ready", get(ready))
        .route("/-/healthy", get(ready))
        .merge(gated(write, shared, Endpoint::RemoteWrite))
}

/// The routes that every HTTP listener has.
fn page(what: &'static str) -> Router {
    let text = format!("{PURPOSE}\n{what}\n");
    Router::new()
        .route("/", get(async move || text))
        .route("/ready", get(ready))
}

async fn ready() -> (StatusCode, &'static str) {
    (StatusCode::OK, "ready\n")
}

/// Puts the gate of `endpoint` before every route of `routes`.
fn gated(routes: Router, shared: &Shared, endpoint: Endpoint) -> Router {
    let gate = Gate {
        shared: shared.clone(),
        endpoint,
    };
    // The gate has its own body limit.
    routes
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(gate, gate::pass))
}
