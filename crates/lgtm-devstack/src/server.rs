//! Listeners and connections: one accept loop a listener, one task a connection, both on the runtime on which the
//! stack was started. A connection can be reset from within a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::limits::Limits;

/// The most connections of one listener; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// What an HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request's hold on its connection, found among the request's extensions.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Cancel it to reset the connection.
    pub(crate) reset: CancellationToken,
    /// Cancelled when the connection is gone.
    pub(crate) closed: CancellationToken,
}

/// Serves HTTP/1 and HTTP/2 on `listener` until `shutdown`.
pub(crate) fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Arc<Limits>,
    shutdown: CancellationToken,
    tasks: &TaskTracker,
) {
    let limits = Arc::clone(limits);
    let connections = tasks.clone();
    tasks.spawn(async move {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await.ok();
                (listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                accepted = accepted => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let serving = serve_connection(stream, router.clone(), Arc::clone(&limits), shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                // Out of file descriptors, or the peer went away while it waited: neither ends the listener.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
}

async fn serve_connection(stream: TcpStream, router: Router, limits: Arc<Limits>, shutdown: CancellationToken) {
    let connection = Connection { reset: CancellationToken::new(), closed: CancellationToken::new() };
    let _closed = connection.closed.clone().drop_guard();
    let reset = connection.reset.clone();
    // Small answers must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let timeout = limits.head_timeout;
    let begins = tokio::select! {
        begins = tokio::time::timeout(timeout, begins(&stream)) => matches!(begins, Ok(Ok(()))),
        () = shutdown.cancelled() => false,
    };
    if !begins {
        return;
    }
    let late = Box::pin(tokio::time::sleep(limits.answer_timeout));
    let limit = limits.answer_timeout;
    let io = TokioIo::new(ResettableStream { stream, reset: reset.clone(), limit, late, under_way: false });
    let service = router.map_request(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        request
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(timeout)).keep_alive_timeout(timeout);
    let serving = builder.serve_connection(io, TowerToHyperService::new(service));
    tokio::select! {
        // An error here is the client's: it went away, or it did not speak HTTP.
        _ = serving => {}
        () = reset.cancelled() => {}
        () = shutdown.cancelled() => {}
    }
}

/// Waits until it can be told which version of HTTP a client speaks: the time limits of both begin with that.
async fn begins(stream: &TcpStream) -> io::Result<()> {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut seen).await?;
        let beginning = seen.get(..length).unwrap_or_default();
        if length == 0 || length == seen.len() || !HTTP2_PREFACE.starts_with(beginning) {
            return Ok(());
        }
        // What was seen is seen again at once: there is nothing to wait on.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A TCP stream that closes with RST instead of FIN once its token is cancelled, and fails when an answer is not taken in time.
struct ResettableStream {
    stream: TcpStream,
    reset: CancellationToken,
    limit: Duration,
    late: Pin<Box<Sleep>>,
    /// Whether something is written that was not flushed yet: the clock runs.
    under_way: bool,
}

impl ResettableStream {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !std::mem::replace(&mut self.under_way, true) {
            self.late.as_mut().reset(Instant::now() + self.limit);
        }
        match self.late.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.reset.is_cancelled() {
            // Without it the peer sees an orderly close, which fails its request all the same.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.under_way = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
