//! One request of a server: its span, its metrics, its line. Caller threads, inside the span.
//! Source: OpenTelemetry's semantic conventions 1.45, HTTP server spans.

use std::cell::LazyCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use lgtm_core::propagation::baggage;
use metrics::{Label, SharedString, counter, gauge, histogram};
use tracing::field::DisplayValue;
use tracing::{Span, field, record_all};

use super::{Config, route};
use crate::body::content_length;
use crate::catalogue::{
    ACTIVE_CONNECTIONS, REQUEST_BODY_SIZE_BYTES, REQUEST_DURATION_SECONDS, REQUESTS_ABORTED_TOTAL, REQUESTS_TOTAL,
    RESPONSE_BODY_SIZE_BYTES,
};
use crate::exchange::{End, Exchange, Head, Running};
use crate::method::{OTHER, SpanName, protocol_version};
use crate::peer::{Forwarded, peer};
use crate::remote::{Remote, RemoteContext};
use crate::url::{Query, address, split_host};
use crate::{NO_ROUTE, status};

const CANCELLED: &str = "cancelled";
const PANIC: &str = "panic";
/// The status under which a request is counted that was cancelled before its answer, after nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// The status under which one is counted that panicked or failed before its answer: a server error, as its caller sees it.
const INTERNAL_SERVER_ERROR: u16 = 500;

/// A request in flight. Wherever it ends, it leaves the gauge.
#[derive(Debug)]
pub struct ServerExchange {
    config: Arc<Config>,
    started: Instant,
    method: SharedString,
    route: Option<SharedString>,
    request_bytes: Option<u64>,
    /// That of the answer; 0: there is none yet.
    status: u16,
    is_head: bool,
    is_connect: bool,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Config").finish_non_exhaustive()
    }
}

impl ServerExchange {
    pub(super) fn begin(config: &Arc<Config>, request: &Parts) -> Running<Self> {
        let method = config.methods.name(&request.method);
        let route = route::of(config.route.as_ref(), request);
        let request_bytes = content_length(&request.headers);
        let takes_baggage = config.remote_context == RemoteContext::Parent && request.headers.contains_key("baggage");
        let baggage = takes_baggage.then(|| Arc::new(baggage::extract(&request.headers)));
        let span = open_span(config, request, &method, route.as_deref(), request_bytes);
        config.request_headers.show(&span, &request.headers);
        gauge!(ACTIVE_CONNECTIONS).increment(1.0);
        let exchange = Self {
            config: Arc::clone(config),
            started: Instant::now(),
            is_head: request.method == Method::HEAD,
            is_connect: request.method == Method::CONNECT,
            method,
            route,
            request_bytes,
            status: 0,
        };
        Running::new(span, baggage, exchange)
    }

    fn path(&self) -> SharedString {
        self.route.clone().unwrap_or(SharedString::const_str(NO_ROUTE))
    }

    fn count(&self, status: u16, aborted: Option<&'static str>, bytes: u64) {
        let method = || Label::new("method", self.method.clone());
        let path = || Label::new("path", self.path());
        if let Some(reason) = aborted {
            let labels = vec![method(), path(), Label::from_static_parts("reason", reason)];
            counter!(REQUESTS_ABORTED_TOTAL, labels).increment(1);
        }
        let labels = vec![method(), path(), Label::from_static_parts("status", status::text(status))];
        if self.config.body_sizes {
            if let Some(bytes) = self.request_bytes {
                histogram!(REQUEST_BODY_SIZE_BYTES, labels.clone()).record(bytes as f64);
            }
            histogram!(RESPONSE_BODY_SIZE_BYTES, labels.clone()).record(bytes as f64);
        }
        counter!(REQUESTS_TOTAL, labels.clone()).increment(1);
        histogram!(REQUEST_DURATION_SECONDS, labels).record(self.started.elapsed());
    }

    fn log(&self, status: u16, end: &End<'_>) {
        let method = &*self.method;
        let path = self.path();
        let endpoint = &*path;
        let latency_ms = self.started.elapsed().as_micros() as f64 / 1000.0;
        match end {
            End::Whole => {
                tracing::info!(target: "lgtm_http::server", method, endpoint, status, latency_ms, "request answered");
            }
            End::Dropped => {
                tracing::warn!(target: "lgtm_http::server", method, endpoint, latency_ms, "the caller hung up");
            }
            End::Failed { error, .. } => {
                let error = field::display(error);
                tracing::error!(target: "lgtm_http::server", method, endpoint, latency_ms, error, "the answer broke off");
            }
            End::Panicked(panic) => {
                tracing::error!(target: "lgtm_http::server", method, endpoint, latency_ms, panic, "the handler panicked");
            }
        }
    }
}

impl Exchange for ServerExchange {
    fn answered(&mut self, span: &Span, head: Head<'_>) -> bool {
        self.status = head.status.as_u16();
        self.config.response_headers.show(span, head.headers);
        // Upgraded connections belong to the protocol that follows; of the others no body is asked for (RFC 9110, section 6.4.1).
        self.is_head
            || (self.is_connect && head.status.is_success())
            || matches!(
                head.status,
                StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            )
    }

    fn trailers(&mut self, _: &Span, _: &HeaderMap) {}

    fn end(self, span: &Span, end: End<'_>, bytes: u64) {
        let (without_answer, aborted) = match end {
            End::Whole => (self.status, None),
            End::Dropped => (CLIENT_CLOSED_REQUEST, Some(CANCELLED)),
            End::Panicked(_) => (INTERNAL_SERVER_ERROR, Some("panicked")),
            End::Failed { .. } => (INTERNAL_SERVER_ERROR, Some("failed")),
        };
        let is_answered = self.status != 0;
        let status = if is_answered { self.status } else { without_answer };
        if !span.is_disabled() {
            let error_type = match end {
                End::Whole => (self.status >= 500).then(|| status::text(self.status)),
                End::Dropped => Some(CANCELLED),
                End::Panicked(_) => Some(PANIC),
                End::Failed { kind, .. } => Some(kind),
            };
            // One visit to the span for all that is known late.
            record_all!(
                span,
                http.response.status_code = is_answered.then_some(status),
                http.response.body.size = is_answered.then_some(bytes),
                error.type = error_type,
                otel.status_code = error_type.map(|_| "error"),
                otel.status_description = end.description(),
            );
        }
        self.count(status, aborted, bytes);
        if self.config.log_requests {
            self.log(status, &end);
        }
    }
}

impl Drop for ServerExchange {
    fn drop(&mut self) {
        gauge!(ACTIVE_CONNECTIONS).decrement(1.0);
    }
}

/// What the fields are made of is looked at only if the span is recorded.
fn open_span(config: &Config, request: &Parts, method: &str, route: Option<&str>, request_bytes: Option<u64>) -> Span {
    let headers = &request.headers;
    let uri = route::uri(request);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = LazyCell::new(|| if config.trusts_proxies { Forwarded::of(headers) } else { Forwarded::default() });
    let server = LazyCell::new(|| match (forwarded.host, uri.authority()) {
        (Some(host), _) => split_host(host),
        (None, Some(authority)) => (authority.host(), authority.port_u16()),
        (None, None) => text(header::HOST).map_or(("", None), split_host),
    });
    let peer = LazyCell::new(|| peer(&request.extensions));
    let mut remote = Remote::default();
    let span = tracing::info_span!(
        target: "lgtm_http::server",
        parent: remote.look(config.remote_context, headers),
        "HTTP request",
        otel.name = field::display(SpanName { method, target: route }),
        otel.kind = "server",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        http.request.method = method,
        http.request.method_original = (method == OTHER).then(|| request.method.as_str()),
        http.route = route,
        http.request.body.size = request_bytes,
        http.response.status_code = field::Empty,
        http.response.body.size = field::Empty,
        url.scheme = forwarded.scheme.or_else(|| uri.scheme_str()).unwrap_or(&config.scheme),
        url.path = uri.path(),
        url.query = Query::new(uri.query(), config.query).map(field::display),
        server.address = address(server.0),
        server.port = server.1,
        client.address = Client { forwarded: forwarded.client, peer: *peer }.shown(),
        network.protocol.version = protocol_version(request.version),
        // Said only where it is another one than the caller's.
        network.peer.address = peer.filter(|_| forwarded.client.is_some()).map(|peer| field::display(peer.ip())),
        user_agent.original = text(header::USER_AGENT),
        error.type = field::Empty,
    );
    remote.join(config.remote_context, &span);
    span
}

/// The caller's address: as a trusted proxy says, else the connection's.
struct Client<'a> {
    forwarded: Option<&'a str>,
    peer: Option<SocketAddr>,
}

impl<'a> Client<'a> {
    fn shown(self) -> Option<DisplayValue<Client<'a>>> {
        (self.forwarded.is_some() || self.peer.is_some()).then(|| field::display(self))
    }
}

impl fmt::Display for Client<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.forwarded, self.peer) {
            (Some(forwarded), _) => formatter.write_str(forwarded),
            (None, Some(peer)) => peer.ip().fmt(formatter),
            (None, None) => Ok(()),
        }
    }
}
