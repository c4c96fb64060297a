//! The stack's routes without its listeners: requests as values, for tests that ask with any input. Runs on the caller's thread.

use std::io;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::devstack::Shared;
use crate::limits::Limits;
use crate::routes;
use crate::script::Endpoint;
use crate::store::Store;

/// A development stack that opens no port: it answers the requests that it is given.
///
/// ```
/// use lgtm_devstack::{Endpoint, InProcess};
///
/// let stack = InProcess::new(lgtm_devstack::Limits::default())?;
/// let request = http::Request::get("/loki/api/v1/labels").body(Vec::new())?;
/// assert_eq!(stack.answer(Endpoint::LokiQuery, request).status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct InProcess {
    store: Store,
    loki: Router,
    otlp_grpc: Router,
    otlp_http: Router,
    tempo: Router,
    mimir: Router,
    runtime: Mutex<Runtime>,
}

impl InProcess {
    /// An empty stack.
    ///
    /// # Errors
    /// If its runtime cannot be made.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let shared = Shared::new(limits);
        Ok(Self {
            store: shared.store.clone(),
            loki: routes::loki(&shared),
            otlp_grpc: routes::otlp_grpc(&shared),
            otlp_http: routes::otlp_http(&shared),
            tempo: routes::tempo(&shared),
            mimir: routes::mimir(&shared),
            runtime: Mutex::new(tokio::runtime::Builder::new_current_thread().enable_time().build()?),
        })
    }

    /// What arrived.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The answer of the listener that has this endpoint; the request's path says the rest. One request at a time.
    pub fn answer(&self, endpoint: Endpoint, request: Request<Vec<u8>>) -> Response<Bytes> {
        let routes = match endpoint {
            Endpoint::LokiPush | Endpoint::LokiQuery => &self.loki,
            Endpoint::OtlpGrpc | Endpoint::OtlpLogsGrpc | Endpoint::OtlpMetricsGrpc => &self.otlp_grpc,
            Endpoint::OtlpHttp | Endpoint::OtlpLogsHttp | Endpoint::OtlpMetricsHttp => &self.otlp_http,
            Endpoint::TempoQuery => &self.tempo,
            Endpoint::RemoteWrite | Endpoint::PrometheusQuery => &self.mimir,
        };
        let answered = routes.clone().oneshot(request.map(Body::from));
        self.runtime.lock().block_on(async {
            // Routes answer whatever happens: their error type has no value.
            let (parts, body) = answered.await.unwrap_or_default().into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Response::from_parts(parts, body)
        })
    }
}
