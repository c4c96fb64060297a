//! A backend that takes every request and keeps nothing: for measurements of the calling side. Its own thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Discard {
    address: SocketAddr,
    _running: oneshot::Sender<()>,
}

impl Discard {
    /// Starts on a free port of the loopback interface.
    ///
    /// # Errors
    /// What the system says when it gives no thread, runtime or port.
    pub fn start() -> io::Result<Self> {
        let (running, stopped) = oneshot::channel::<()>();
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::Builder::new().name("discard".to_owned()).spawn(move || {
            let served = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                runtime.block_on(async {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                    let _ = sender.send(listener.local_addr());
                    let ended = async {
                        let _ = stopped.await;
                    };
                    tokio::select! {
                        served = axum::serve(listener, Router::new().fallback(discard)) => served,
                        () = ended => Ok(()),
                    }
                })
            });
            if let Err(error) = served {
                let _ = sender.send(Err(error));
            }
        })?;
        let address = receiver.recv().map_err(io::Error::other)??;
        Ok(Self { address, _running: running })
    }

    /// The server's URL. Every path answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn discard(request: Request<Body>) -> StatusCode {
    match axum::body::to_bytes(request.into_body(), 64 * 1024 * 1024).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
    }
}
