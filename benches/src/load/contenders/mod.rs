//! Who can carry the load: each as its own documentation sets it up, one file each.

mod lgtm;
mod opentelemetry;
mod tracing_loki;

use clap::ValueEnum;

use crate::Addresses;

/// What carries the telemetry.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Contender {
    /// lgtm, as it is by default.
    Lgtm,
    /// lgtm with a disk spool.
    LgtmSpool,
    /// tracing-loki: events only.
    TracingLoki,
    /// tracing-opentelemetry and opentelemetry-otlp over HTTP: spans, with the events in them.
    OpentelemetryOtlp,
    /// The same with room for 262,144 spans.
    OpentelemetryOtlpLargeQueue,
}

/// What a library says of its losses at the end.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Events; `None`: it does not count them.
    pub(crate) events: Option<u64>,
    /// Spans; `None`: it does not count them.
    pub(crate) spans: Option<u64>,
    pub(crate) said: String,
}

/// A library at work.
pub(crate) trait Running {
    /// Ends it as its documentation says.
    fn end(self: Box<Self>) -> Counted;
}

impl Contender {
    /// # Errors
    /// What the library says.
    pub(crate) fn start(self, addresses: &Addresses) -> anyhow::Result<Box<dyn Running>> {
        Ok(match self {
            Self::Lgtm => Box::new(lgtm::Lgtm::start(addresses, false)?),
            Self::LgtmSpool => Box::new(lgtm::Lgtm::start(addresses, true)?),
            Self::TracingLoki => Box::new(tracing_loki::TracingLoki::start(addresses)?),
            Self::OpentelemetryOtlp => Box::new(opentelemetry::Otlp::start(addresses, None)?),
            Self::OpentelemetryOtlpLargeQueue => Box::new(opentelemetry::Otlp::start(addresses, Some(262_144))?),
        })
    }
}
