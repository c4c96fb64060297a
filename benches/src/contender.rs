//! Who can carry the load. Each is set up in a file of its own, as its documentation says.

use std::time::Duration;

use clap::ValueEnum;

use crate::contenders::{emit, fastrace, lgtm, metrics, opentelemetry, plain, together, tracing_loki};

/// What carries the telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// Nothing at all.
    Nothing,
    /// tracing-subscriber's registry: what every layer stands on.
    Registry,
    /// Its text layer, to a sink, below a filter.
    Fmt,
    /// All that `lgtm::init` sets up.
    Lgtm,
    /// The same under the profile `production`.
    LgtmProduction,
    /// lgtm's layers for Loki, Tempo and span metrics, with its recorder, on a registry.
    LgtmLayers,
    /// lgtm's layer for Loki alone.
    LgtmLoki,
    /// The same with a stream for each value of a field.
    LgtmLokiStreams,
    /// lgtm's layer for Tempo alone, over HTTP.
    LgtmTempo,
    /// The same over gRPC.
    LgtmTempoGrpc,
    /// The same over HTTP with a sampler that takes nothing.
    LgtmTempoUnsampled,
    /// lgtm's layer for span metrics, with its recorder.
    LgtmSpanmetrics,
    /// lgtm's recorder alone.
    LgtmMimir,
    /// The same, pushing by remote write 2.0.
    LgtmMimirTwo,
    /// tracing-loki.
    TracingLoki,
    /// tracing-opentelemetry with the SDK's batch processor, and an exporter that sends nothing.
    OpentelemetryNull,
    /// The same with opentelemetry-otlp over HTTP.
    OpentelemetryHttp,
    /// The same without the attributes for location, thread, and busy and idle time.
    OpentelemetryHttpPlain,
    /// With them, and with room for 262,144 spans.
    OpentelemetryHttpLarge,
    /// The same over gRPC.
    OpentelemetryGrpc,
    /// The same over HTTP with a sampler that takes nothing.
    OpentelemetryUnsampled,
    /// OpenTelemetry's own interface, over HTTP.
    OpentelemetryApi,
    /// fastrace, reporting to OTLP over HTTP.
    Fastrace,
    /// emit with emit_otlp over HTTP.
    Emit,
    /// tracing-loki, tracing-opentelemetry over HTTP and metrics-exporter-prometheus on one registry.
    Together,
    /// metrics-exporter-prometheus.
    MetricsExporterPrometheus,
    /// prometheus.
    Prometheus,
    /// prometheus-client.
    PrometheusClient,
}

/// By which interface a program speaks to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// `tracing` and `metrics`.
    Facades,
    Opentelemetry,
    Fastrace,
    Emit,
    Prometheus,
    PrometheusClient,
}

/// How it is set up.
pub(crate) struct Settings {
    /// The URL of the backend of all signals.
    pub(crate) backend: String,
    /// A full queue makes the calling thread wait.
    pub(crate) blocking: bool,
}

/// How long a calling thread waits at most, and how long an end may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A library at work.
pub(crate) trait Running: Sync {
    /// The metrics as a scraper would get them; `None`: it has none.
    fn scrape(&self) -> anyhow::Result<Option<String>> {
        Ok(None)
    }

    /// Sends what waits; `false`: it cannot be asked to.
    ///
    /// # Errors
    /// What the library says.
    fn flush(&self) -> anyhow::Result<bool> {
        Ok(false)
    }

    /// Ends it as its documentation says, with what it says of that.
    fn end(self: Box<Self>) -> String;
}

impl Contender {
    pub(crate) const fn interface(self) -> Interface {
        match self {
            Self::OpentelemetryApi => Interface::Opentelemetry,
            Self::Fastrace => Interface::Fastrace,
            Self::Emit => Interface::Emit,
            Self::Prometheus => Interface::Prometheus,
            Self::PrometheusClient => Interface::PrometheusClient,
            _ => Interface::Facades,
        }
    }

    /// # Errors
    /// What the library says.
    pub(crate) fn start(self, settings: &Settings) -> anyhow::Result<Box<dyn Running>> {
        use lgtm::Layers;
        use opentelemetry::{Front, Transport};
        Ok(match self {
            Self::Nothing | Self::Prometheus | Self::PrometheusClient => Box::new(plain::Nothing),
            Self::Registry => Box::new(plain::registry()?),
            Self::Fmt => Box::new(plain::fmt()?),
            Self::Lgtm => Box::new(lgtm::Facade::start(settings, ::lgtm::Profile::Development)?),
            Self::LgtmProduction => Box::new(lgtm::Facade::start(settings, ::lgtm::Profile::Production)?),
            Self::LgtmLayers => Box::new(lgtm::start(settings, Layers::ALL)?),
            Self::LgtmLoki => Box::new(lgtm::start(settings, Layers { loki: true, ..Layers::NONE })?),
            Self::LgtmLokiStreams => {
                Box::new(lgtm::start(settings, Layers { loki: true, has_streams: true, ..Layers::NONE })?)
            }
            Self::LgtmTempo => Box::new(lgtm::start(settings, Layers { tempo: true, ..Layers::NONE })?),
            Self::LgtmTempoGrpc => {
                Box::new(lgtm::start(settings, Layers { tempo: true, is_grpc: true, ..Layers::NONE })?)
            }
            Self::LgtmTempoUnsampled => {
                Box::new(lgtm::start(settings, Layers { tempo: true, is_unsampled: true, ..Layers::NONE })?)
            }
            Self::LgtmSpanmetrics => {
                Box::new(lgtm::start(settings, Layers { spanmetrics: true, mimir: true, ..Layers::NONE })?)
            }
            Self::LgtmMimir => Box::new(lgtm::start(settings, Layers { mimir: true, ..Layers::NONE })?),
            Self::LgtmMimirTwo => {
                Box::new(lgtm::start(settings, Layers { mimir: true, is_remote_write_2: true, ..Layers::NONE })?)
            }
            Self::TracingLoki => Box::new(tracing_loki::TracingLoki::start(settings)?),
            Self::OpentelemetryNull => Box::new(opentelemetry::start(settings, Transport::None, Front::Tracing)?),
            Self::OpentelemetryHttp => Box::new(opentelemetry::start(settings, Transport::Http, Front::Tracing)?),
            Self::OpentelemetryHttpPlain => {
                Box::new(opentelemetry::start(settings, Transport::Http, Front::TracingPlain)?)
            }
            Self::OpentelemetryHttpLarge => {
                Box::new(opentelemetry::start(settings, Transport::HttpLargeQueue, Front::Tracing)?)
            }
            Self::OpentelemetryGrpc => Box::new(opentelemetry::start(settings, Transport::Grpc, Front::Tracing)?),
            Self::OpentelemetryUnsampled => {
                Box::new(opentelemetry::start(settings, Transport::HttpUnsampled, Front::Tracing)?)
            }
            Self::OpentelemetryApi => Box::new(opentelemetry::start(settings, Transport::Http, Front::Api)?),
            Self::Fastrace => Box::new(fastrace::Fastrace::start(settings)?),
            Self::Emit => Box::new(emit::start(settings)?),
            Self::Together => Box::new(together::start(settings)?),
            Self::MetricsExporterPrometheus => Box::new(metrics::Exporter::start()?),
        })
    }
}
