//! What every request tells: a server span with the attributes of OpenTelemetry's HTTP conventions, a count, a duration, the number
//! of requests in flight, and one log line. Runs on the runtime's threads, around the handlers.

use std::error::Error;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tracing::{Instrument as _, Span, field};

/// The label and attribute of requests that match no route: the raw path would make a series of every typing error.
const NO_ROUTE: &str = "(no route)";

/// The status under which a request is counted whose caller hung up, after nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Says what the metrics mean, and shows the gauge before the first request.
pub(crate) fn describe() {
    describe_counter!("http_requests_total", Unit::Count, "Requests answered, by method, route and status");
    describe_histogram!("http_request_duration_seconds", Unit::Seconds, "Time to answer, by method and route");
    describe_gauge!("active_connections", Unit::Count, "Requests in flight");
    gauge!("active_connections").set(0.0);
}

/// The middleware. It belongs on the router by `layer`, where the matched route is known.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known_method(request.method());
    let span = server_span(method, route.as_ref().map(MatchedPath::as_str), &request);
    if let Err(error) = lgtm::propagation::set_parent(&span, request.headers()) {
        tracing::debug!(error = &error as &dyn Error, "the caller's trace is not continued");
    }
    let answer = async {
        let in_flight = InFlight::new(method, route);
        let response = next.run(request).await;
        in_flight.finish(response.status());
        response
    };
    answer.instrument(span).await
}

fn server_span(method: &'static str, route: Option<&str>, request: &Request) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = field::Empty,
        otel.kind = "server",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        url.scheme = "http",
        url.path = request.uri().path(),
        error.type = field::Empty,
    );
    match route {
        Some(route) => span.record("otel.name", field::display(format_args!("{method} {route}"))),
        None => span.record("otel.name", method),
    };
    span
}

/// The methods of the HTTP conventions; others are `_OTHER`, so that no caller can make series at will.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

/// A request between its arrival and its answer. Where the caller hangs up, the future of the answer is dropped, and this with it:
/// such a request is counted and logged too.
struct InFlight {
    started: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    status: u16,
}

impl InFlight {
    fn new(method: &'static str, route: Option<MatchedPath>) -> Self {
        gauge!("active_connections").increment(1.0);
        Self { started: Instant::now(), method, route, status: CLIENT_CLOSED_REQUEST }
    }

    fn finish(mut self, status: StatusCode) {
        self.status = status.as_u16();
        Span::current().record("http.response.status_code", self.status);
    }
}

impl Drop for InFlight {
    /// Runs inside the span, so that the exemplar of the duration points to the trace.
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let Self { method, status, .. } = *self;
        let endpoint = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        if status >= 500 || status == CLIENT_CLOSED_REQUEST {
            let span = Span::current();
            span.record("otel.status_code", "error");
            span.record("error.type", field::display(status));
        }
        let path = endpoint.to_owned();
        counter!("http_requests_total", "method" => method, "path" => path.clone(), "status" => status.to_string())
            .increment(1);
        histogram!("http_request_duration_seconds", "method" => method, "path" => path).record(elapsed);
        gauge!("active_connections").decrement(1.0);
        let latency_ms = elapsed.as_secs_f64() * 1000.0;
        if status == CLIENT_CLOSED_REQUEST {
            tracing::warn!(method, endpoint, latency_ms, "the caller hung up");
        } else {
            tracing::info!(method, endpoint, status, latency_ms, "request answered");
        }
    }
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
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    fn request(method: &str, path: &str) -> Request {
        Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
    }

    /// All series as `name{label=value,…}`, with their change since the last time: the recorder starts again from zero.
    fn series(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
        let name = |key: &metrics::Key| {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            format!("{}{{{}}}", key.name(), labels.join(","))
        };
        snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| (name(key.key()), value)).collect()
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_never_by_raw_path() {
        let recorder = DebuggingRecorder::new();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let router = Router::new().route("/products/{id}", get(async || "")).layer(middleware::from_fn(observe));
        for (method, path) in
            [("GET", "/products/1"), ("GET", "/products/2"), ("GET", "/nowhere/else"), ("BREW", "/products/3")]
        {
            router.clone().oneshot(request(method, path)).await.unwrap();
        }
        let series = series(&recorder.snapshotter());
        let counted: Vec<_> = series.iter().filter(|(name, _)| name.starts_with("http_requests_total")).collect();
        let expected = [
            ("http_requests_total{method=GET,path=(no route),status=404}".to_owned(), DebugValue::Counter(1)),
            ("http_requests_total{method=GET,path=/products/{id},status=200}".to_owned(), DebugValue::Counter(2)),
            ("http_requests_total{method=_OTHER,path=/products/{id},status=405}".to_owned(), DebugValue::Counter(1)),
        ];
        assert_eq!(counted, expected.iter().map(|(name, value)| (name, value)).collect::<Vec<_>>());
        let Some(DebugValue::Histogram(durations)) =
            series.get("http_request_duration_seconds{method=GET,path=/products/{id}}")
        else {
            panic!("{series:?}")
        };
        assert_eq!(durations.len(), 2);
        assert_eq!(series["active_connections{}"], DebugValue::Gauge(0.0.into()));
    }

    #[tokio::test]
    async fn a_request_whose_caller_hangs_up_leaves_the_gauge_and_is_counted() {
        let recorder = DebuggingRecorder::new();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let reached = Arc::new(Notify::new());
        let handler = {
            let reached = Arc::clone(&reached);
            async move || {
                reached.notify_one();
                std::future::pending::<()>().await;
            }
        };
        let router = Router::new().route("/slow", get(handler)).layer(middleware::from_fn(observe));
        let mut answer = Box::pin(router.oneshot(request("GET", "/slow")));
        tokio::select! {
            _ = &mut answer => panic!("the handler never answers"),
            () = reached.notified() => {}
        }
        assert_eq!(series(&recorder.snapshotter())["active_connections{}"], DebugValue::Gauge(1.0.into()));
        drop(answer);
        let series = series(&recorder.snapshotter());
        assert_eq!(series["active_connections{}"], DebugValue::Gauge((-1.0).into()));
        assert_eq!(series["http_requests_total{method=GET,path=/slow,status=499}"], DebugValue::Counter(1));
    }
}
