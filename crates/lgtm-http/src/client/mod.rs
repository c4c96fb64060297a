//! The client's side of HTTP. Caller threads.
//!
//! - this file: the layer, its settings, its service;
//! - `exchange.rs` is one request: span, metrics, headers;
//! - `reqwest.rs` is the same as a middleware of reqwest.

mod exchange;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;

use std::borrow::Cow;
use std::fmt;
use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::captured::Captured;
use crate::catalogue;
use crate::future::ResponseFuture;
use crate::method::Methods;
use crate::url::{FullUrl, QueryDisplay};

pub(crate) use exchange::ClientExchange;
#[cfg(feature = "reqwest-middleware")]
pub use reqwest::ReqwestMiddleware;

/// The pattern of the URL of a request, such as `/orders/{id}`: in the request's extensions it is part of the span's name and the
/// attribute `url.template`. With reqwest: `RequestBuilder::with_extension`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(pub Cow<'static, str>);

impl UrlTemplate {
    /// A pattern that is known when the program is compiled.
    #[must_use]
    pub const fn new(template: &'static str) -> Self {
        Self(Cow::Borrowed(template))
    }
}

/// Observes the requests of a client and passes trace context and baggage on. See [the manual](crate#clients).
///
/// ```
/// use lgtm_http::ClientLayer;
/// use tower::ServiceBuilder;
///
/// # fn example<S>(hyper_client: S) {
/// let client = ServiceBuilder::new().layer(ClientLayer::new()).service(hyper_client);
/// # let _ = client;
/// # }
/// ```
#[derive(Clone)]
pub struct ClientLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    methods: Methods,
    query: QueryDisplay,
    request_headers: Captured,
    response_headers: Captured,
    labels_server: bool,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, labels_server, .. } = self;
        formatter
            .debug_struct("Config")
            .field("query", query)
            .field("labels_server", labels_server)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientLayer").field("config", &self.config).finish()
    }
}

impl Default for ClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientLayer {
    /// A layer with the defaults. Make it after the metrics recorder is installed: it describes its metrics then.
    #[must_use]
    pub fn new() -> Self {
        catalogue::describe(&catalogue::CLIENT);
        let config = Config {
            methods: Methods::default(),
            query: QueryDisplay::default(),
            request_headers: Captured::default(),
            response_headers: Captured::default(),
            labels_server: true,
        };
        Self { config: Arc::new(config) }
    }

    fn with(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self
    }

    http_settings!();

    /// Whether metrics have the label `server_address`. False for clients that ask servers without number, such as crawlers: it
    /// is empty then. Default: true.
    #[must_use]
    pub fn server_address_label(self, label: bool) -> Self {
        self.with(|config| config.labels_server = label)
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner, config: Arc::clone(&self.config) }
    }
}

/// The service of [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
    R: Body,
{
    type Response = Response<ResponseBody<R, ClientExchange>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ClientExchange>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut running = {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            let request = exchange::Outgoing {
                method: request.method(),
                url: FullUrl::of_uri(request.uri(), host, self.config.query),
                headers: request.headers(),
                template: request.extensions().get(),
                resends: 0,
            };
            ClientExchange::begin(&self.config, &request)
        };
        let future = running.run(|| {
            lgtm_core::propagation::inject(request.headers_mut());
            self.inner.call(request)
        });
        ResponseFuture::new(future, running)
    }
}
