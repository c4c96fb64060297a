//! Libraries that are built on tracing-opentelemetry, on the OpenTelemetry API, or on `tracing` alone, in a program whose telemetry is
//! `lgtm::init`: one trace, and log lines inside it. One test: the global subscriber, provider and propagator are a process's own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step fails the test, also in its helpers"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use axum_tracing_opentelemetry::middleware::{OtelAxumLayer, OtelInResponseLayer};
use http::Extensions;
use lgtm::opentelemetry::global;
use lgtm::opentelemetry::trace::Tracer as _;
use lgtm_devstack::{Devstack, LogEntry, Span, SpanKind};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use reqwest_tracing::TracingMiddleware;
use tokio::net::TcpListener;
use tracing::info;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// reqwest-tracing writes headers by the version of the API that one of its features names; where none names the one in use, this does.
struct Inject;

#[async_trait::async_trait]
impl Middleware for Inject {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        lgtm::propagation::inject(request.headers_mut());
        next.run(request, extensions).await
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

/// Spans of tracing-opentelemetry, by way of axum-tracing-opentelemetry; asks the other one.
async fn storefront(inventory: SocketAddr) -> SocketAddr {
    async fn order(
        State((client, inventory)): State<(ClientWithMiddleware, SocketAddr)>,
        Path(id): Path<u32>,
    ) -> String {
        info!(order_id = id, "order asked for");
        client.get(format!("http://{inventory}/stock/{id}")).send().await.unwrap().text().await.unwrap()
    }
    let client =
        ClientBuilder::new(lgtm_tests::client::plain()).with(TracingMiddleware::default()).with(Inject).build();
    let router = Router::new()
        .route("/orders/{id}", get(order))
        .layer(OtelInResponseLayer)
        .layer(OtelAxumLayer::default())
        .with_state((client, inventory));
    serve(router).await
}

/// Spans of the API, by way of opentelemetry-instrumentation-tower.
async fn inventory() -> SocketAddr {
    async fn stock(Path(id): Path<u32>) -> &'static str {
        info!(sku = id, "stock asked for");
        global::tracer("inventory").in_span("read stock", |_| info!(sku = id, "stock read"));
        "3"
    }
    let router = Router::new()
        .route("/stock/{id}", get(stock))
        .layer(opentelemetry_instrumentation_tower::http::server::Layer::new());
    serve(router).await
}

#[test]
fn libraries_on_either_interface_make_one_trace_with_log_lines_inside() -> Result<(), Box<dyn Error>> {
    let stack = Devstack::start_blocking()?;
    let telemetry = lgtm::builder()
        .ignore_environment()
        .service_name("shop")
        .loki(lgtm::Endpoint::parse(&stack.loki_url())?)
        .tempo(lgtm::Endpoint::parse(&stack.otlp_grpc_url())?)
        .without_metrics()
        .opentelemetry()
        .shutdown_timeout(Duration::from_secs(60))
        .init()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let echoed = runtime.block_on(async {
        let storefront = storefront(inventory().await).await;
        let client = lgtm_tests::client::plain();
        let request = client.get(format!("http://{storefront}/orders/17"));
        let answer = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await?;
        let echoed = answer.headers()["traceparent"].to_str()?.to_owned();
        assert_eq!(answer.error_for_status()?.text().await?, "3");
        Ok::<_, Box<dyn Error>>(echoed)
    })?;
    // Spans of requests end with their answers' bodies; the servers' tasks end with the runtime.
    drop(runtime);
    let report = telemetry.shutdown();
    assert_eq!(report.lost(), 0, "{report}");

    let spans = stack.store().spans();
    let find = |kind: SpanKind, name: &str| -> &Arc<Span> {
        let found: Vec<_> = spans.iter().filter(|span| span.kind == kind && span.name == name).collect();
        assert_eq!(found.len(), 1, "{kind:?} {name} among {spans:#?}");
        found[0]
    };
    let order = find(SpanKind::Server, "GET /orders/{id}");
    let asks = find(SpanKind::Client, "GET");
    let stock = find(SpanKind::Server, "GET /stock/{id}");
    let reads = find(SpanKind::Internal, "read stock");
    for (span, parent) in [(order, CALLER), (asks, &order.span_id), (stock, &asks.span_id), (reads, &stock.span_id)] {
        assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_deref()), (TRACE, Some(parent)), "{}", span.name);
    }
    assert_eq!(echoed, format!("00-{TRACE}-{}-01", order.span_id));

    let logs = stack.store().logs();
    let log = |message: &str| -> &Arc<LogEntry> {
        let is = |entry: &&Arc<LogEntry>| entry.json().is_some_and(|json| json["message"] == message);
        logs.iter().find(is).unwrap_or_else(|| panic!("no line `{message}` among {logs:#?}"))
    };
    for (message, span) in [("order asked for", order), ("stock asked for", stock), ("stock read", reads)] {
        let entry = log(message);
        let place = (entry.label("trace_id"), entry.label("span_id"), entry.label("trace_sampled"));
        assert_eq!(place, (Some(TRACE), Some(span.span_id.as_str()), Some("true")), "{message}");
    }
    Ok(())
}
