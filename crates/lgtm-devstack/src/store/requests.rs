//! The requests as they came over the wire, with what was answered.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::SignalCounts;
use crate::script::{Endpoint, Signal};

/// One request to an ingest or query endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// The endpoint it came to.
    pub endpoint: Endpoint,
    /// Method.
    pub method: Method,
    /// Path with query.
    pub path: String,
    /// All headers; for gRPC, the metadata.
    pub headers: HeaderMap,
    /// The body as it was on the wire, compressed if it was sent so; for gRPC with the 5-byte message prefix.
    pub body: Bytes,
    /// When its body was complete.
    pub received_at: SystemTime,
    /// What was answered, or will be after a scripted delay.
    pub answer: Answer,
    /// True if a script gave the answer.
    pub scripted: bool,
}

impl ReceivedRequest {
    /// The signal of the endpoint.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.endpoint.signal()
    }

    /// A header's value as text, `None` if absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The HTTP status answered; `None` where the answer was a reset or never came. 200 for gRPC.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.answer {
            Answer::Http(status) => Some(status),
            Answer::Grpc(_) => Some(200),
            Answer::Reset | Answer::Never => None,
        }
    }

    /// The body without its compression (snappy block or gzip, by the headers) and without gRPC framing.
    /// `None` if it does not decode or would exceed 256 MiB.
    #[must_use]
    pub fn decoded_body(&self) -> Option<Vec<u8>> {
        const LIMIT: u64 = 256 * 1024 * 1024;
        let gunzip = |bytes: &[u8]| {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes).take(LIMIT).read_to_end(&mut plain).ok().map(|_| plain)
        };
        if self.endpoint.is_grpc() {
            let (prefix, message) = self.body.split_at_checked(5)?;
            return if prefix.first() == Some(&1) { gunzip(message) } else { Some(message.to_vec()) };
        }
        let content_type = self.header("content-type").unwrap_or_default();
        let encoding = self.header("content-encoding").unwrap_or_default();
        let loki_protobuf = self.endpoint == Endpoint::LokiPush && !content_type.starts_with("application/json");
        if encoding == "gzip" {
            gunzip(&self.body)
        } else if encoding == "snappy" || loki_protobuf {
            let length = snap::raw::decompress_len(&self.body).ok()?;
            if length as u64 > LIMIT {
                return None;
            }
            snap::raw::Decoder::new().decompress_vec(&self.body).ok()
        } else {
            Some(self.body.to_vec())
        }
    }

    fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 48).sum();
        256 + self.path.len() + headers + self.body.len()
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP response with this status.
    Http(u16),
    /// A gRPC response with this status code; 0 is OK.
    Grpc(i32),
    /// The connection was reset.
    Reset,
    /// No answer was given while the connection lasted.
    Never,
}

pub(crate) struct RequestLog {
    limit_bytes: usize,
    requests: VecDeque<Arc<ReceivedRequest>>,
    counts: SignalCounts,
}

impl RequestLog {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, requests: VecDeque::new(), counts: SignalCounts::default() }
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Arc<ReceivedRequest>> {
        self.requests.iter()
    }

    pub(super) fn counts(&self) -> SignalCounts {
        self.counts
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit_bytes);
    }

    pub(super) fn push(&mut self, request: ReceivedRequest) {
        self.counts.received += 1;
        self.counts.held += 1;
        self.counts.held_bytes += request.size() as u64;
        self.requests.push_back(Arc::new(request));
        while self.counts.held_bytes > self.limit_bytes as u64 {
            let Some(oldest) = self.requests.pop_front() else {
                return;
            };
            self.counts.held -= 1;
            self.counts.held_bytes -= oldest.size() as u64;
            self.counts.evicted += 1;
        }
    }
}
