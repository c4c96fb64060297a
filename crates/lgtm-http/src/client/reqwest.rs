//! The client layer as a middleware of reqwest. Caller threads.

use std::error::Error as _;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use super::exchange::{CONNECT, ClientExchange, Outgoing, TIMEOUT};
use super::{ClientLayer, Config};
use crate::exchange::{End, Head};
use crate::url::{FullUrl, Query};

/// Observes the requests of a reqwest client and passes trace context and baggage on. Spans and metrics are those of
/// [`ClientLayer`], and end with the head of the answer: reqwest's body is its own. Redirects that reqwest follows belong to the request.
///
/// Behind a middleware that tries again, each try has a span, and `http.request.resend_count`.
///
/// ```
/// use lgtm_http::{ReqwestMiddleware, UrlTemplate};
///
/// # async fn example(client: reqwest::Client) -> Result<(), reqwest_middleware::Error> {
/// let client = reqwest_middleware::ClientBuilder::new(client).with(ReqwestMiddleware::new()).build();
/// let template = UrlTemplate::new("/orders/{id}"); // optional: a name that few requests share would be none
/// client.get("http://orders.example/orders/17").with_extension(template).send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestMiddleware {
    config: Arc<Config>,
}

impl ReqwestMiddleware {
    /// A middleware with the defaults. Make it after the metrics recorder is installed: it describes its metrics then.
    #[must_use]
    pub fn new() -> Self {
        ClientLayer::new().into()
    }
}

impl Default for ReqwestMiddleware {
    fn default() -> Self {
        Self::new()
    }
}

/// With the layer's settings.
impl From<ClientLayer> for ReqwestMiddleware {
    fn from(layer: ClientLayer) -> Self {
        Self { config: layer.config }
    }
}

/// How often the request of these extensions was sent.
#[derive(Clone, Copy)]
struct Sent(u32);

#[async_trait]
impl Middleware for ReqwestMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let resends = extensions.get().map_or(0, |sent: &Sent| sent.0);
        extensions.insert(Sent(resends.saturating_add(1)));
        let mut running = {
            let url = request.url();
            let outgoing = Outgoing {
                method: request.method(),
                url: FullUrl {
                    scheme: url.scheme(),
                    has_credentials: !url.username().is_empty() || url.password().is_some(),
                    host: url.host_str().unwrap_or_default(),
                    port: url.port(),
                    path: url.path(),
                    query: Query::new(url.query(), self.config.query),
                },
                headers: request.headers(),
                template: extensions.get(),
                resends,
            };
            ClientExchange::begin(&self.config, &outgoing)
        };
        running.run(|| lgtm_core::propagation::inject(request.headers_mut()));
        let mut answer = pin!(next.run(request, extensions));
        poll_fn(|context| {
            running.step(
                || answer.as_mut().poll(context),
                |answer, span, exchange, _| match answer {
                    Poll::Ready(Ok(response)) => {
                        let (status, version, headers) = (response.status(), response.version(), response.headers());
                        exchange.see(span, Head { status, version, headers });
                        Some(End::Whole)
                    }
                    Poll::Ready(Err(error)) => Some(End::Failed { kind: kind(error), error: cause(error) }),
                    Poll::Pending => None,
                },
            )
        })
        .await
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Middleware(_) => "middleware",
        Error::Reqwest(error) if error.is_timeout() => TIMEOUT,
        Error::Reqwest(error) if error.is_connect() => CONNECT,
        Error::Reqwest(error) if error.is_redirect() => "redirect",
        Error::Reqwest(error) if error.is_body() => "body",
        Error::Reqwest(error) if error.is_builder() => "builder",
        Error::Reqwest(_) => "request",
    }
}

/// The innermost cause. What stands before it repeats the URL, with whatever secrets it has.
fn cause(error: &Error) -> &dyn Display {
    let mut cause: &dyn std::error::Error = match error {
        Error::Middleware(error) => return error.root_cause(),
        Error::Reqwest(error) => match error.source() {
            Some(cause) => cause,
            None => return &"",
        },
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}
