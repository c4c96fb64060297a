//! One request of a client: its span, its metrics. Caller threads, inside the span.
//! Source: OpenTelemetry's semantic conventions 1.45, HTTP client spans.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode};
use metrics::{Label, SharedString, counter, histogram};
use tracing::{Span, field, record_all};

use super::{Config, UrlTemplate};
use crate::body::content_length;
use crate::catalogue::{CLIENT_REQUEST_DURATION_SECONDS, CLIENT_REQUESTS_TOTAL};
use crate::exchange::{End, Exchange, Head, Running};
use crate::method::{OTHER, SpanName, protocol_version};
use crate::status;
use crate::url::FullUrl;

/// The label `status` of requests that were given up before their answer.
const CANCELLED: &str = "cancelled";
/// The same for those that failed without an answer, unless it is known why.
const FAILED: &str = "error";
/// Why they failed, where it is known: reqwest says it.
pub(super) const TIMEOUT: &str = "timeout";
pub(super) const CONNECT: &str = "connect";
const WORDS: [&str; 2] = [TIMEOUT, CONNECT];

/// What is to be said of a request before it is sent.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) url: FullUrl<'a>,
    pub(super) headers: &'a HeaderMap,
    pub(super) template: Option<&'a UrlTemplate>,
    /// How often it was sent before.
    pub(super) resends: u32,
}

/// A request that was sent.
#[derive(Debug)]
pub struct ClientExchange {
    config: Arc<Config>,
    started: Instant,
    method: SharedString,
    server: SharedString,
    /// That of the answer; 0: there is none yet.
    status: u16,
    version: Option<&'static str>,
    is_head: bool,
    watches_body: bool,
}

impl ClientExchange {
    pub(super) fn begin(config: &Arc<Config>, request: &Outgoing<'_>) -> Running<Self> {
        let method = config.methods.name(request.method);
        let template = request.template.map(|template| &*template.0);
        let span = tracing::info_span!(
            target: "lgtm_http::client",
            "HTTP request",
            otel.name = field::display(SpanName { method: &method, target: template }),
            otel.kind = "client",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            http.request.method = &*method,
            http.request.method_original = (&*method == OTHER).then(|| request.method.as_str()),
            http.request.resend_count = (request.resends > 0).then_some(request.resends),
            http.request.body.size = content_length(request.headers),
            http.response.status_code = field::Empty,
            http.response.body.size = field::Empty,
            url.full = field::display(request.url),
            url.template = template,
            server.address = request.url.address(),
            server.port = request.url.port_or_usual(),
            network.protocol.version = field::Empty,
            error.type = field::Empty,
        );
        config.request_headers.show(&span, request.headers);
        let server = request.url.address().filter(|_| config.labels_server);
        let exchange = Self {
            config: Arc::clone(config),
            started: Instant::now(),
            method,
            server: server.map_or(SharedString::const_str(""), |server| SharedString::from_shared(Arc::from(server))),
            status: 0,
            version: None,
            is_head: request.method == Method::HEAD,
            watches_body: false,
        };
        Running::new(span, None, exchange)
    }

    /// True if no body follows.
    pub(super) fn see(&mut self, span: &Span, head: Head<'_>) -> bool {
        self.status = head.status.as_u16();
        self.version = protocol_version(head.version);
        self.config.response_headers.show(span, head.headers);
        self.is_head || matches!(head.status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT)
    }

    fn count(&self, status: &'static str) {
        let labels = vec![
            Label::new("method", self.method.clone()),
            Label::new("server_address", self.server.clone()),
            Label::from_static_parts("status", status),
        ];
        counter!(CLIENT_REQUESTS_TOTAL, labels.clone()).increment(1);
        histogram!(CLIENT_REQUEST_DURATION_SECONDS, labels).record(self.started.elapsed());
    }
}

impl Exchange for ClientExchange {
    fn answered(&mut self, span: &Span, head: Head<'_>) -> bool {
        self.watches_body = true;
        self.see(span, head)
    }

    fn trailers(&mut self, _: &Span, _: &HeaderMap) {}

    fn end(self, span: &Span, end: End<'_>, bytes: u64) {
        let is_answered = self.status != 0;
        if !span.is_disabled() {
            let error_type = match end {
                End::Failed { kind, .. } => Some(kind),
                End::Panicked(_) => Some("panic"),
                // Whoever no longer wants an answer has not met an error.
                End::Whole | End::Dropped => (self.status >= 400).then(|| status::text(self.status)),
            };
            // One visit to the span for all that is known late.
            record_all!(
                span,
                http.response.status_code = is_answered.then_some(self.status),
                http.response.body.size = self.watches_body.then_some(bytes),
                network.protocol.version = self.version,
                error.type = error_type,
                otel.status_code = error_type.map(|_| "error"),
                otel.status_description = end.description(),
            );
        }
        self.count(match end {
            _ if is_answered => status::text(self.status),
            End::Failed { kind, .. } if WORDS.contains(&kind) => kind,
            End::Dropped => CANCELLED,
            _ => FAILED,
        });
    }
}
