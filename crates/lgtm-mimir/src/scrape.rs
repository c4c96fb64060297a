//! The scrape endpoint: `GET /metrics`, and what further routes the program gives it. Worker thread; connections, their age, their requests' heads, each answer's time and the
//! answers in memory are bounded (`sending.rs` bounds the time).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::get;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lgtm_core::{ExpectedSecret, Secret, Worker};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use crate::registry::Registry;
use crate::renderer::Renderer;
use crate::sending::Sending;

/// Connections at a time; more wait in the system's backlog.
const CONNECTIONS: usize = 32;
/// The longest that a request's head may take, and the longest between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and of a body that nobody reads.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bytes of a body that a further route reads.
const BODY_BYTES: usize = 16 * 1024;
/// The longest that a further route's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that further routes answer at a time.
const FURTHER: usize = 2;
/// Answers in memory at a time, of as many bytes as the program's metrics have.
const ANSWERS: usize = 4;
/// How long a request waits for its turn; then it is told to come back.
const TURN: Duration = Duration::from_secs(10);
/// After this a connection ends with the request that is under way.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// The longest that an answer may take to be sent: who reads nothing holds its place no longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a last answer may take.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted: usually no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running listener. Dropping it closes it and its connections.
#[derive(Debug)]
pub(crate) struct Scrape {
    address: SocketAddr,
    accept: JoinHandle<()>,
    /// Its runtime runs the listener.
    _worker: Worker,
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Scrape {
    /// Opens the address at once, so that a taken port is the caller's error, and serves it on the worker.
    pub(crate) fn listen(
        address: SocketAddr,
        token: Option<Secret>,
        further: Option<Router>,
        registry: Arc<Registry>,
        worker: &Worker,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _runtime = worker.handle().enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let serving = Serving {
            renderer: Renderer::new(registry),
            token: token.map(|token| Arc::new(ExpectedSecret::new(token))),
            turns: Arc::new(Semaphore::new(ANSWERS)),
            further: Arc::new(Semaphore::new(FURTHER)),
        };
        let mut routes = Router::new().route("/metrics", get(metrics)).with_state(serving.clone());
        if let Some(further) = further {
            routes = routes.merge(further.layer(from_fn_with_state(serving, guarded)));
        }
        let accept = worker.handle().spawn(accept(listener, routes));
        Ok(Self { address, accept, _worker: worker.clone() })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: tokio::net::TcpListener, routes: Router) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                connections.spawn(async move {
                    serve(stream, routes).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection; what goes wrong with it is the client's affair.
async fn serve(stream: TcpStream, routes: Router) {
    let _ = stream.set_nodelay(true);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Sending::new(stream, ANSWER_TIMEOUT)), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    if tokio::time::timeout(CONNECTION_AGE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
    }
}

/// What requests need.
#[derive(Clone)]
struct Serving {
    renderer: Renderer,
    token: Option<Arc<ExpectedSecret>>,
    turns: Arc<Semaphore>,
    further: Arc<Semaphore>,
}

impl Serving {
    /// Whether this request may be answered.
    fn admits(&self, headers: &HeaderMap) -> bool {
        self.token.as_ref().is_none_or(|token| token.matches(|token| shows(headers, token)))
    }
}

/// Answers `GET`, and `HEAD` without the body; axum refuses the rest.
async fn metrics(State(serving): State<Serving>, headers: HeaderMap) -> Response<Body> {
    if !serving.admits(&headers) {
        return refusal(StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer");
    }
    let Ok(Ok(turn)) = tokio::time::timeout(TURN, Arc::clone(&serving.turns).acquire_owned()).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, "10");
    };
    serving.renderer.respond_bytes(&headers).map(|bytes| Body::from(Bytes::from_owner(Answer { bytes, _turn: turn })))
}

/// Before the further routes: who may not read may not ask for anything else, a body comes whole, small and in time or not at all.
async fn guarded(State(serving): State<Serving>, request: Request, next: Next) -> Response<Body> {
    if !serving.admits(request.headers()) {
        return refusal(StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer");
    }
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(bytes)) => Body::from(bytes),
        Ok(Err(_)) => return refusal(StatusCode::PAYLOAD_TOO_LARGE, CONNECTION, "close"),
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, CONNECTION, "close"),
    };
    let Ok(Ok(_turn)) = tokio::time::timeout(TURN, serving.further.acquire()).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, "10");
    };
    next.run(Request::from_parts(parts, body)).await
}

/// Whether the request names itself by this bearer token. Takes as long for a wrong one as for the right one.
fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((scheme, given)) = given.split_at_checked(b"Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && given.ct_eq(token.reveal().as_bytes()).into()
}

fn refusal(status: StatusCode, header: http::HeaderName, value: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
}

/// An answer's bytes. It has its turn until the last byte has left.
struct Answer {
    bytes: Bytes,
    _turn: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
