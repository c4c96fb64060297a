//! The layers under test, on one registry in any order, with their pipelines. Caller threads.

use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Overflow, Pipeline, PipelineOptions};
use lgtm_core::{Endpoint, Identity, Sampler, SignalReport, Worker};
use lgtm_devstack::Devstack;
use lgtm_tempo::Protocol;
use tracing::Dispatch;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

/// The bound on everything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How the layers are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who sends.
    pub identity: Identity,
    /// How spans travel.
    pub protocol: Protocol,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// For both pipelines. Nothing is dropped by default: a full queue makes its callers wait.
    pub options: PipelineOptions,
    /// What else the Loki layer is told.
    pub loki: fn(lgtm_loki::Builder) -> lgtm_loki::Builder,
    /// What else the Tempo layer is told.
    pub tempo: fn(lgtm_tempo::Builder) -> lgtm_tempo::Builder,
}

impl Settings {
    /// Settings of a service with this name.
    #[must_use]
    pub fn of(service_name: &str) -> Self {
        let mut options = PipelineOptions::default();
        options.overflow = Overflow::Block(PATIENCE);
        Self {
            identity: Identity::new(service_name),
            protocol: Protocol::default(),
            sampler: Sampler::default(),
            options,
            loki: std::convert::identity,
            tempo: std::convert::identity,
        }
    }

    /// Starts layers and pipelines that send to this stack.
    #[must_use]
    pub fn start(&self, stack: &Devstack) -> (Layers, Pipelines) {
        let traces = match self.protocol {
            Protocol::Http => stack.otlp_http_url(),
            _ => stack.otlp_grpc_url(),
        };
        self.start_at(&stack.loki_url(), &traces)
    }

    /// Starts layers and pipelines that send to these addresses.
    #[must_use]
    pub fn start_at(&self, loki: &str, traces: &str) -> (Layers, Pipelines) {
        let worker = Worker::spawn().expect("a worker");
        let (loki, logs) = (self.loki)(lgtm_loki::builder())
            .endpoint(Endpoint::parse(loki).expect("Loki's address"))
            .identity(self.identity.clone())
            .worker(worker.clone())
            .options(self.options.clone())
            .build()
            .expect("a Loki layer");
        let (tempo, spans) = (self.tempo)(lgtm_tempo::builder())
            .endpoint(Endpoint::parse(traces).expect("Tempo's address"))
            .protocol(self.protocol)
            .identity(self.identity.clone())
            .worker(worker)
            .sampler(self.sampler.clone())
            .options(self.options.clone())
            .build()
            .expect("a Tempo layer");
        let spanmetrics = lgtm_spanmetrics::layer(&self.identity);
        (Layers { loki, tempo, spanmetrics }, Pipelines { logs, spans })
    }
}

/// The layers, not yet on a registry.
#[derive(Debug)]
pub struct Layers {
    /// Logs.
    pub loki: lgtm_loki::Layer,
    /// Spans.
    pub tempo: lgtm_tempo::Layer,
    /// Counts and times of spans.
    pub spanmetrics: lgtm_spanmetrics::Layer,
}

/// The order in which layers are put on a registry, the innermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Loki, Tempo, span metrics.
    #[default]
    LokiTempoMetrics,
    /// Loki, span metrics, Tempo.
    LokiMetricsTempo,
    /// Tempo, Loki, span metrics.
    TempoLokiMetrics,
    /// Tempo, span metrics, Loki.
    TempoMetricsLoki,
    /// Span metrics, Loki, Tempo.
    MetricsLokiTempo,
    /// Span metrics, Tempo, Loki.
    MetricsTempoLoki,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 6] = [
        Self::LokiTempoMetrics,
        Self::LokiMetricsTempo,
        Self::TempoLokiMetrics,
        Self::TempoMetricsLoki,
        Self::MetricsLokiTempo,
        Self::MetricsTempoLoki,
    ];
}

impl Layers {
    /// All layers on one registry.
    #[must_use]
    pub fn dispatch(self, order: Order) -> Dispatch {
        let Self { loki, tempo, spanmetrics } = self;
        let registry = tracing_subscriber::registry();
        match order {
            Order::LokiTempoMetrics => Dispatch::new(registry.with(loki).with(tempo).with(spanmetrics)),
            Order::LokiMetricsTempo => Dispatch::new(registry.with(loki).with(spanmetrics).with(tempo)),
            Order::TempoLokiMetrics => Dispatch::new(registry.with(tempo).with(loki).with(spanmetrics)),
            Order::TempoMetricsLoki => Dispatch::new(registry.with(tempo).with(spanmetrics).with(loki)),
            Order::MetricsLokiTempo => Dispatch::new(registry.with(spanmetrics).with(loki).with(tempo)),
            Order::MetricsTempoLoki => Dispatch::new(registry.with(spanmetrics).with(tempo).with(loki)),
        }
    }
}

/// The layers as the subscriber of this whole process, whose backends run in it too: their libraries' own events are left
/// out, or each request would make more of them.
///
/// # Panics
/// If the process has a subscriber already.
pub fn set_for_process(layers: Layers) {
    let Layers { loki, tempo, spanmetrics } = layers;
    let libraries = ["h2", "hyper", "hyper_util", "tokio", "tonic", "tower", "tower_http", "axum"];
    let own = filter_fn(move |metadata| {
        let library = metadata.target().split("::").next().unwrap_or_default();
        !libraries.contains(&library)
    });
    tracing_subscriber::registry().with(tempo).with(loki).with(spanmetrics).with(own).init();
}

/// The running pipelines.
#[derive(Debug)]
pub struct Pipelines {
    /// To Loki.
    pub logs: Pipeline,
    /// To Tempo.
    pub spans: Pipeline,
}

impl Pipelines {
    /// Sends everything that was admitted; fails the test if that does not end.
    pub fn flush(&self) {
        let deadline = Instant::now() + PATIENCE;
        let flushes = [(&self.logs, self.logs.begin_flush()), (&self.spans, self.spans.begin_flush())];
        for (pipeline, flush) in &flushes {
            assert!(pipeline.wait_flushed(flush, deadline), "the flush did not end: {}", pipeline.report());
        }
    }

    /// Ends both pipelines within this time; what became of the items. Fails the test if they do not end.
    #[must_use]
    pub fn shutdown(&self, within: Duration) -> [SignalReport; 2] {
        let deadline = Instant::now() + within;
        let both = [&self.logs, &self.spans];
        for pipeline in both {
            pipeline.begin_shutdown(deadline);
        }
        both.map(|pipeline| {
            // The deadline is the pipeline's; it needs a moment to say that it has ended.
            let ended = pipeline.wait_ended(deadline + PATIENCE);
            assert!(ended, "the pipeline did not end: {}", pipeline.report());
            pipeline.report()
        })
    }
}
