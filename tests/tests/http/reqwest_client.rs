//! Requests of reqwest, through its middleware.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Extensions, StatusCode};
use lgtm_http::{ReqwestMiddleware, ServerLayer, UrlTemplate};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tokio::net::TcpListener;

use crate::harness::{attribute, attributes, failure, observe, serve};

fn client() -> ClientBuilder {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(200)).build().unwrap();
    ClientBuilder::new(client)
}

fn observed_client() -> ClientWithMiddleware {
    client().with(ReqwestMiddleware::new()).build()
}

fn shop() -> Router {
    Router::new()
        .route("/orders/{id}", get(async || "order"))
        .route("/slow", get(async || std::future::pending::<()>().await))
        .layer(ServerLayer::new())
}

#[test]
fn a_request_is_a_span_and_one_trace_with_its_server() {
    let mut port = 0;
    let observed = observe(async || {
        let server = serve(shop()).await;
        port = server.port();
        let url = format!("http://ada:secret@localhost:{port}/orders/17?token=abc&color=blue");
        let request = observed_client().get(url).with_extension(UrlTemplate::new("/orders/{id}"));
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "order");
    });
    let span = observed.span("client", "GET /orders/{id}");
    let port = port.to_string();
    // reqwest makes a header of credentials and takes them out of the URL itself.
    let url = format!("http://localhost:{port}/orders/17?token=REDACTED&color=blue");
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("server.address", "localhost"),
        ("server.port", &port),
        ("url.full", &url),
        ("url.template", "/orders/{id}"),
    ];
    assert_eq!(attributes(span), expected.map(|(key, value)| (key, value.to_owned())));
    let served = observed.span("server", "GET /orders/{id}");
    assert_eq!((&served.trace_id, served.parent_span_id.as_ref()), (&span.trace_id, Some(&span.span_id)));
    let labels = observed.labels("http_client_requests_total", &["method", "server_address", "status"]);
    assert_eq!(labels, ["GET localhost 200"]);
}

#[test]
fn without_an_answer_the_span_says_why_and_never_with_the_url() {
    let observed = observe(async || {
        let server = serve(shop()).await;
        let absent = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let client = observed_client();
        client.get(format!("http://{absent}/absent?key=s3cret")).send().await.unwrap_err();
        client.get(format!("http://{server}/slow?key=s3cret")).send().await.unwrap_err();
        client.get(format!("http://{server}/nothing")).send().await.unwrap();
    });
    let failures: Vec<_> = observed.spans("client").map(failure).collect();
    let kinds: Vec<_> = failures.iter().map(|(kind, failed, _)| (kind.as_deref().unwrap(), *failed)).collect();
    assert_eq!(kinds, [("connect", true), ("timeout", true), ("404", true)]);
    assert!(failures[0].2.contains("refused"), "{failures:?}");
    assert!(failures.iter().all(|(_, _, why)| !why.contains("s3cret") && !why.contains("http")), "{failures:?}");
    assert_eq!(observed.labels("http_client_requests_total", &["status"]), ["404", "connect", "timeout"]);
}

/// Tries once more.
struct Again;

#[async_trait::async_trait]
impl Middleware for Again {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let first = next.clone().run(request.try_clone().unwrap(), extensions).await?;
        if first.status().is_server_error() { next.run(request, extensions).await } else { Ok(first) }
    }
}

#[test]
fn each_try_has_a_span_that_counts_the_tries_before_it() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let observed = observe(async || {
        let handler = async || {
            if TRIES.fetch_add(1, Ordering::Relaxed) == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        };
        let server = serve(Router::new().route("/", get(handler)).layer(ServerLayer::new())).await;
        let client = client().with(Again).with(ReqwestMiddleware::new()).build();
        assert_eq!(client.get(format!("http://{server}/")).send().await.unwrap().status(), StatusCode::OK);
    });
    let tries: Vec<_> = observed.spans("client").map(|span| attribute(span, "http.request.resend_count")).collect();
    assert_eq!(tries, [None, Some("1".to_owned())]);
    // Each reached the server as a caller of its own.
    let callers: Vec<_> = observed.spans("client").map(|span| Some(&span.span_id)).collect();
    let parents: Vec<_> = observed.spans("server").map(|span| span.parent_span_id.as_ref()).collect();
    assert_eq!(callers, parents);
}
