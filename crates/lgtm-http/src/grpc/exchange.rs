//! One call, on either side: its span, its metrics. Caller threads, inside the span.
//! Source: OpenTelemetry's semantic conventions 1.45, RPC spans and gRPC.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Request, StatusCode, header};
use lgtm_core::propagation::baggage;
use metrics::{Label, SharedString, counter, gauge, histogram};
use percent_encoding::percent_decode_str;
use tracing::span::Id;
use tracing::{Span, field, record_all};

use super::Config;
use super::code::Code;
use super::methods::Method;
use crate::RemoteContext;
use crate::catalogue::{
    RPC_CLIENT_REQUEST_DURATION_SECONDS, RPC_CLIENT_REQUESTS_TOTAL, RPC_SERVER_ACTIVE_REQUESTS,
    RPC_SERVER_REQUEST_DURATION_SECONDS, RPC_SERVER_REQUESTS_TOTAL,
};
use crate::exchange::{End, Exchange, Head, Running};
use crate::method::OTHER;
use crate::peer::peer;
use crate::remote::Remote;
use crate::url::{address, split_host};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// A call in flight.
#[derive(Debug)]
pub struct CallExchange {
    config: Arc<Config>,
    side: Side,
    started: Instant,
    method: Method,
    /// What `grpc-status` says.
    code: Option<Code>,
    /// The status came with the head: an answer without messages.
    trailers_only: bool,
    http_status: StatusCode,
}

impl CallExchange {
    pub(super) fn serve<B>(config: &Arc<Config>, request: &Request<B>) -> Running<Self> {
        let method = config.methods.of_path(request.uri().path());
        let headers = request.headers();
        let takes_baggage = config.remote_context == RemoteContext::Parent && headers.contains_key("baggage");
        let baggage = takes_baggage.then(|| Arc::new(baggage::extract(headers)));
        let server = || match request.uri().authority() {
            Some(authority) => (authority.host(), authority.port_u16()),
            None => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                host.map_or(("", None), split_host)
            }
        };
        let mut remote = Remote::default();
        let parent = || remote.look(config.remote_context, headers);
        let span = open_span(Side::Server, &method, request, parent, server);
        remote.join(config.remote_context, &span);
        config.request_metadata.show(&span, headers);
        gauge!(RPC_SERVER_ACTIVE_REQUESTS).increment(1.0);
        Running::new(span, baggage, Self::new(config, Side::Server, method))
    }

    pub(super) fn ask<B>(config: &Arc<Config>, request: &Request<B>) -> Running<Self> {
        let method = config.methods.of_path(request.uri().path());
        let server = || match (&config.server, request.uri().authority()) {
            (Some((address, port)), _) => (address.as_str(), *port),
            (None, Some(authority)) => (authority.host(), authority.port_u16()),
            (None, None) => ("", None),
        };
        let span = open_span(Side::Client, &method, request, || Span::current().id(), server);
        config.request_metadata.show(&span, request.headers());
        Running::new(span, None, Self::new(config, Side::Client, method))
    }

    fn new(config: &Arc<Config>, side: Side, method: Method) -> Self {
        Self {
            config: Arc::clone(config),
            side,
            started: Instant::now(),
            method,
            code: None,
            trailers_only: false,
            http_status: StatusCode::OK,
        }
    }

    /// The status, and what it says.
    fn show_status(&mut self, span: &Span, headers: &HeaderMap) {
        self.code = Code::of(headers).or(self.code);
        if self.code.is_some_and(|code| self.is_error(code))
            && let Some(message) = headers.get("grpc-message").and_then(|message| message.to_str().ok())
        {
            // As it travels: percent-encoded UTF-8.
            let message = percent_decode_str(message).decode_utf8_lossy();
            span.record("otel.status_description", &*message);
        }
    }

    fn is_error(&self, code: Code) -> bool {
        match self.side {
            Side::Server => code.is_server_error(),
            Side::Client => code != Code::OK,
        }
    }

    /// The label `method`. A new method is known from now on, unless the server says that there is none.
    fn label(&self, span: &Span, code: Code) -> SharedString {
        let method = match &self.method {
            Method::Known(name) => Some(name),
            Method::New(name) => {
                let is_absent = self.side == Side::Server && self.trailers_only && code == Code::UNIMPLEMENTED;
                let is_known = !is_absent && self.config.methods.learn(name);
                if !is_known {
                    span.record("rpc.method", OTHER);
                    span.record("rpc.method_original", &**name);
                    span.record("otel.name", "grpc");
                }
                is_known.then_some(name)
            }
            Method::Other => None,
        };
        method.map_or(SharedString::const_str(OTHER), |name| SharedString::from_shared(Arc::clone(name)))
    }
}

impl Exchange for CallExchange {
    fn answered(&mut self, span: &Span, head: Head<'_>) -> bool {
        self.http_status = head.status;
        self.config.response_metadata.show(span, head.headers);
        self.show_status(span, head.headers);
        self.trailers_only = self.code.is_some();
        self.trailers_only
    }

    fn trailers(&mut self, span: &Span, trailers: &HeaderMap) {
        self.show_status(span, trailers);
    }

    fn end(self, span: &Span, end: End<'_>, _: u64) {
        let code = match (self.code, &end) {
            (Some(code), _) => code,
            (None, End::Dropped) => Code::CANCELLED,
            (None, End::Panicked(_)) => Code::UNKNOWN,
            // The connection broke, or there was none.
            (None, End::Failed { .. }) if self.side == Side::Client => Code::UNAVAILABLE,
            (None, End::Failed { .. }) => Code::UNKNOWN,
            (None, End::Whole) => Code::of_http(self.http_status),
        };
        let method = self.label(span, code);
        if !span.is_disabled() {
            let is_told = self.code.is_some();
            let error_type = match end {
                End::Panicked(_) => Some("panic"),
                End::Failed { kind, .. } if !is_told => Some(kind),
                _ if self.is_error(code) => Some(code.name()),
                _ => None,
            };
            record_all!(
                span,
                rpc.status_code = code.name(),
                error.type = error_type,
                otel.status_code = error_type.map(|_| "error"),
                // What the status says is there already.
                otel.status_description = end.description().filter(|_| !is_told),
            );
        }
        let labels = vec![Label::new("method", method), Label::from_static_parts("code", code.name())];
        let took = self.started.elapsed();
        match self.side {
            Side::Server => {
                counter!(RPC_SERVER_REQUESTS_TOTAL, labels.clone()).increment(1);
                histogram!(RPC_SERVER_REQUEST_DURATION_SECONDS, labels).record(took);
            }
            Side::Client => {
                counter!(RPC_CLIENT_REQUESTS_TOTAL, labels.clone()).increment(1);
                histogram!(RPC_CLIENT_REQUEST_DURATION_SECONDS, labels).record(took);
            }
        }
    }
}

impl Drop for CallExchange {
    fn drop(&mut self) {
        if self.side == Side::Server {
            gauge!(RPC_SERVER_ACTIVE_REQUESTS).decrement(1.0);
        }
    }
}

/// What the fields are made of is looked at only if the span is recorded.
fn open_span<'a, B>(
    side: Side,
    method: &Method,
    request: &Request<B>,
    parent: impl FnOnce() -> Option<Id>,
    server: impl FnOnce() -> (&'a str, Option<u16>),
) -> Span {
    let server = LazyCell::new(server);
    let peer = LazyCell::new(|| (side == Side::Server).then(|| peer(request.extensions())).flatten());
    tracing::info_span!(
        target: "lgtm_http::grpc",
        parent: parent(),
        "gRPC call",
        otel.name = method.name().map_or("grpc", |name| name),
        otel.kind = if side == Side::Server { "server" } else { "client" },
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method.name().map_or(OTHER, |name| name),
        rpc.method_original = method.name().is_none().then(|| request.uri().path()),
        rpc.status_code = field::Empty,
        server.address = address(server.0),
        server.port = server.1,
        network.peer.address = (*peer).map(|peer| field::display(peer.ip())),
        network.peer.port = (*peer).map(|peer| peer.port()),
        error.type = field::Empty,
    )
}
