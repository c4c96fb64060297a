//! The ports of the listeners, and how a taken one is replaced.

/// Ports of the listeners; 0 asks the system for a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Loki: push and query.
    pub loki: u16,
    /// OTLP traces over gRPC.
    pub otlp_grpc: u16,
    /// OTLP traces over HTTP.
    pub otlp_http: u16,
    /// Tempo's query API.
    pub tempo: u16,
    /// Mimir: remote write and query.
    pub mimir: u16,
    /// The window, the page that shows what was received. Without the feature `window` there is no such listener.
    pub window: u16,
}

impl Ports {
    /// The ports on which the real servers listen: 3100, 4317, 4318, 3200, 9009; and 4320 for the window.
    #[must_use]
    pub fn usual() -> Self {
        Self { loki: 3100, otlp_grpc: 4317, otlp_http: 4318, tempo: 3200, mimir: 9009, window: 4320 }
    }

    /// Free ports, chosen by the system. The default.
    #[must_use]
    pub fn free() -> Self {
        Self { loki: 0, otlp_grpc: 0, otlp_http: 0, tempo: 0, mimir: 0, window: 0 }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self::free()
    }
}

/// A listener that is not on the port that was asked for, because that one was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedPort {
    /// What listens: `Loki`, `OTLP gRPC`, `OTLP HTTP`, `Tempo`, `Mimir` or `Window`.
    pub service: &'static str,
    /// The port that was asked for.
    pub wanted: u16,
    /// The port it is on.
    pub actual: u16,
}
