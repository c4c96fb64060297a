//! The running whole: recorder, pipeline, scrape endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use lgtm_core::pipeline::Pipeline;

use crate::exposition::Format;
use crate::recorder::Recorder;
use crate::registry::Registry;
use crate::renderer::Renderer;
use crate::scrape::Scrape;

/// Metrics that are recorded, pushed and scraped. Dropping it closes the scrape endpoint, and the pipeline if no handle to it
/// is left.
#[derive(Debug)]
pub struct Mimir {
    registry: Arc<Registry>,
    pipeline: Option<Pipeline>,
    scrape: Option<Scrape>,
}

/// The program has a global recorder already; it keeps that one.
#[derive(Debug, thiserror::Error)]
#[error("a global recorder of metrics is set already; only one is accepted")]
#[non_exhaustive]
pub struct InstallError;

impl Mimir {
    pub(crate) fn new(registry: Arc<Registry>, pipeline: Option<Pipeline>, scrape: Option<Scrape>) -> Self {
        Self { registry, pipeline, scrape }
    }

    /// The recorder, for [`metrics::set_global_recorder`], [`metrics::with_local_recorder`] or a layer of `metrics-util`.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.registry))
    }

    /// Makes the recorder the global one.
    ///
    /// # Errors
    /// [`InstallError`] if there is one already.
    pub fn install(&self) -> Result<(), InstallError> {
        metrics::set_global_recorder(self.recorder()).map_err(|_| InstallError)
    }

    /// The metrics as text, for programs that serve them themselves.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        self.renderer().render(format)
    }

    /// What renders the metrics, for a program's own server: it can be cloned into handlers.
    #[must_use]
    pub fn renderer(&self) -> Renderer {
        Renderer::new(Arc::clone(&self.registry))
    }

    /// A provider of OpenTelemetry's instruments, whose metrics are beside those of the `metrics` crate: see
    /// [`opentelemetry`](crate::opentelemetry). To be kept, or to be made the global one; each call gives another one, with a
    /// thread of its own.
    ///
    /// # Errors
    /// What the operating system says when it cannot give a thread.
    #[cfg(feature = "opentelemetry")]
    pub fn meter_provider(&self) -> std::io::Result<crate::opentelemetry::MeterProvider> {
        crate::opentelemetry::meter_provider(&self.registry, self.pipeline.as_ref())
    }

    /// A reader for one `SdkMeterProvider` of the program's own, with views of its own: see
    /// [`opentelemetry`](crate::opentelemetry).
    ///
    /// # Errors
    /// As [`Mimir::meter_provider`].
    #[cfg(feature = "opentelemetry")]
    pub fn opentelemetry_reader(&self) -> std::io::Result<crate::opentelemetry::Reader> {
        crate::opentelemetry::reader(&self.registry, self.pipeline.as_ref())
    }

    /// The pipeline of remote write, if it pushes.
    #[must_use]
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.as_ref()
    }

    /// The address of the scrape endpoint, if it has one.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.scrape.as_ref().map(Scrape::local_addr)
    }
}
