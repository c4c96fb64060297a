//! The server's side of HTTP. Caller threads.
//!
//! - this file: the layer, its settings, its service;
//! - `exchange.rs` is one request: span, metrics, line;
//! - `route.rs` finds the route.

mod exchange;
mod route;

use std::borrow::Cow;
use std::fmt;
use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderName, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::captured::Captured;
use crate::catalogue;
use crate::exchange::Running;
use crate::future::ResponseFuture;
use crate::method::Methods;
use crate::remote::RemoteContext;
use crate::url::QueryDisplay;

pub(crate) use exchange::ServerExchange;

type RouteOf = Arc<dyn Fn(&Parts) -> Option<Cow<'static, str>> + Send + Sync>;
type SkipIf = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Observes the requests of a server: a span, metrics, the caller's trace context. See [the manual](crate#servers).
///
/// ```
/// use lgtm_http::{RemoteContext, ServerLayer};
///
/// let layer = ServerLayer::new()
///     .skip_paths(["/healthz", "/metrics"])
///     .remote_context(RemoteContext::Link)
///     .request_headers([http::header::CONTENT_TYPE])
///     .log_requests(true);
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct ServerLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    methods: Methods,
    scheme: Cow<'static, str>,
    remote_context: RemoteContext,
    route: Option<RouteOf>,
    skip_paths: Vec<String>,
    skip_if: Option<SkipIf>,
    trusts_proxies: bool,
    query: QueryDisplay,
    request_headers: Captured,
    response_headers: Captured,
    body_sizes: bool,
    log_requests: bool,
}

impl Default for ServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { scheme, remote_context, skip_paths, trusts_proxies, query, body_sizes, log_requests, .. } =
            &*self.config;
        formatter
            .debug_struct("ServerLayer")
            .field("scheme", scheme)
            .field("remote_context", remote_context)
            .field("skip_paths", skip_paths)
            .field("trusts_proxies", trusts_proxies)
            .field("query", query)
            .field("body_sizes", body_sizes)
            .field("log_requests", log_requests)
            .finish_non_exhaustive()
    }
}

impl ServerLayer {
    /// A layer with the defaults. Make it after the metrics recorder is installed: it describes its metrics then.
    #[must_use]
    pub fn new() -> Self {
        catalogue::describe(&catalogue::SERVER);
        let config = Config {
            methods: Methods::default(),
            scheme: Cow::Borrowed("http"),
            remote_context: RemoteContext::default(),
            route: None,
            skip_paths: Vec::new(),
            skip_if: None,
            trusts_proxies: false,
            query: QueryDisplay::default(),
            request_headers: Captured::default(),
            response_headers: Captured::default(),
            body_sizes: false,
            log_requests: false,
        };
        Self { config: Arc::new(config) }
    }

    fn with(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self
    }

    /// Requests to exactly these paths are passed on as they are: no span, no metrics. For `/healthz` and `/metrics`, which would
    /// outnumber the requests that matter. Default: none.
    #[must_use]
    pub fn skip_paths<P: Into<String>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        self.with(|config| config.skip_paths.extend(paths.into_iter().map(Into::into)))
    }

    /// Requests of which this says true are passed on as they are. Runs once a request. Default: none.
    #[must_use]
    pub fn skip_if(self, skip: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|config| config.skip_if = Some(Arc::new(skip)))
    }

    /// How the route of a request is found: the pattern, such as `/orders/{id}`, never the path. Runs once a request. Default:
    /// axum's `MatchedPath` (feature `axum`); a request without one counts as [`NO_ROUTE`](crate::NO_ROUTE).
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// let layer = lgtm_http::ServerLayer::new().route(|request| match request.uri.path() {
    ///     "/" => Some(Cow::Borrowed("/")),
    ///     path if path.starts_with("/orders/") => Some(Cow::Borrowed("/orders/{id}")),
    ///     _ => None,
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn route(self, route: impl Fn(&Parts) -> Option<Cow<'static, str>> + Send + Sync + 'static) -> Self {
        self.with(|config| config.route = Some(Arc::new(route)))
    }

    /// What becomes of the caller's trace and baggage. Default: [`RemoteContext::Parent`].
    #[must_use]
    pub fn remote_context(self, context: RemoteContext) -> Self {
        self.with(|config| config.remote_context = context)
    }

    /// The scheme by which callers reach the server, where neither the request nor a trusted proxy says it. Default: `http`.
    #[must_use]
    pub fn scheme(self, scheme: impl Into<Cow<'static, str>>) -> Self {
        self.with(|config| config.scheme = scheme.into())
    }

    /// Whether `Forwarded` and `X-Forwarded-For`, `-Host` and `-Proto` name the caller, the host and the scheme. Any caller can
    /// send them: only behind a proxy that replaces them. Default: false.
    #[must_use]
    pub fn trust_proxies(self, trust: bool) -> Self {
        self.with(|config| config.trusts_proxies = trust)
    }

    http_settings!();

    /// Whether the sizes of bodies are measured too, as `http_request_body_size_bytes` and `http_response_body_size_bytes`: two
    /// more histograms for each route, with [buckets](crate::catalogue::BODY_BYTES) of their own that the facade sees to; another
    /// recorder has to be told them. Spans have the sizes anyway. Default: false.
    #[must_use]
    pub fn body_sizes(self, measure: bool) -> Self {
        self.with(|config| config.body_sizes = measure)
    }

    /// Whether each request is a log line when it has ended, of level INFO, with `method`, `endpoint`, `status` and
    /// `latency_ms`; of level WARN if the caller hung up, of level ERROR if it panicked or broke off. Default: false.
    #[must_use]
    pub fn log_requests(self, log: bool) -> Self {
        self.with(|config| config.log_requests = log)
    }
}

impl Config {
    fn skips(&self, request: &Parts) -> bool {
        self.skip_paths.iter().any(|path| path == route::uri(request).path())
            || self.skip_if.as_ref().is_some_and(|skip| skip(request))
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server { inner, config: Arc::clone(&self.config) }
    }
}

/// The service of [`ServerLayer`].
#[derive(Clone)]
pub struct Server<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S: fmt::Debug> fmt::Debug for Server<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
    R: Body,
{
    type Response = Response<ResponseBody<R, ServerExchange>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ServerExchange>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let mut running =
            if self.config.skips(&head) { Running::unobserved() } else { ServerExchange::begin(&self.config, &head) };
        let request = Request::from_parts(head, body);
        let future = running.run(|| self.inner.call(request));
        ResponseFuture::new(future, running)
    }
}
