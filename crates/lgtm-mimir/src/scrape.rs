//! The scrape endpoint: `GET /metrics`. Worker thread; connections, their age and each answer are bounded.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::HeaderMap;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lgtm_core::Worker;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::registry::Registry;
use crate::renderer::Renderer;

/// Connections at a time; more wait in the system's backlog.
const CONNECTIONS: usize = 32;
/// The longest that a request's head may take, and the longest between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After this a connection ends with the request that is under way.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
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
    pub(crate) fn listen(address: SocketAddr, registry: Arc<Registry>, worker: &Worker) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _runtime = worker.handle().enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let routes = Router::new().route("/metrics", get(metrics)).with_state(Renderer::new(registry));
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
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    if tokio::time::timeout(CONNECTION_AGE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
    }
}

async fn metrics(State(renderer): State<Renderer>, headers: HeaderMap) -> impl IntoResponse {
    renderer.respond(&headers)
}
