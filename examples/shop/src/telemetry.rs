//! What every request tells: lgtm's layer. And what a handler tells that fails.

use std::error::Error;

use axum::extract::MatchedPath;
use lgtm::http::ServerLayer;
use tracing::{Span, field};

/// Spans, metrics and a line for each request. `/healthz` has none: probes would outnumber the requests that matter.
pub(crate) fn layer() -> ServerLayer {
    ServerLayer::new().skip_paths(["/healthz"]).log_requests(true)
}

/// Tells that the current request failed: one line with the error and its causes, and the status of the current span, also where
/// the answer is a 4xx that the conventions alone would not count as an error of the server.
pub(crate) fn failed(endpoint: &MatchedPath, error: &(dyn Error + 'static)) {
    let span = Span::current();
    span.record("otel.status_code", "error");
    span.record("otel.status_description", field::display(error));
    tracing::error!(endpoint = endpoint.as_str(), error, "request failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use http::Request;
    use metrics_util::debugging::DebuggingRecorder;
    use tower::ServiceExt as _;

    /// The dashboards and alerts of the stack ask for these names and labels.
    #[tokio::test]
    async fn requests_are_counted_by_route_and_probes_are_not() {
        let recorder = DebuggingRecorder::new();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let ok = async || "";
        let router = Router::new().route("/products/{id}", get(ok)).route("/healthz", get(ok)).layer(layer());
        for path in ["/products/1", "/products/2", "/healthz"] {
            let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            to_bytes(response.into_body(), 0).await.unwrap();
        }
        let name = |key: &metrics::Key| {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            format!("{}{{{}}}", key.name(), labels.join(","))
        };
        let series = recorder.snapshotter().snapshot().into_vec();
        let mut names: Vec<_> = series.iter().map(|(key, ..)| name(key.key())).collect();
        names.sort();
        let expected = [
            "active_connections{}",
            "http_request_duration_seconds{method=GET,path=/products/{id},status=200}",
            "http_requests_total{method=GET,path=/products/{id},status=200}",
        ];
        assert_eq!(names, expected);
    }
}
