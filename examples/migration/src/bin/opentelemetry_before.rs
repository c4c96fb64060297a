//! Spans over OTLP by tracing-opentelemetry and opentelemetry-otlp.
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says where.

use std::collections::HashMap;
use std::error::Error;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("shop").build())
        .with_batch_exporter(exporter)
        .build();
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("shop")))
        .init();

    let span = migration::request_span();
    let headers = migration::incoming_headers();
    let caller = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
    span.set_parent(caller)?;
    span.in_scope(|| {
        migration::answer();
        let mut headers = HashMap::new();
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut headers);
        });
        migration::send(&headers);
    });
    drop(span);

    provider.shutdown()?;
    Ok(())
}
