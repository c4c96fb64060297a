//! Scripted replies: what an endpoint answers to its next requests instead of doing its work.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tonic::Code;

/// A place where requests arrive, each with its own script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Endpoint {
    /// Loki's `POST /loki/api/v1/push`.
    LokiPush,
    /// OTLP traces over gRPC.
    OtlpGrpc,
    /// OTLP traces over HTTP, `POST /v1/traces`.
    OtlpHttp,
    /// OTLP logs over gRPC.
    OtlpLogsGrpc,
    /// OTLP logs over HTTP: `POST /v1/logs`, and Loki's `POST /otlp/v1/logs`.
    OtlpLogsHttp,
    /// OTLP metrics over gRPC.
    OtlpMetricsGrpc,
    /// OTLP metrics over HTTP: `POST /v1/metrics`, Mimir's `/otlp/v1/metrics`, Prometheus' `/api/v1/otlp/v1/metrics`.
    OtlpMetricsHttp,
    /// Remote write, `POST /api/v1/push` and `/api/v1/write`.
    RemoteWrite,
    /// Loki's query API.
    LokiQuery,
    /// Tempo's trace and search API.
    TempoQuery,
    /// The Prometheus query API.
    PrometheusQuery,
}

impl Endpoint {
    /// The signal that the endpoint takes or gives.
    #[must_use]
    pub fn signal(self) -> Signal {
        match self {
            Self::LokiPush | Self::OtlpLogsGrpc | Self::OtlpLogsHttp | Self::LokiQuery => Signal::Logs,
            Self::OtlpGrpc | Self::OtlpHttp | Self::TempoQuery => Signal::Traces,
            Self::RemoteWrite | Self::OtlpMetricsGrpc | Self::OtlpMetricsHttp | Self::PrometheusQuery => {
                Signal::Metrics
            }
        }
    }

    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::OtlpGrpc | Self::OtlpLogsGrpc | Self::OtlpMetricsGrpc)
    }

    pub(crate) fn is_otlp(self) -> bool {
        self.is_grpc() || matches!(self, Self::OtlpHttp | Self::OtlpLogsHttp | Self::OtlpMetricsHttp)
    }
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Log entries.
    Logs,
    /// Spans.
    Traces,
    /// Samples and exemplars.
    Metrics,
}

/// One scripted reply, for one request unless [`times`](Self::times) or [`always`](Self::always) says otherwise.
///
/// A reply that stands for a failure does not store what the request carried; [`stored`](Self::stored) changes
/// that, to play a server that stored and then failed. A mistake in a script (an invalid header, a partial success
/// for an endpoint that has none) is answered with status 500 and a text that names it.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) kind: ReplyKind,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) delay: Duration,
    pub(crate) stored: bool,
    remaining: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) enum ReplyKind {
    Normal,
    Http(StatusCode),
    Grpc { code: Code, message: String, retry_after: Option<Duration> },
    PartialSuccess { rejected: i64, message: String },
    Reset,
    Never,
    Mistake(String),
}

impl Reply {
    fn new(kind: ReplyKind, stored: bool) -> Self {
        Self { kind, headers: HeaderMap::new(), body: Bytes::new(), delay: Duration::ZERO, stored, remaining: Some(1) }
    }

    /// The normal behaviour, for use with [`delay`](Self::delay) or between failures. Stores.
    #[must_use]
    pub fn normal() -> Self {
        Self::new(ReplyKind::Normal, true)
    }

    /// An HTTP answer with this status, 100 to 999, and an empty body. Stores nothing, whatever the status.
    ///
    /// On the gRPC endpoint it is what a proxy between would answer: a plain HTTP response.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let kind = match StatusCode::from_u16(status) {
            Ok(status) => ReplyKind::Http(status),
            Err(_) => ReplyKind::Mistake(format!("scripted status {status} is not between 100 and 999")),
        };
        Self::new(kind, false)
    }

    /// A gRPC status. On an HTTP endpoint it becomes the HTTP status that OTLP names for the code, with the
    /// message as the body. Stores nothing.
    #[must_use]
    pub fn grpc(code: Code, message: impl Into<String>) -> Self {
        Self::new(ReplyKind::Grpc { code, message: message.into(), retry_after: None }, false)
    }

    /// Success with OTLP's `partial_success`: so many spans rejected, and why. For the OTLP endpoints. Stores.
    #[must_use]
    pub fn partial_success(rejected: i64, message: impl Into<String>) -> Self {
        Self::new(ReplyKind::PartialSuccess { rejected, message: message.into() }, true)
    }

    /// Reads the request, then resets the connection (TCP RST). Stores nothing.
    #[must_use]
    pub fn reset() -> Self {
        Self::new(ReplyKind::Reset, false)
    }

    /// Reads the request and never answers; the client's time-out ends it. Stores nothing.
    #[must_use]
    pub fn never() -> Self {
        Self::new(ReplyKind::Never, false)
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => self.kind = ReplyKind::Mistake(format!("scripted header {name:?}: {value:?} is not valid HTTP")),
        }
        self
    }

    /// Tells the client when to come back: a `Retry-After` header in whole seconds (rounded up), or RetryInfo for a
    /// [`grpc`](Self::grpc) reply.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        if let ReplyKind::Grpc { retry_after, .. } = &mut self.kind {
            *retry_after = Some(delay);
            return self;
        }
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        self.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// The body of an HTTP reply. Defaults to empty.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits before answering (or before resetting). The request is stored and recorded before the wait.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Whether what the request carries is stored, under the normal validation, although the script answers.
    #[must_use]
    pub fn stored(mut self, stored: bool) -> Self {
        self.stored = stored;
        self
    }

    /// Serves this many requests instead of one; 0 serves none.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.remaining = Some(requests);
        self
    }

    /// Serves every request until the script is cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.remaining = None;
        self
    }
}

/// One reply is a script of one.
impl IntoIterator for Reply {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

/// The scripts of all endpoints.
#[derive(Default)]
pub(crate) struct Scripts {
    queues: Mutex<HashMap<Endpoint, VecDeque<Reply>>>,
}

impl Scripts {
    pub(crate) fn extend(&self, endpoint: Endpoint, replies: impl IntoIterator<Item = Reply>) {
        self.queues.lock().entry(endpoint).or_default().extend(replies);
    }

    pub(crate) fn clear(&self, endpoint: Endpoint) {
        self.queues.lock().remove(&endpoint);
    }

    /// How many requests the script will still answer; `None` without end.
    pub(crate) fn remaining(&self, endpoint: Endpoint) -> Option<u64> {
        let queues = self.queues.lock();
        let Some(queue) = queues.get(&endpoint) else {
            return Some(0);
        };
        queue.iter().try_fold(0, |sum, reply| reply.remaining.map(|remaining| sum + u64::from(remaining)))
    }

    pub(crate) fn next(&self, endpoint: Endpoint) -> Option<Reply> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(&endpoint)?;
        while let Some(front) = queue.front_mut() {
            match &mut front.remaining {
                None => return Some(front.clone()),
                Some(0) => {
                    queue.pop_front();
                }
                Some(remaining) => {
                    *remaining -= 1;
                    return Some(front.clone());
                }
            }
        }
        None
    }
}
