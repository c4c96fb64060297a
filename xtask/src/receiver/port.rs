//! One port of the loopback interface: closed and opened again while it keeps its number. One task a connection.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Answer;

/// The largest request.
const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Below the ports that the system gives to outgoing connections: one of those could take the number while the port is closed, or be
/// connected to itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How long a port may take to be had back.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// The connection breaks.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, Broken>;

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Broken>> + Send>>;
type Handler = Arc<dyn Fn(HeaderMap, Bytes) -> Answering + Send + Sync>;

/// A port.
pub(super) struct Port {
    address: SocketAddr,
    handler: Handler,
    listening: Option<Listening>,
}

struct Listening {
    /// Dropped or set: no more requests.
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Port {
    /// Opens a port that is free.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn open_any(
        handler: impl Fn(HeaderMap, Bytes) -> Answering + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let handler: Handler = Arc::new(handler);
        for _ in 0..1_000 {
            let number = rand::random_range(PORTS);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
            if let Ok(listener) = TcpListener::bind(address).await {
                let listening = Some(listen(listener, &handler));
                return Ok(Self { address, handler, listening });
            }
        }
        bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// # Errors
    /// If somebody else has taken the port.
    pub(super) async fn open(&mut self) -> anyhow::Result<()> {
        if self.listening.is_some() {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + OPEN_DEADLINE;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error).with_context(|| format!("{} cannot be had back", self.address)),
            }
        };
        self.listening = Some(listen(listener, &self.handler));
        Ok(())
    }

    /// From now on connections are refused. Requests that are under way are answered; then their connections end.
    ///
    /// # Errors
    /// If the task that listens has panicked.
    pub(super) async fn close(&mut self) -> anyhow::Result<()> {
        if let Some(listening) = self.listening.take() {
            listening.stop.send_replace(true);
            listening.accepting.await.context("the listener has panicked")?;
        }
        Ok(())
    }
}

fn listen(listener: TcpListener, handler: &Handler) -> Listening {
    let (stop, stopped) = watch::channel(false);
    let handler = Arc::clone(handler);
    let accepting = tokio::spawn(async move {
        let mut end = stopped.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = end.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream, Arc::clone(&handler), stopped.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    Listening { stop, accepting }
}

async fn serve(stream: TcpStream, handler: Handler, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move {
            let (parts, body) = request.into_parts();
            match Limited::new(body, BODY_LIMIT).collect().await {
                Ok(body) => handler(parts.headers, body.to_bytes()).await,
                Err(_) => Err(Broken),
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // How it ends is the client's matter.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// The answer as it goes over the wire.
///
/// # Errors
/// If there is none: the connection breaks.
pub(super) fn response(answer: Answer) -> Result<Response<AnswerBody>, Broken> {
    let status = answer.status.ok_or(Broken)?;
    let length = answer.body.len();
    let body = if answer.breaks {
        let frames = [Ok(Frame::data(answer.body)), Err(Broken)];
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    } else {
        Full::new(answer.body).map_err(|never: Infallible| match never {}).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers;
    if answer.breaks && status != StatusCode::NO_CONTENT {
        // More is announced than comes.
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length + 1024));
    }
    Ok(response)
}
