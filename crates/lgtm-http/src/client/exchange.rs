//! One request of a client: its span, its metrics. Caller threads, inside the span.
//! Source: OpenTelemetry's semantic conventions 1.45, HTTP client spans.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Version, response};
use metrics::{Label, SharedString, counter, histogram};
use tracing::{Span, field};

use super::{Config, UrlTemplate};
use crate::body::content_length;
use crate::catalogue::{CLIENT_REQUEST_DURATION_SECONDS, CLIENT_REQUESTS_TOTAL};
use crate::exchange::{End, Exchange, Running};
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
            is_head: request.method == Method::HEAD,
            watches_body: false,
        };
        Running::new(span, None, exchange)
    }

    pub(super) fn show_answer(&mut self, span: &Span, status: StatusCode, version: Version, headers: &HeaderMap) {
        self.status = status.as_u16();
        span.record("http.response.status_code", self.status);
        if let Some(version) = protocol_version(version) {
            span.record("network.protocol.version", version);
        }
        self.config.response_headers.show(span, headers);
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
    fn answered(&mut self, span: &Span, head: &response::Parts) -> bool {
        self.watches_body = true;
        self.show_answer(span, head.status, head.version, &head.headers);
        self.is_head || matches!(head.status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT)
    }

    fn trailers(&mut self, _: &Span, _: &HeaderMap) {}

    fn end(self, span: &Span, end: End<'_>, bytes: u64) {
        if !span.is_disabled() {
            if self.watches_body {
                span.record("http.response.body.size", bytes);
            }
            let refused = self.status >= 400;
            let error_type = match end {
                End::Failed { kind, .. } => Some(kind),
                End::Panicked(_) => Some("panic"),
                _ if refused => Some(status::text(self.status)),
                // Whoever no longer wants an answer has not met an error.
                End::Whole | End::Dropped => None,
            };
            if let Some(error_type) = error_type {
                span.record("error.type", error_type);
                span.record("otel.status_code", "error");
            }
            match end {
                End::Failed { error, .. } => {
                    span.record("otel.status_description", field::display(error));
                }
                End::Panicked(message) => {
                    span.record("otel.status_description", field::display(format_args!("panicked: {message}")));
                }
                End::Whole | End::Dropped => {}
            }
        }
        self.count(match end {
            _ if self.status != 0 => status::text(self.status),
            End::Failed { kind, .. } if WORDS.contains(&kind) => kind,
            End::Dropped => CANCELLED,
            _ => FAILED,
        });
    }
}
