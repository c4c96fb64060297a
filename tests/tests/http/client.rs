//! Requests that are sent through tower: spans by the conventions, context out, one trace with the server.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lgtm_core::propagation::baggage::{self, Baggage};
use lgtm_http::{Client, ClientLayer, ServerLayer, UrlTemplate};
use lgtm_tests::capture::place_of;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt as _};
use tracing::Instrument as _;

use crate::harness::{attribute, attributes, failure, observe, serve};

type Hyper = hyper_util::client::legacy::Client<HttpConnector, Empty<Bytes>>;

fn client(layer: ClientLayer) -> Client<Hyper> {
    let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new().layer(layer).service(hyper)
}

fn get_request(url: &str) -> Request<Empty<Bytes>> {
    Request::get(url).body(Empty::new()).unwrap()
}

fn shop() -> Router {
    let headers = async |headers: HeaderMap| {
        tracing::info!("asked");
        headers.get("baggage").map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    Router::new()
        .route("/orders/{id}", get(headers))
        .route("/broken", get(async || StatusCode::BAD_GATEWAY))
        .route("/slow", get(async || std::future::pending::<()>().await))
        .layer(ServerLayer::new())
}

#[test]
fn a_request_is_a_span_with_the_attributes_of_the_conventions_and_one_trace_with_its_server() {
    let mut port = 0;
    let observed = observe(async || {
        let server = serve(shop()).await;
        port = server.port();
        let mut request = get_request(&format!("http://ada:secret@{server}/orders/17?color=blue&sig=abc"));
        request.extensions_mut().insert(UrlTemplate::new("/orders/{id}"));
        let mut baggage = Baggage::default();
        assert!(baggage.insert("tier", "gold"));
        let call = async {
            let answer = client(ClientLayer::new()).oneshot(request).await.unwrap();
            tracing::info!("answered");
            answer.into_body().collect().await.unwrap().to_bytes()
        };
        let job = tracing::info_span!("job");
        let body = baggage::WithBaggage::new(baggage, call.instrument(job)).await;
        assert_eq!(&*body, b"tier=gold");
    });
    let span = observed.span("client", "GET /orders/{id}");
    let port = port.to_string();
    let url = format!("http://REDACTED:REDACTED@127.0.0.1:{port}/orders/17?color=blue&sig=REDACTED");
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.body.size", "9"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("url.full", &url),
        ("url.template", "/orders/{id}"),
    ];
    assert_eq!(attributes(span), expected.map(|(key, value)| (key, value.to_owned())));
    assert_eq!(failure(span), (None, false, ""));
    let job = observed.captured.span("job");
    let served = observed.span("server", "GET /orders/{id}");
    assert_eq!(span.parent_span_id.as_ref(), Some(&job.span_id));
    assert_eq!(served.parent_span_id.as_ref(), Some(&span.span_id));
    assert!([job, served].iter().all(|other| other.trace_id == span.trace_id));
    assert_eq!(observed.captured.place_of_log("asked"), Some(place_of(served)));
    assert_eq!(
        observed.captured.place_of_log("answered"),
        Some(place_of(job)),
        "the caller's own span is current again"
    );
    let labels = observed.labels("http_client_requests_total", &["method", "server_address", "status"]);
    assert_eq!(labels, ["GET 127.0.0.1 200"]);
    let exemplars = observed.exemplars("http_client_request_duration_seconds");
    assert!(!exemplars.is_empty() && exemplars.iter().all(|exemplar| exemplar.labels["span_id"] == span.span_id));
}

#[test]
fn refusals_and_failures_fail_the_span_and_an_answer_that_nobody_reads_does_not() {
    let observed = observe(async || {
        let server = serve(shop()).await;
        let client = client(ClientLayer::new());
        for path in ["/nothing", "/broken"] {
            let answer = client.clone().oneshot(get_request(&format!("http://{server}{path}"))).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }
        // Its body is dropped unread.
        drop(client.clone().oneshot(get_request(&format!("http://{server}/orders/1"))).await.unwrap());
        let absent = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        client.oneshot(get_request(&format!("http://{absent}/absent"))).await.unwrap_err();
    });
    let of = |status: Option<&str>, path: &str| {
        let is_it = |url: &String| url.ends_with(path);
        let span =
            observed.spans("client").find(|span| attribute(span, "url.full").as_ref().is_some_and(is_it)).unwrap();
        assert_eq!(attribute(span, "http.response.status_code").as_deref(), status, "{path}");
        failure(span)
    };
    assert_eq!(of(Some("404"), "/nothing"), (Some("404".to_owned()), true, ""));
    assert_eq!(of(Some("502"), "/broken"), (Some("502".to_owned()), true, ""));
    assert_eq!(of(Some("200"), "/orders/1"), (None, false, ""));
    let kind = "hyper_util::client::legacy::client::Error".to_owned();
    assert_eq!(of(None, "/absent"), (Some(kind), true, "client error (Connect)"));
    assert!(observed.spans("client").all(|span| span.name == "GET"), "no template, no path in the name");
    assert_eq!(observed.labels("http_client_requests_total", &["status"]), ["200", "404", "502", "error"]);
}

#[test]
fn a_request_that_is_given_up_is_counted_and_no_error() {
    let observed = observe(async || {
        let server = serve(shop()).await;
        let client = client(ClientLayer::new().server_address_label(false));
        let answer = client.oneshot(get_request(&format!("http://{server}/slow")));
        tokio::time::timeout(std::time::Duration::from_millis(50), answer).await.unwrap_err();
    });
    assert_eq!(failure(observed.span("client", "GET")), (None, false, ""));
    assert_eq!(observed.labels("http_client_requests_total", &["server_address", "status"]), [" cancelled"]);
}
