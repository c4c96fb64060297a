//! Under subscribers that are not lgtm's, and under none: nothing panics, requests are answered, metrics are counted.

use axum::Router;
use axum::routing::get;
use lgtm_http::{ClientLayer, RemoteContext, ServerLayer};
use metrics_util::debugging::DebuggingRecorder;
use tower::{ServiceBuilder, ServiceExt as _};
use tracing_subscriber::prelude::*;

use crate::harness::{exchange, request, run, serve};

async fn serve_and_ask() {
    for context in [RemoteContext::Parent, RemoteContext::Link, RemoteContext::Ignored] {
        let layer = ServerLayer::new().remote_context(context).request_headers([http::header::HOST]).log_requests(true);
        let server = serve(Router::new().route("/", get(async || "ok")).layer(layer)).await;
        let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("baggage", "a=1")];
        assert!(exchange(server, &request("GET", "/", &headers)).await.ends_with("ok"));
    }
    let service = tower::service_fn(async |request: http::Request<String>| {
        assert!(!request.headers().contains_key("traceparent"));
        Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
    });
    let client = ServiceBuilder::new().layer(ClientLayer::new()).service(service);
    client.oneshot(http::Request::new(String::new())).await.unwrap();
}

fn requests_counted() -> usize {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || run(serve_and_ask));
    let series = recorder.snapshotter().snapshot().into_vec();
    series.iter().filter(|(key, ..)| key.key().name() == "http_requests_total").count()
}

#[test]
fn without_a_subscriber_requests_are_answered_and_counted() {
    assert_eq!(requests_counted(), 1);
}

#[test]
fn under_another_subscriber_requests_are_answered_and_counted() {
    let formatted = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    assert_eq!(tracing::subscriber::with_default(formatted, requests_counted), 1);
    let registry = tracing_subscriber::registry();
    assert_eq!(tracing::subscriber::with_default(registry, requests_counted), 1);
    use opentelemetry::trace::TracerProvider as _;
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    assert_eq!(tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), requests_counted), 1);
}
