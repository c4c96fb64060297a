//! Configuration: from endpoint, identity and sampler to a layer and its running pipeline.

use std::io;
use std::sync::Arc;

use lgtm_core::otlp::Protocol;
use lgtm_core::pipeline::{Pipeline, PipelineOptions, StartError};
use lgtm_core::span::{Attachment, KeepRules, Limits, Role};
use lgtm_core::{Endpoint, Identity, Sampler, Worker};

use crate::detail::Detail;
use crate::layer::Layer;
use crate::otlp;

/// Tempo's usual address for OTLP over gRPC.
const DEFAULT_GRPC: &str = "http://localhost:4317";
/// Tempo's usual address for OTLP over HTTP.
const DEFAULT_HTTP: &str = "http://localhost:4318";

/// Why a layer could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint or the spool cannot work.
    #[error("Tempo {0}")]
    Start(#[from] StartError),
    /// The worker could not be started.
    #[error("the worker thread could not be started: {0}")]
    Worker(#[from] io::Error),
}

/// Begins a Tempo layer. See [`Builder`] for the defaults.
#[must_use]
pub fn builder() -> Builder {
    Builder::default()
}

/// Configures a Tempo layer.
#[derive(Debug, Default)]
pub struct Builder {
    endpoint: Option<Endpoint>,
    protocol: Protocol,
    identity: Option<Identity>,
    worker: Option<Worker>,
    sampler: Sampler,
    keep: Option<KeepRules>,
    limits: Option<Limits>,
    detail: Detail,
    options: PipelineOptions,
}

impl Builder {
    /// Where to send. Over HTTP an endpoint without a path gets `/v1/traces`. Defaults to `http://localhost:4317` for gRPC
    /// and `http://localhost:4318` for HTTP.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// How to send. Defaults to gRPC.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Who sends. Defaults to the executable's name.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The worker that sends. Defaults to the one that all layers without one share.
    #[must_use]
    pub fn worker(mut self, worker: Worker) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Which traces are recorded. Defaults to `parentbased_always_on`.
    #[must_use]
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.sampler = sampler;
        self
    }

    /// What keeps a trace that the sampler leaves out: an error in it, or a local root that takes long. Its spans wait until
    /// the local root closes. Spans that are kept say why (`lgtm.sampling.reason`) and with which probability
    /// (`lgtm.sampling.probability`). Off by default.
    ///
    /// This is about the part of a trace that happens in this process: other services do not hear of it.
    #[must_use]
    pub fn keep(mut self, rules: KeepRules) -> Self {
        self.keep = Some(rules);
        self
    }

    /// Bounds of a span's attributes, events and links. What is left out is counted on the span. Defaults to those of the
    /// OpenTelemetry specification.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// What spans say beside their fields: location, thread, busy and idle time, backtraces. Nothing by default.
    #[must_use]
    pub fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// Bounds, overflow, batches and retries.
    #[must_use]
    pub fn options(mut self, options: PipelineOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts the pipeline and gives its layer.
    ///
    /// # Errors
    /// [`BuildError`] names what cannot work. An unreachable receiver is no error: spans wait in the queue.
    pub fn build(self) -> Result<(Layer, Pipeline), BuildError> {
        let mut attachment = Attachment::new(Role::Exporter, Some(self.sampler.clone()));
        if let Some(limits) = self.limits {
            attachment = attachment.with_limits(limits);
        }
        if let Some(rules) = self.keep {
            attachment = attachment.with_keep_rules(rules);
        }
        let (detail, limits) = (self.detail, self.limits);
        let (pipeline, _) = self.start(Arc::default())?;
        Ok((Layer::new(pipeline.shared_queue(), attachment, detail, limits), pipeline))
    }

    /// Starts the pipeline and gives an OpenTelemetry tracer provider that exports through it, and tracing-opentelemetry's
    /// layer on that provider: the [other front door](crate::opentelemetry).
    ///
    /// # Errors
    /// As [`Builder::build`].
    #[cfg(feature = "opentelemetry")]
    pub fn build_opentelemetry<S>(
        self,
    ) -> Result<(crate::opentelemetry::Layer<S>, opentelemetry_sdk::trace::SdkTracerProvider, Pipeline), BuildError>
    where
        S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        let rules = self.keep;
        let (sampler, limits, detail) = (self.sampler.clone(), self.limits.unwrap_or_default(), self.detail);
        let (scopes, encoded) = crate::opentelemetry::scopes();
        let (pipeline, identity) = self.start(encoded)?;
        let (layer, provider) =
            crate::opentelemetry::start(&identity, sampler, limits, detail, rules, scopes, &pipeline);
        Ok((layer, provider, pipeline))
    }

    fn start(self, scopes: Arc<otlp::Scopes>) -> Result<(Pipeline, Identity), BuildError> {
        let identity = self.identity.unwrap_or_default();
        let endpoint = match (self.endpoint, self.protocol) {
            (Some(endpoint), _) => endpoint,
            (None, Protocol::Http) => Endpoint::parse(DEFAULT_HTTP).map_err(StartError::from)?,
            (None, _) => Endpoint::parse(DEFAULT_GRPC).map_err(StartError::from)?,
        };
        let worker = match self.worker {
            Some(worker) => worker,
            None => Worker::shared()?,
        };
        let target = self.protocol.target(endpoint, otlp::GRPC_PATH, otlp::HTTP_PATH);
        let signal = otlp::Otlp::new(&identity, scopes);
        Ok((Pipeline::start(signal, target, self.options, &worker)?, identity))
    }
}
