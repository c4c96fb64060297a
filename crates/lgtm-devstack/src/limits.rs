//! The limits that keep the stack in bounded memory, and its connections free.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Limits in bytes, and of time. What is stored is measured by an estimate of the memory it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Log entries held. Defaults to 64 MiB.
    pub log_bytes: usize,
    /// Spans held. Defaults to 64 MiB.
    pub trace_bytes: usize,
    /// Samples, exemplars and series held. Defaults to 64 MiB.
    pub metric_bytes: usize,
    /// Requests held, with their bodies. Defaults to 32 MiB.
    pub request_bytes: usize,
    /// One request's body as it is on the wire. Defaults to 32 MiB.
    pub body_bytes: usize,
    /// One request's body decompressed. Defaults to 32 MiB. Two are decoded at a time.
    pub decompressed_bytes: usize,
    /// All bodies in flight together; further requests wait. Defaults to 128 MiB; at least `body_bytes` is used.
    pub in_flight_bytes: usize,
    /// How long a client may take for a request's head, and between two requests. Defaults to 30 s.
    pub head_timeout: Duration,
    /// How long a client may take to take an answer. Defaults to 30 s.
    pub answer_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 64 * MIB,
            trace_bytes: 64 * MIB,
            metric_bytes: 64 * MIB,
            request_bytes: 32 * MIB,
            body_bytes: 32 * MIB,
            decompressed_bytes: 32 * MIB,
            in_flight_bytes: 128 * MIB,
            head_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
        }
    }
}
