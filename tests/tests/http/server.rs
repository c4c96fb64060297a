//! Requests that are served: spans by the conventions, routes, context in, what is left out.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::{any, get};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use lgtm_core::propagation::{baggage, inject};
use lgtm_http::{NO_ROUTE, PeerAddress, QueryDisplay, RemoteContext, ServerLayer};
use lgtm_tests::capture::place_of;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tracing::Instrument as _;

use crate::harness::{attribute, attributes, exchange, failure, observe, observe_on, request, serve};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: (&str, &str) = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

async fn show_order() -> &'static str {
    tracing::info!("order shown");
    "order 17"
}

fn orders(layer: ServerLayer) -> Router {
    Router::new()
        .route("/orders/{id}", get(show_order))
        .route("/broken", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .route("/refused", get(async || StatusCode::CONFLICT))
        .layer(layer)
}

#[test]
fn a_request_is_a_span_with_the_attributes_of_the_conventions() {
    let observed = observe(async || {
        let server = serve(orders(ServerLayer::new())).await;
        let headers = [("User-Agent", "test/1"), ("Content-Length", "0")];
        let answer = exchange(server, &request("GET", "/orders/17?color=blue&token=abc", &headers)).await;
        assert!(answer.ends_with("order 17"), "{answer}");
    });
    let span = observed.span("server", "GET /orders/{id}");
    let expected = [
        ("client.address", "127.0.0.1"),
        ("http.request.body.size", "0"),
        ("http.request.method", "GET"),
        ("http.response.body.size", "8"),
        ("http.response.status_code", "200"),
        ("http.route", "/orders/{id}"),
        ("network.protocol.version", "1.1"),
        ("server.address", "shop.example"),
        ("server.port", "8080"),
        ("url.path", "/orders/17"),
        ("url.query", "color=blue&token=REDACTED"),
        ("url.scheme", "http"),
        ("user_agent.original", "test/1"),
    ];
    assert_eq!(attributes(span), expected.map(|(key, value)| (key, value.to_owned())));
    assert_eq!((failure(span), span.parent_span_id.as_deref()), ((None, false, ""), None));
    assert_eq!(observed.captured.place_of_log("order shown"), Some(place_of(span)));
}

#[test]
fn requests_are_counted_and_timed_by_method_route_and_status_and_exemplars_point_to_their_spans() {
    let observed = observe(async || {
        let server = serve(orders(ServerLayer::new().body_sizes(true))).await;
        for id in 1..=3 {
            exchange(server, &request("GET", &format!("/orders/{id}"), &[])).await;
        }
    });
    let labels = [("method", "GET"), ("path", "/orders/{id}"), ("status", "200")];
    for (name, value) in [
        ("http_requests_total", 3.0),
        ("http_request_duration_seconds_count", 3.0),
        ("http_response_body_size_bytes_sum", 24.0),
    ] {
        assert_eq!(observed.sum(name, &labels), Some(value), "{name}");
        assert_eq!(observed.labels(name, &["method", "path", "status"]), ["GET /orders/{id} 200"], "{name}");
    }
    assert_eq!(observed.sum("active_connections", &[]), Some(0.0));
    assert_eq!(observed.sum("http_request_body_size_bytes_count", &[]), None, "none was announced");
    assert_eq!(observed.sum("http_requests_aborted_total", &[]), None);
    let exemplars = observed.exemplars("http_request_duration_seconds");
    assert!(!exemplars.is_empty());
    for exemplar in exemplars {
        let place = (exemplar.labels["trace_id"].as_str(), exemplar.labels["span_id"].as_str());
        assert!(observed.spans("server").any(|span| place_of(span) == place), "{exemplar:?}");
    }
}

#[test]
fn an_error_of_the_server_fails_the_span_and_one_of_the_caller_does_not() {
    let observed = observe(async || {
        let server = serve(orders(ServerLayer::new())).await;
        for path in ["/broken", "/refused"] {
            exchange(server, &request("GET", path, &[])).await;
        }
    });
    assert_eq!(failure(observed.span("server", "GET /broken")), (Some("503".to_owned()), true, ""));
    assert_eq!(failure(observed.span("server", "GET /refused")), (None, false, ""));
    let statuses = observed.labels("http_requests_total", &["path", "status"]);
    assert_eq!(statuses, ["/broken 503", "/refused 409"]);
}

#[test]
fn requests_without_route_and_with_unknown_methods_share_one_path_and_one_method() {
    let observed = observe(async || {
        let server = serve(orders(ServerLayer::new()).fallback(any(async || StatusCode::NOT_FOUND))).await;
        for (method, path) in
            [("GET", "/a"), ("GET", "/b?c=d"), ("BREW", "/orders/1"), ("STEEP", "/orders/2"), ("get", "/c")]
        {
            exchange(server, &request(method, path, &[])).await;
        }
    });
    // The fallback was added after the layer: it is not observed.
    assert_eq!(observed.labels("http_requests_total", &["method", "path", "status"]), ["_OTHER /orders/{id} 405"]);
    let methods: Vec<_> =
        observed.spans("server").map(|span| attribute(span, "http.request.method_original")).collect();
    assert_eq!(methods, [Some("BREW".to_owned()), Some("STEEP".to_owned())]);
    assert!(observed.spans("server").all(|span| span.name == "HTTP /orders/{id}"));

    let observed = observe(async || {
        let server = serve(Router::new().fallback(async || StatusCode::NOT_FOUND).layer(ServerLayer::new())).await;
        for path in ["/a", "/b?c=d"] {
            exchange(server, &request("GET", path, &[])).await;
        }
        exchange(server, &request("PROPFIND", "/c", &[])).await;
    });
    let expected = [format!("GET {NO_ROUTE} 404"), format!("_OTHER {NO_ROUTE} 404")];
    assert_eq!(observed.labels("http_requests_total", &["method", "path", "status"]), expected);
    let names: Vec<_> = observed.spans("server").map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET", "GET", "HTTP"]);
    assert!(observed.spans("server").all(|span| attribute(span, "http.route").is_none()));
}

/// What a handler passes on to the next service.
async fn pass_on() -> String {
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    format!("{} {} {}", text("traceparent"), text("tracestate"), text("baggage"))
}

#[test]
fn the_callers_trace_is_continued_and_its_baggage_goes_along() {
    let observed = observe(async || {
        let router = Router::new().route("/", get(pass_on)).layer(ServerLayer::new());
        let server = serve(router).await;
        let headers = [TRACEPARENT, ("tracestate", "vendor=1"), ("baggage", "tier=gold")];
        let answer = exchange(server, &request("GET", "/", &headers)).await;
        assert!(answer.contains(&format!("00-{TRACE_ID}-")) && answer.ends_with("-01 vendor=1 tier=gold"), "{answer}");
        assert!(baggage::current().is_empty(), "it stays with its request");
    });
    let span = observed.span("server", "GET /");
    assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_deref()), (TRACE_ID, Some("00f067aa0ba902b7")));
}

#[test]
fn a_caller_in_another_process_wins_over_the_span_around_the_server() {
    let observed = observe(async || {
        let ask = async |headers: &[(&str, &str)]| {
            let mut request = Request::get("/").body(axum::body::Body::empty()).unwrap();
            for (name, value) in headers {
                request.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            }
            let router = Router::new().route("/", get(async || ())).layer(ServerLayer::new());
            let around = tracing::info_span!("around");
            tower::ServiceExt::oneshot(router, request).instrument(around).await.unwrap();
        };
        ask(&[TRACEPARENT]).await;
        ask(&[]).await;
    });
    let parents: Vec<_> = observed.spans("server").map(|span| span.parent_span_id.as_deref()).collect();
    let around = observed.captured.spans.iter().rfind(|span| span.name == "around").unwrap();
    assert_eq!(parents, [Some("00f067aa0ba902b7"), Some(around.span_id.as_str())]);
}

#[test]
fn a_caller_that_is_not_trusted_is_linked_or_left_out_and_its_baggage_with_it() {
    for (context, links) in [(RemoteContext::Link, 1), (RemoteContext::Ignored, 0)] {
        let observed = observe(async || {
            let router = Router::new().route("/", get(pass_on)).layer(ServerLayer::new().remote_context(context));
            let answer =
                exchange(serve(router).await, &request("GET", "/", &[TRACEPARENT, ("baggage", "tier=gold")])).await;
            assert!(!answer.contains(TRACE_ID) && !answer.contains("gold"), "{answer}");
        });
        let span = observed.span("server", "GET /");
        assert_eq!((span.parent_span_id.as_deref(), span.links.len()), (None, links), "{context:?}");
        assert!(span.links.iter().all(|link| link.trace_id == TRACE_ID && link.span_id == "00f067aa0ba902b7"));
    }
}

#[test]
fn inside_a_nested_router_route_and_path_are_whole() {
    let observed = observe(async || {
        let ok = async || "ok";
        let inner = Router::new().route("/{id}", get(ok)).route("/healthz", get(ok));
        let inner = inner.layer(ServerLayer::new().skip_paths(["/orders/healthz"]));
        let server = serve(Router::new().nest("/orders", inner)).await;
        for path in ["/orders/17?a=b", "/orders/healthz"] {
            assert!(exchange(server, &request("GET", path, &[])).await.ends_with("ok"));
        }
    });
    assert_eq!(observed.captured.span_names(), ["GET /orders/{id}"]);
    let span = observed.span("server", "GET /orders/{id}");
    let shown = ["http.route", "url.path", "url.query"].map(|key| attribute(span, key).unwrap_or_default());
    assert_eq!(shown, ["/orders/{id}", "/orders/17", "a=b"]);
    assert_eq!(observed.labels("http_requests_total", &["path"]), ["/orders/{id}"]);
}

#[test]
fn paths_that_are_left_out_leave_no_trace() {
    let observed = observe(async || {
        let layer =
            ServerLayer::new().skip_paths(["/healthz"]).skip_if(|request| request.headers.contains_key("x-probe"));
        let router = Router::new().route("/healthz", get(async || "ok")).route("/", get(async || "ok")).layer(layer);
        let server = serve(router).await;
        exchange(server, &request("GET", "/healthz", &[])).await;
        exchange(server, &request("GET", "/", &[("x-probe", "1")])).await;
    });
    assert_eq!(observed.captured.span_names(), [""; 0]);
    assert_eq!(observed.sum("http_requests_total", &[]), None);
    assert_eq!(observed.sum("active_connections", &[]), Some(0.0));
}

#[test]
fn headers_of_the_list_are_attributes_and_secrets_among_them_do_not_show() {
    let observed = observe(async || {
        let layer = ServerLayer::new()
            .request_headers([header::ACCEPT, header::AUTHORIZATION, header::RANGE])
            .response_headers([header::CONTENT_TYPE])
            .query(QueryDisplay::Omitted);
        let headers = [("Accept", "a"), ("Accept", "b"), ("Authorization", "Bearer hunter2"), ("X-Other", "x")];
        exchange(serve(orders(layer)).await, &request("GET", "/orders/1?a=b", &headers)).await;
    });
    let span = observed.span("server", "GET /orders/{id}");
    let captured: Vec<_> = attributes(span).into_iter().filter(|(key, _)| key.contains(".header.")).collect();
    let expected = [
        ("http.request.header.accept", "a, b"),
        ("http.request.header.authorization", "[redacted]"),
        ("http.response.header.content-type", "text/plain; charset=utf-8"),
    ];
    assert_eq!(captured, expected.map(|(key, value)| (key, value.to_owned())));
    assert_eq!(attribute(span, "url.query"), None);
}

#[test]
fn proxies_are_believed_only_where_they_are_trusted() {
    let of_client = |trust| {
        let observed = observe(async || {
            let headers = [("Forwarded", "for=203.0.113.7;host=shop.example.org;proto=https")];
            let layer = ServerLayer::new().trust_proxies(trust);
            exchange(serve(orders(layer)).await, &request("GET", "/orders/1", &headers)).await;
        });
        let span = observed.span("server", "GET /orders/{id}");
        ["client.address", "network.peer.address", "server.address", "server.port", "url.scheme"]
            .map(|key| attribute(span, key).unwrap_or_default())
    };
    assert_eq!(of_client(true), ["203.0.113.7", "127.0.0.1", "shop.example.org", "", "https"]);
    assert_eq!(of_client(false), ["127.0.0.1", "", "shop.example", "8080", "http"]);
}

#[test]
fn each_request_is_a_line_where_that_is_asked_for() {
    let observed = observe(async || {
        exchange(serve(orders(ServerLayer::new().log_requests(true))).await, &request("GET", "/orders/1", &[])).await;
    });
    let span = observed.span("server", "GET /orders/{id}");
    assert_eq!(observed.captured.place_of_log("request answered"), Some(place_of(span)));
    let line = observed.captured.log("request answered").json().unwrap();
    assert_eq!(
        (&line["method"], &line["endpoint"], &line["status"]),
        (&"GET".into(), &"/orders/{id}".into(), &200.into())
    );
    assert!(line["latency_ms"].as_f64().is_some_and(|latency| latency > 0.0), "{line}");
}

#[test]
fn a_filter_that_hides_the_span_leaves_the_metrics() {
    let without_spans = |layers: lgtm_tests::signals::Layers| {
        use tracing_subscriber::prelude::*;
        let none = tracing_subscriber::filter::filter_fn(|metadata| {
            metadata.is_event() && metadata.target().starts_with("http")
        });
        tracing::Dispatch::new(tracing_subscriber::registry().with(layers.tempo).with(layers.loki).with(none))
    };
    let observed = observe_on(without_spans, async || {
        let headers = [TRACEPARENT, ("baggage", "tier=gold")];
        let router = Router::new().route("/", get(pass_on)).layer(ServerLayer::new());
        let answer = exchange(serve(router).await, &request("GET", "/", &headers)).await;
        assert!(answer.ends_with("  tier=gold"), "{answer}");
    });
    assert_eq!(observed.captured.span_names(), [""; 0]);
    assert_eq!(observed.sum("http_requests_total", &[("path", "/"), ("status", "200")]), Some(1.0));
}

/// A server of hyper's alone, over HTTP/2, with routes of its own.
#[test]
fn a_server_without_a_framework_says_its_routes_itself() {
    let observed = observe(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, peer) = listener.accept().await.unwrap();
            let layer = ServerLayer::new()
                .scheme("https")
                .route(|request| request.uri.path().starts_with("/items/").then_some(Cow::Borrowed("/items/{id}")));
            let service = ServiceBuilder::new()
                .map_request(move |mut request: Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(PeerAddress(peer));
                    request
                })
                .layer(layer)
                .service_fn(async |_: Request<hyper::body::Incoming>| {
                    Ok::<_, Infallible>(Response::new(http_body_util::Full::new(bytes::Bytes::from_static(b"item"))))
                });
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                .await
        });
        let client = plain_client();
        let answer = client.get(format!("http://{server}/items/5").parse().unwrap()).await.unwrap();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        assert_eq!(&*body, b"item");
    });
    let span = observed.span("server", "GET /items/{id}");
    let shown = ["client.address", "network.protocol.version", "url.scheme", "http.response.body.size"];
    assert_eq!(shown.map(|key| attribute(span, key).unwrap_or_default()), ["127.0.0.1", "2", "http", "4"]);
    assert_eq!(observed.labels("http_requests_total", &["path"]), ["/items/{id}"]);
}

fn plain_client() -> hyper_util::client::legacy::Client<
    hyper_util::client::legacy::connect::HttpConnector,
    http_body_util::Empty<bytes::Bytes>,
> {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// Two servers in one process: spans of the second are no children of whatever the first does on the same thread.
#[test]
fn many_requests_at_once_keep_their_spans_apart() {
    let observed = observe(async || {
        async fn slow(axum::extract::Path(id): axum::extract::Path<u32>) -> String {
            tokio::task::yield_now().await;
            tracing::info!(id, "order {id} shown");
            id.to_string()
        }
        let server: SocketAddr = serve(Router::new().route("/orders/{id}", get(slow)).layer(ServerLayer::new())).await;
        let requests = (0..20).map(|id| async move {
            exchange(server, &request("GET", &format!("/orders/{id}"), &[])).await;
        });
        futures_util::future::join_all(requests).await;
    });
    for id in 0..20 {
        let path = format!("/orders/{id}");
        let span = observed.spans("server").find(|span| attribute(span, "url.path").as_deref() == Some(&path)).unwrap();
        assert_eq!(observed.captured.place_of_log(&format!("order {id} shown")), Some(place_of(span)));
        assert_eq!(span.parent_span_id, None);
    }
}
