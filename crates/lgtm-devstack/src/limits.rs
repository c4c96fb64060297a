//! The limits that keep the stack in bounded memory.

const MIB: usize = 1024 * 1024;

/// Limits in bytes. What is stored is measured by an estimate of the memory it takes.
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
    /// One request's body decompressed. Defaults to 128 MiB.
    pub decompressed_bytes: usize,
    /// All bodies in flight together; further requests wait. Defaults to 128 MiB; at least `body_bytes` is used.
    pub in_flight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 64 * MIB,
            trace_bytes: 64 * MIB,
            metric_bytes: 64 * MIB,
            request_bytes: 32 * MIB,
            body_bytes: 32 * MIB,
            decompressed_bytes: 128 * MIB,
            in_flight_bytes: 128 * MIB,
        }
    }
}
