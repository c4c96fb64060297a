//! The same over gRPC, against an HTTP/2 server that answers by a script.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::support::*;
use crate::accounting::{DropReason, ErrorType};
use crate::endpoint::{Compression, Endpoint};
use crate::pipeline::{Pipeline, PipelineOptions, Target, Worker};

const METHOD: &str = "/test.Numbers/Export";

#[derive(Clone)]
pub(super) enum GrpcAnswer {
    Status(Code),
    RetryInfo(Code, Duration),
    /// A proxy's answer.
    Http(u16),
    Never,
}

#[derive(Default)]
pub(super) struct State {
    script: Mutex<VecDeque<GrpcAnswer>>,
    requests: Mutex<Vec<(Instant, http::HeaderMap)>>,
    stored: Mutex<Vec<u64>>,
    /// The value that the header `authorization` must have.
    demanded: Mutex<Option<String>>,
}

pub(super) struct GrpcServer {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

impl GrpcServer {
    /// Answers by the script, then OK.
    pub(super) fn start(script: impl IntoIterator<Item = GrpcAnswer>) -> Self {
        Self::start_on(free_port(), script)
    }

    fn start_on(listener: TcpListener, script: impl IntoIterator<Item = GrpcAnswer>) -> Self {
        let state = Arc::new(State { script: Mutex::new(script.into_iter().collect()), ..State::default() });
        let shared = Arc::clone(&state);
        let (address, stop) = on_a_thread(listener, move |stream| {
            let state = Arc::clone(&shared);
            async move {
                let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away ends the connection.
                let _ = connection.await;
            }
        });
        Self { address, state, _stop: stop }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://{}", self.address)).unwrap().timeout(PATIENCE)
    }

    /// From here on requests must have this in `authorization`.
    pub(super) fn demand(&self, authorization: &str) {
        *self.state.demanded.lock() = Some(authorization.to_owned());
    }

    pub(super) fn stored(&self) -> Vec<u64> {
        self.state.stored.lock().clone()
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

async fn answer(request: http::Request<Incoming>, state: Arc<State>) -> Result<http::Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    assert_eq!(head.uri.path(), METHOD);
    let body = body.collect().await?.to_bytes();
    // A byte for compression, four for the length.
    let is_gzip = body[0] == 1;
    assert_eq!(is_gzip, head.headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip"));
    let items = if is_gzip { parse_items(&unzipped(&body[5..])) } else { parse_items(&body[5..]) };
    let given = head.headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let refused = state.demanded.lock().as_ref().is_some_and(|demanded| given.as_ref() != Some(demanded));
    state.requests.lock().push((Instant::now(), head.headers));
    let next = state.script.lock().pop_front();
    let status = match next {
        None if refused => Some(Status::new(Code::Unauthenticated, "scripted")),
        None | Some(GrpcAnswer::Status(Code::Ok)) => None,
        Some(GrpcAnswer::Status(code)) => Some(Status::new(code, "scripted")),
        Some(GrpcAnswer::RetryInfo(code, delay)) => {
            Some(Status::with_error_details(code, "scripted", ErrorDetails::with_retry_info(Some(delay))))
        }
        Some(GrpcAnswer::Http(status)) => {
            let mut response = http::Response::new(Full::default().boxed());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            return Ok(response);
        }
        Some(GrpcAnswer::Never) => return std::future::pending().await,
    };
    if let Some(status) = status {
        return Ok(status.into_http::<Full<Bytes>>().map(Body::new));
    }
    state.stored.lock().extend_from_slice(&items);
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let mut response = http::Response::builder().header("content-type", "application/grpc");
    let message = if is_gzip {
        // As servers in Go do: the answer is compressed as the request was, whatever the client says that it takes.
        response = response.header("grpc-encoding", "gzip");
        let message = zipped(&[]);
        [&[1][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
    } else {
        vec![0; 5]
    };
    let body = Full::new(Bytes::from(message)).with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(response.body(body.boxed()).unwrap())
}

fn zipped(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn unzipped(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain
}

pub(super) fn start_grpc(endpoint: Endpoint, options: PipelineOptions) -> Pipeline {
    let target = Target::Grpc { endpoint, path: METHOD };
    Pipeline::start(Numbers::default(), target, options, &Worker::spawn().unwrap()).unwrap()
}

#[test]
fn an_ok_is_a_delivery_with_tenant_and_credentials() {
    let server = GrpcServer::start([]);
    let pipeline = start_grpc(server.endpoint().tenant("team").basic_auth("me", "secret"), fast());
    (0..100).for_each(|number| assert!(admit(pipeline.queue(), number)));
    assert_eq!(end(&pipeline).delivered, 100);
    assert_eq!(server.stored(), (0..100).collect::<Vec<_>>());
    let (_, headers) = server.state.requests.lock()[0].clone();
    assert_eq!(headers["x-scope-orgid"], "team");
    assert_eq!(headers["authorization"], "Basic bWU6c2VjcmV0");
    assert_eq!(headers["content-type"], "application/grpc");
}

#[test]
fn a_server_that_compresses_its_answers_as_it_is_asked_is_understood() {
    let server = GrpcServer::start([GrpcAnswer::Status(Code::Unavailable)]);
    let pipeline = start_grpc(server.endpoint().compression(Compression::Gzip), fast());
    (0..100).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost()), (100, 0), "{report}");
    assert_eq!(server.stored(), (0..100).collect::<Vec<_>>());
}

#[test]
fn unavailable_is_tried_again_also_when_a_proxy_says_it() {
    let server = GrpcServer::start([GrpcAnswer::Status(Code::Unavailable), GrpcAnswer::Http(503)]);
    let pipeline = start_grpc(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    eventually("the delivery", || pipeline.report().delivered == 1);
    let report = end(&pipeline);
    assert_eq!((server.stored().len(), errors_of(&report, ErrorType::Server)), (1, 2), "{report}");
}

#[test]
fn resource_exhausted_is_tried_again_only_with_retry_info_and_not_before_it() {
    let delay = Duration::from_millis(300);
    let server = GrpcServer::start([GrpcAnswer::RetryInfo(Code::ResourceExhausted, delay)]);
    let pipeline = start_grpc(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    eventually("the delivery", || pipeline.report().delivered == 1);
    let requests = server.state.requests.lock().clone();
    assert!(requests[1].0 - requests[0].0 >= delay, "{:?}", requests[1].0 - requests[0].0);
    assert_eq!(errors_of(&end(&pipeline), ErrorType::RateLimited), 1);

    let server = GrpcServer::start([GrpcAnswer::Status(Code::ResourceExhausted)]);
    let pipeline = start_grpc(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    let report = end(&pipeline);
    assert_eq!((report.rejected, server.stored().len()), (1, 0), "{report}");
}

#[test]
fn no_answer_in_time_is_a_timeout_and_tried_again() {
    let server = GrpcServer::start([GrpcAnswer::Never]);
    let pipeline = start_grpc(server.endpoint().timeout(Duration::from_millis(200)), fast());
    assert!(admit(pipeline.queue(), 1));
    eventually("the delivery", || pipeline.report().delivered == 1);
    assert!(errors_of(&end(&pipeline), ErrorType::Timeout) >= 1);
}

#[test]
fn a_shutdown_does_not_wait_for_an_answer_that_never_comes() {
    let server = GrpcServer::start([GrpcAnswer::Never]);
    let pipeline = start_grpc(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    eventually("the request", || !server.state.requests.lock().is_empty());
    pipeline.begin_shutdown(Instant::now() + Duration::from_millis(100));
    assert!(pipeline.wait_ended(soon()));
    assert_eq!(dropped_for(&pipeline.report(), DropReason::Shutdown), 1);
}

#[test]
fn a_refused_connection_a_host_without_address_and_a_failed_handshake_end_a_shutdown_at_once() {
    let plain = Server::start([]);
    let nobody = RefusingPort::new();
    for (url, error) in [
        (nobody.url(), ErrorType::Connect),
        (format!("http://{}.invalid", "x".repeat(64)), ErrorType::Connect),
        (format!("https://{}", plain.address), ErrorType::Tls),
    ] {
        let pipeline = start_grpc(Endpoint::parse(&url).unwrap().timeout(PATIENCE), slow_with_fast_retries());
        assert!(admit(pipeline.queue(), 1));
        let began = Instant::now();
        let report = end(&pipeline);
        assert_eq!(dropped_for(&report, DropReason::Shutdown), 1, "{url}: {report}");
        assert!(began.elapsed() < PATIENCE / 2, "{url}");
        assert_eq!(errors_of(&report, error), 1, "{url}: {report}");
    }
}

#[test]
fn a_backend_that_comes_up_later_is_found() {
    for _ in 0..10 {
        let port = RefusingPort::new();
        let pipeline = start_grpc(Endpoint::parse(&port.url()).unwrap(), fast());
        assert!(admit(pipeline.queue(), 1));
        eventually("a refusal", || errors_of(&pipeline.report(), ErrorType::Connect) >= 1);
        let address = port.address();
        drop(port);
        // Somebody else may take the port in between.
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let server = GrpcServer::start_on(listener, []);
        eventually("the delivery", || pipeline.report().delivered == 1);
        assert_eq!(server.stored(), [1]);
        return;
    }
    panic!("every port was taken by somebody else");
}
