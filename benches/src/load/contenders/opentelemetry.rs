//! tracing-opentelemetry with opentelemetry-otlp's exporter over HTTP and the SDK's batch processor; events travel in their spans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Counted, Running};
use crate::Addresses;

pub(super) struct Otlp {
    provider: SdkTracerProvider,
    dropped: Arc<AtomicU64>,
}

impl Otlp {
    pub(super) fn start(addresses: &Addresses, queue: Option<usize>) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", addresses.otlp))
            .build()?;
        let builder = SdkTracerProvider::builder();
        let provider = match queue {
            None => builder.with_batch_exporter(exporter),
            Some(spans) => {
                let config = BatchConfigBuilder::default().with_max_queue_size(spans).build();
                builder.with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(config).build())
            }
        };
        let provider = provider.build();
        let dropped = Arc::new(AtomicU64::new(0));
        tracing_subscriber::registry()
            .with(SaysDropped(Arc::clone(&dropped)))
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("load")))
            .try_init()?;
        Ok(Self { provider, dropped })
    }
}

impl Running for Otlp {
    fn end(self: Box<Self>) -> Counted {
        let said = match self.provider.shutdown() {
            Ok(()) => "shut down".to_owned(),
            Err(error) => format!("shutdown: {error}"),
        };
        let spans = self.dropped.load(Ordering::Relaxed);
        // Each span takes its events along.
        Counted { events: None, spans: Some(spans), said }
    }
}

/// Hears how many spans the SDK says, at its shutdown, that it has dropped.
struct SaysDropped(Arc<AtomicU64>);

impl<S: Subscriber> Layer<S> for SaysDropped {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("opentelemetry") {
            event.record(&mut Dropped(&self.0));
        }
    }
}

struct Dropped<'a>(&'a AtomicU64);

impl Visit for Dropped<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "dropped_span_count" {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
