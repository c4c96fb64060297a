//! OpenTelemetry's SDK with its batch processor and opentelemetry-otlp's exporter, behind tracing-opentelemetry's layer or by its own
//! interface.

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData};
use tokio::runtime::Runtime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::contender::{Running, Settings};

/// How spans leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// They do not.
    None,
    Http,
    HttpLargeQueue,
    HttpUnsampled,
    Grpc,
}

/// How a program makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Tracing,
    /// Without the attributes for location, thread, and busy and idle time, which are on by default.
    TracingPlain,
    Api,
}

/// A tracer provider at work.
pub(crate) struct Sdk {
    provider: SdkTracerProvider,
    /// gRPC wants one.
    _runtime: Option<Runtime>,
}

/// Room in the large queue, in spans.
const LARGE: usize = 262_144;

pub(crate) fn start(settings: &Settings, transport: Transport, front: Front) -> anyhow::Result<Sdk> {
    let sdk = provider(settings, transport)?;
    match front {
        Front::Api => {
            global::set_tracer_provider(sdk.provider.clone());
        }
        Front::TracingPlain => {
            let layer = tracing_opentelemetry::layer().with_location(false).with_threads(false).with_target(false);
            let layer = layer.with_tracked_inactivity(false).with_tracer(sdk.provider.tracer("cost"));
            tracing_subscriber::registry().with(layer).try_init()?;
        }
        Front::Tracing => {
            let layer = tracing_opentelemetry::layer().with_tracer(sdk.provider.tracer("cost"));
            tracing_subscriber::registry().with(layer).try_init()?;
        }
    }
    Ok(sdk)
}

/// The provider, for a layer of the caller's.
pub(crate) fn provider(settings: &Settings, transport: Transport) -> anyhow::Result<Sdk> {
    let resource = Resource::builder().with_service_name("cost").build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let mut runtime = None;
    let builder = match transport {
        Transport::None => builder.with_batch_exporter(Null),
        Transport::Http => builder.with_batch_exporter(http_exporter(settings)?),
        Transport::HttpUnsampled => {
            builder.with_sampler(Sampler::AlwaysOff).with_batch_exporter(http_exporter(settings)?)
        }
        Transport::HttpLargeQueue => {
            let config = BatchConfigBuilder::default().with_max_queue_size(LARGE).build();
            let processor = BatchSpanProcessor::builder(http_exporter(settings)?).with_batch_config(config).build();
            builder.with_span_processor(processor)
        }
        Transport::Grpc => {
            let own = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let exporter = {
                let _entered = own.enter();
                SpanExporter::builder().with_tonic().with_endpoint(&settings.backend).build()?
            };
            runtime = Some(own);
            builder.with_batch_exporter(exporter)
        }
    };
    Ok(Sdk { provider: builder.build(), _runtime: runtime })
}

pub(crate) fn http_exporter(settings: &Settings) -> anyhow::Result<SpanExporter> {
    let builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    Ok(builder.with_endpoint(format!("{}/v1/traces", settings.backend)).build()?)
}

impl Sdk {
    pub(crate) fn tracer(&self) -> opentelemetry_sdk::trace::SdkTracer {
        self.provider.tracer("cost")
    }
}

impl Running for Sdk {
    fn flush(&self) -> anyhow::Result<bool> {
        self.provider.force_flush()?;
        Ok(true)
    }

    fn end(self: Box<Self>) -> String {
        match self.provider.shutdown() {
            Ok(()) => "shut down".to_owned(),
            Err(error) => format!("shutdown: {error}"),
        }
    }
}

/// Sends nothing.
#[derive(Debug)]
struct Null;

impl opentelemetry_sdk::trace::SpanExporter for Null {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}
