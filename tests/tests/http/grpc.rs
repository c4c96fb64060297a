//! Calls of gRPC, both sides: tonic's health service, and routes that answer by hand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::response::Response;
use axum::routing::{any, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use lgtm_core::propagation::baggage::{self, Baggage};
use lgtm_http::{GrpcClient, GrpcClientLayer, GrpcServerLayer, RemoteContext};
use lgtm_tests::capture::place_of;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use tower::{ServiceBuilder, ServiceExt as _};

use crate::harness::{Dropped, Observed, attribute, attributes, exchange, failure, observe, request, until};

const CHECK: &str = "grpc.health.v1.Health/Check";
const ENDLESS: &str = "shop.Orders/Endless";
const WATCH: &str = "grpc.health.v1.Health/Watch";

async fn serve(layer: GrpcServerLayer) -> (SocketAddr, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let by_hand = Router::new()
        .route("/shop.Orders/Fails", post(async || answer([("grpc-status", "13"), ("grpc-message", "disk%20full")])))
        .route("/shop.Orders/Streams", post(async || answer([("grpc-status", "0"), ("x-left", "3")])))
        .route("/shop.Orders/Panics", post(panics))
        .route("/shop.Orders/Baggage", post(said_baggage))
        .route("/shop.Orders/Endless", post(endless))
        .route("/plain", any(async || "plain"));
    let routes = Routes::from(Routes::new(health).into_axum_router().merge(by_hand));
    let server = Server::builder().accept_http1(true).layer(layer).add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (address, reporter)
}

async fn panics() -> String {
    panic!("no orders today")
}

/// An answer of two messages and these trailers.
fn answer(trailers: [(&'static str, &'static str); 2]) -> Response {
    let trailers: HeaderMap = trailers
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let message = || Frame::data(Bytes::from_static(b"\0\0\0\0\x02ok"));
    let frames = [message(), message(), Frame::trailers(trailers)].map(Ok::<_, std::convert::Infallible>);
    let frames = futures_util::stream::iter(frames.into_iter().inspect(|_| tracing::info!("frame")));
    let response = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
    response.body(AxumBody::new(StreamBody::new(frames))).unwrap()
}

/// Whether the server has dropped its endless answer.
static ENDED: AtomicBool = AtomicBool::new(false);

async fn endless() -> Response {
    let frames = futures_util::stream::unfold(Dropped(&ENDED), async |dropped| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"\0\0\0\0\x02ok"))), dropped))
    });
    let response = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
    response.body(AxumBody::new(StreamBody::new(frames))).unwrap()
}

async fn said_baggage() -> Response {
    let said = baggage::current().get("tier").unwrap_or_default().to_owned();
    tracing::info!(said, "asked");
    answer([("grpc-status", "0"), ("x-left", "0")])
}

fn channel(server: SocketAddr) -> GrpcClient<Channel> {
    let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect_lazy();
    let layer = GrpcClientLayer::new().server("orders.example", Some(50051));
    ServiceBuilder::new().layer(layer).service(channel)
}

/// Calls a method by hand; the bytes of its answer, and the trailers.
async fn call(server: SocketAddr, path: &str) -> Result<(Bytes, Option<HeaderMap>), String> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(Body::empty()).unwrap();
    let response = channel(server).oneshot(request).await.map_err(|error| error.to_string())?;
    let collected = response.into_body().collect().await.map_err(|error| error.to_string())?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

fn counted(observed: &Observed) -> [Vec<String>; 2] {
    ["rpc_server_requests_total", "rpc_client_requests_total"].map(|name| observed.labels(name, &["method", "code"]))
}

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[test]
fn a_call_is_a_span_on_both_sides_with_the_attributes_of_the_conventions_in_one_trace() {
    let mut port = String::new();
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        port = server.port().to_string();
        HealthClient::new(channel(server)).check(check("shop")).await.unwrap();
    });
    let client = observed.span("client", CHECK);
    let server = observed.span("server", CHECK);
    assert_eq!((&client.trace_id, Some(&client.span_id)), (&server.trace_id, server.parent_span_id.as_ref()));
    let expected = [
        ("rpc.method", CHECK),
        ("rpc.status_code", "OK"),
        ("rpc.system.name", "grpc"),
        ("server.address", "orders.example"),
        ("server.port", "50051"),
    ];
    assert_eq!(attributes(client), expected.map(|(key, value)| (key, value.to_owned())));
    let shown =
        ["rpc.method", "rpc.status_code", "rpc.system.name", "server.address", "server.port", "network.peer.address"];
    assert_eq!(
        shown.map(|key| attribute(server, key).unwrap_or_default()),
        [CHECK, "OK", "grpc", "127.0.0.1", &port, "127.0.0.1"]
    );
    for (span, name) in [(client, "rpc_client"), (server, "rpc_server")] {
        assert_eq!(failure(span), (None, false, ""));
        let exemplars = observed.exemplars(&format!("{name}_request_duration_seconds"));
        assert!(!exemplars.is_empty() && exemplars.iter().all(|exemplar| exemplar.labels["span_id"] == span.span_id));
    }
    assert_eq!(counted(&observed), [[format!("{CHECK} OK")], [format!("{CHECK} OK")]]);
    assert_eq!(observed.sum("rpc_server_active_requests", &[]), Some(0.0));
}

#[test]
fn what_the_caller_does_wrong_fails_only_the_callers_span() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        HealthClient::new(channel(server)).check(check("nobody")).await.unwrap_err();
    });
    let (kind, failed, why) = failure(observed.span("client", CHECK));
    assert_eq!((kind.as_deref(), failed, why), (Some("NOT_FOUND"), true, "service not registered"));
    assert_eq!(failure(observed.span("server", CHECK)), (None, false, ""));
    assert_eq!(attribute(observed.span("server", CHECK), "rpc.status_code").as_deref(), Some("NOT_FOUND"));
    assert_eq!(counted(&observed), [[format!("{CHECK} NOT_FOUND")], [format!("{CHECK} NOT_FOUND")]]);
}

#[test]
fn what_the_server_does_wrong_fails_both_spans_with_its_message() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        let (_, trailers) = call(server, "/shop.Orders/Fails").await.unwrap();
        assert_eq!(trailers.unwrap()["grpc-status"], "13");
    });
    for kind in ["client", "server"] {
        let span = observed.span(kind, "shop.Orders/Fails");
        assert_eq!(failure(span), (Some("INTERNAL".to_owned()), true, "disk full"), "{kind}");
    }
}

#[test]
fn a_streamed_answer_is_in_its_span_up_to_its_trailers() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        let (messages, _) = call(server, "/shop.Orders/Streams").await.unwrap();
        assert_eq!(messages.len(), 14);
    });
    let span = observed.span("server", "shop.Orders/Streams");
    let frames: Vec<_> =
        observed.captured.logs.iter().filter(|line| line.json().unwrap()["message"] == "frame").collect();
    assert_eq!(frames.len(), 3);
    assert!(frames.iter().all(|line| line.structured_metadata["span_id"] == span.span_id));
    assert_eq!((failure(span), attribute(span, "rpc.status_code").as_deref()), ((None, false, ""), Some("OK")));
    assert_eq!(failure(observed.span("client", "shop.Orders/Streams")), (None, false, ""));
}

#[test]
fn a_stream_that_the_caller_gives_up_is_cancelled() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        let request = Request::post("/shop.Orders/Endless").header(header::CONTENT_TYPE, "application/grpc");
        let mut answer = channel(server).oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_body();
        assert!(answer.frame().await.unwrap().unwrap().is_data());
        drop(answer);
        until(|| ENDED.load(Ordering::Acquire)).await;
    });
    for kind in ["client", "server"] {
        let code = attribute(observed.span(kind, ENDLESS), "rpc.status_code");
        assert_eq!(code.as_deref(), Some("CANCELLED"), "{kind}");
    }
    assert_eq!(failure(observed.span("server", ENDLESS)), (None, false, ""));
    assert_eq!(observed.captured.place_of_log("dropped"), Some(place_of(observed.span("server", ENDLESS))));
    assert_eq!(counted(&observed), [[format!("{ENDLESS} CANCELLED")], [format!("{ENDLESS} CANCELLED")]]);
}

#[test]
fn a_stream_of_tonic_is_in_flight_until_it_is_dropped() {
    let observed = observe(async || {
        let (server, reporter) = serve(GrpcServerLayer::new()).await;
        let mut stream = HealthClient::new(channel(server)).watch(check("shop")).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        tracing::info!("first message");
        reporter.set_service_status("shop", ServingStatus::NotServing).await;
        assert!(stream.message().await.unwrap().is_some());
        tracing::info!("second message");
        drop(stream);
    });
    let span = observed.span("client", WATCH);
    let second = observed.captured.log("second message").timestamp_ns;
    assert!(i128::from(span.end_ns) >= i128::from(second), "the span ended with the stream");
    assert_eq!(attribute(span, "rpc.status_code").as_deref(), Some("CANCELLED"));
}

#[test]
fn methods_that_do_not_exist_share_one_name() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        for path in ["/shop.Orders/Nothing", "/shop.Orders/Nowhere"] {
            call(server, path).await.unwrap();
        }
    });
    let names: Vec<_> = observed
        .spans("server")
        .map(|span| (span.name.as_str(), attribute(span, "rpc.method"), attribute(span, "rpc.method_original")))
        .collect();
    let expected = |name: &str| ("grpc", Some("_OTHER".to_owned()), Some(name.to_owned()));
    assert_eq!(names, [expected("shop.Orders/Nothing"), expected("shop.Orders/Nowhere")]);
    assert!(observed.spans("server").all(|span| failure(span) == (Some("UNIMPLEMENTED".to_owned()), true, "")));
    let [served, _] = counted(&observed);
    assert_eq!(served, ["_OTHER UNIMPLEMENTED"]);
}

#[test]
fn of_a_list_of_methods_all_others_share_one_name_whatever_their_answer() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new().known_methods([CHECK])).await;
        HealthClient::new(channel(server)).check(check("shop")).await.unwrap();
        call(server, "/shop.Orders/Streams").await.unwrap();
    });
    let [served, _] = counted(&observed);
    assert_eq!(served, ["_OTHER OK".to_owned(), format!("{CHECK} OK")]);
    let other = observed.spans("server").find(|span| span.name == "grpc").unwrap();
    assert_eq!(attribute(other, "rpc.method_original").as_deref(), Some("/shop.Orders/Streams"));
}

#[test]
fn a_panic_of_a_service_fails_its_span_and_is_counted() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        call(server, "/shop.Orders/Panics").await.unwrap_err();
    });
    let span = observed.span("server", "shop.Orders/Panics");
    assert_eq!(failure(span), (Some("panic".to_owned()), true, "panicked: no orders today"));
    let [served, asked] = counted(&observed);
    assert_eq!(
        (served, asked),
        (vec!["shop.Orders/Panics UNKNOWN".to_owned()], vec!["shop.Orders/Panics UNAVAILABLE".to_owned()])
    );
    assert!(observed.span("client", "shop.Orders/Panics").is_error());
    assert_eq!(observed.sum("rpc_server_active_requests", &[]), Some(0.0));
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let observed = observe(async || {
        let absent = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        HealthClient::new(channel(absent)).check(check("shop")).await.unwrap_err();
    });
    let span = observed.span("client", CHECK);
    assert_eq!(attribute(span, "rpc.status_code").as_deref(), Some("UNAVAILABLE"));
    assert_eq!(failure(span), (Some("tonic::transport::error::Error".to_owned()), true, "transport error"));
}

#[test]
fn baggage_and_metadata_of_the_list_go_along_and_a_caller_that_is_not_trusted_is_linked() {
    let ask = |layer: GrpcServerLayer| {
        observe(async || {
            let (server, _reporter) = serve(layer).await;
            let mut baggage = Baggage::default();
            assert!(baggage.insert("tier", "gold"));
            baggage::WithBaggage::new(baggage, call(server, "/shop.Orders/Baggage")).await.unwrap();
        })
    };
    let said = |observed: &Observed| observed.captured.log("asked").json().unwrap()["said"].clone();
    let observed = ask(GrpcServerLayer::new().request_metadata([header::CONTENT_TYPE, HeaderName::from_static("te")]));
    let span = observed.span("server", "shop.Orders/Baggage");
    assert_eq!(said(&observed), "gold");
    assert_eq!(observed.captured.place_of_log("asked"), Some(place_of(span)));
    assert_eq!(attribute(span, "rpc.request.metadata.content-type").as_deref(), Some("application/grpc"));

    let observed = ask(GrpcServerLayer::new().remote_context(RemoteContext::Link));
    let (client, server) =
        (observed.span("client", "shop.Orders/Baggage"), observed.span("server", "shop.Orders/Baggage"));
    assert_eq!(said(&observed), "");
    assert_ne!(client.trace_id, server.trace_id);
    let links: Vec<_> = server.links.iter().map(|link| (link.trace_id.as_str(), link.span_id.as_str())).collect();
    assert_eq!((server.parent_span_id.as_deref(), links), (None, vec![place_of(client)]));
}

#[test]
fn what_is_no_grpc_passes_by() {
    let observed = observe(async || {
        let (server, _reporter) = serve(GrpcServerLayer::new()).await;
        assert!(exchange(server, &request("GET", "/plain", &[])).await.ends_with("plain"));
    });
    assert_eq!(observed.captured.span_names(), [""; 0]);
    assert_eq!(observed.sum("rpc_server_requests_total", &[]), None);
}
