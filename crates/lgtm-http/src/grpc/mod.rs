//! gRPC, both sides. Caller threads.
//!
//! - this file: the layers, their settings, their services;
//! - `exchange.rs` is one call: span, metrics;
//! - `methods.rs` knows which methods there are, `code.rs` the status codes.

mod code;
mod exchange;
mod methods;

use std::fmt;
use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::RemoteContext;
use crate::body::ResponseBody;
use crate::captured::Captured;
use crate::catalogue;
use crate::exchange::Running;
use crate::future::ResponseFuture;
use methods::Methods;

pub(crate) use exchange::CallExchange;

/// What both sides are told.
#[derive(Debug, Default)]
struct Config {
    methods: Methods,
    remote_context: RemoteContext,
    request_metadata: Captured,
    response_metadata: Captured,
    server: Option<(String, Option<u16>)>,
}

/// Observes the calls of a gRPC server: a span, metrics, the caller's trace context. What is no gRPC passes by. See
/// [the manual](crate#grpc).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (_, health) = tonic_health::server::health_reporter();
/// tonic::transport::Server::builder()
///     .layer(lgtm_http::GrpcServerLayer::new())
///     .add_service(health)
///     .serve("127.0.0.1:50051".parse()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GrpcServerLayer {
    config: Arc<Config>,
}

/// Observes the calls of a gRPC client and passes trace context and baggage on. See [the manual](crate#grpc).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tonic_health::pb::health_client::HealthClient;
///
/// let channel = tonic::transport::Endpoint::from_static("http://orders.example:50051").connect_lazy();
/// let layer = lgtm_http::GrpcClientLayer::new().server("orders.example", Some(50051));
/// let channel = tower::ServiceBuilder::new().layer(layer).service(channel);
/// let mut client = HealthClient::new(channel);
/// client.check(tonic_health::pb::HealthCheckRequest::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GrpcClientLayer {
    config: Arc<Config>,
}

impl Default for GrpcServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for GrpcClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// Settings come before the first use: then nobody shares them yet.
fn with(mut config: Arc<Config>, set: impl FnOnce(&mut Config)) -> Arc<Config> {
    if Arc::get_mut(&mut config).is_none() {
        config = Arc::new(config.copy());
    }
    if let Some(config) = Arc::get_mut(&mut config) {
        set(config);
    }
    config
}

impl Config {
    /// With a memory of its own for the methods.
    fn copy(&self) -> Self {
        Self {
            methods: self.methods.copy(),
            remote_context: self.remote_context,
            request_metadata: self.request_metadata.clone(),
            response_metadata: self.response_metadata.clone(),
            server: self.server.clone(),
        }
    }
}

impl GrpcServerLayer {
    /// A layer with the defaults. Make it after the metrics recorder is installed: it describes its metrics then.
    #[must_use]
    pub fn new() -> Self {
        catalogue::describe(&catalogue::RPC_SERVER);
        Self { config: Arc::default() }
    }

    fn with(self, set: impl FnOnce(&mut Config)) -> Self {
        Self { config: with(self.config, set) }
    }

    /// What becomes of the caller's trace and baggage. Default: [`RemoteContext::Parent`].
    #[must_use]
    pub fn remote_context(self, context: RemoteContext) -> Self {
        self.with(|config| config.remote_context = context)
    }

    /// The methods that exist, as `package.Service/Method`; calls of all others are `_OTHER`. Default: a method exists that was
    /// answered by something else than `UNIMPLEMENTED` straight away; of those, the first 512.
    #[must_use]
    pub fn known_methods<N: AsRef<str>>(self, methods: impl IntoIterator<Item = N>) -> Self {
        self.with(|config| config.methods = Methods::listed(methods))
    }

    grpc_settings!();
}

impl GrpcClientLayer {
    /// A layer with the defaults. Make it after the metrics recorder is installed: it describes its metrics then.
    #[must_use]
    pub fn new() -> Self {
        catalogue::describe(&catalogue::RPC_CLIENT);
        Self { config: Arc::default() }
    }

    fn with(self, set: impl FnOnce(&mut Config)) -> Self {
        Self { config: with(self.config, set) }
    }

    /// The server that the channel is for, which tonic does not say to layers: `server.address` and `server.port`. Default:
    /// what the URI of a request says.
    #[must_use]
    pub fn server(self, address: impl Into<String>, port: Option<u16>) -> Self {
        self.with(|config| config.server = Some((address.into(), port)))
    }

    grpc_settings!();
}

impl<S> Layer<S> for GrpcServerLayer {
    type Service = GrpcServer<S>;

    fn layer(&self, inner: S) -> GrpcServer<S> {
        GrpcServer { inner, config: Arc::clone(&self.config) }
    }
}

impl<S> Layer<S> for GrpcClientLayer {
    type Service = GrpcClient<S>;

    fn layer(&self, inner: S) -> GrpcClient<S> {
        GrpcClient { inner, config: Arc::clone(&self.config) }
    }
}

/// The service of [`GrpcServerLayer`].
#[derive(Clone)]
pub struct GrpcServer<S> {
    inner: S,
    config: Arc<Config>,
}

/// The service of [`GrpcClientLayer`].
#[derive(Clone)]
pub struct GrpcClient<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S: fmt::Debug> fmt::Debug for GrpcServer<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GrpcServer").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for GrpcClient<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GrpcClient").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for GrpcServer<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
    R: Body,
{
    type Response = Response<ResponseBody<R, CallExchange>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, CallExchange>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC));
        let mut running = if is_grpc { CallExchange::serve(&self.config, &request) } else { Running::unobserved() };
        let future = running.run(|| self.inner.call(request));
        ResponseFuture::new(future, running)
    }
}

/// `application/grpc`, `application/grpc+proto`, `application/grpc-web`.
const GRPC: &[u8] = b"application/grpc";

impl<S, B, R> Service<Request<B>> for GrpcClient<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
    R: Body,
{
    type Response = Response<ResponseBody<R, CallExchange>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, CallExchange>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut running = CallExchange::ask(&self.config, &request);
        let future = running.run(|| {
            lgtm_core::propagation::inject(request.headers_mut());
            self.inner.call(request)
        });
        ResponseFuture::new(future, running)
    }
}
