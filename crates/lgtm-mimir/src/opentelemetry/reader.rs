//! The SDK's side: a reader that is asked, and asks nobody. Threads of the program; the collection itself is the collector's.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lgtm_core::is_suppressed;
use lgtm_core::pipeline::Pipeline;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, Temporality};

use super::collector::Collector;

/// The longest that `force_flush` blocks: the API gives no deadline.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Brings the metrics of one `SdkMeterProvider` into the recorder, cumulatively: made by
/// [`Mimir::opentelemetry_reader`](crate::Mimir::opentelemetry_reader), for a provider of the program's own, with views of its own.
///
/// `force_flush` collects, pushes and waits, at most 5 s. `shutdown` does that a last time, within its own time; the recorder
/// and its push go on, and so do the last values. A provider that is dropped is shut down.
#[derive(Debug)]
pub struct Reader {
    collector: Arc<Collector>,
    pipeline: Option<Pipeline>,
}

impl Reader {
    pub(crate) fn new(collector: Arc<Collector>, pipeline: Option<Pipeline>) -> Self {
        Self { collector, pipeline }
    }

    /// The push collects.
    fn flush(&self, timeout: Duration) -> OTelSdkResult {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + FLUSH_TIMEOUT);
        let flush = pipeline.begin_flush();
        // The worker cannot wait for itself, nor the collector for the worker that waits for it.
        if is_suppressed() || pipeline.wait_flushed(&flush, deadline) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(timeout))
        }
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<opentelemetry_sdk::metrics::Pipeline>) {
        self.collector.reader.register_pipeline(pipeline);
        self.collector.register();
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.collector.reader.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush(FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        // The SDK's reader is left as it is: a callback that hangs has its lock, and nobody asks it any more.
        self.collector.collect();
        let flushed = self.flush(timeout);
        self.collector.close();
        flushed
    }

    fn temporality(&self, _: InstrumentKind) -> Temporality {
        Temporality::Cumulative
    }
}
