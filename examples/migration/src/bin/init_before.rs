//! Spans over OTLP and lines on standard output by init-tracing-opentelemetry.
//! `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and `RUST_LOG` say where, who and what.

use std::error::Error;

use init_tracing_opentelemetry::TracingConfig;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _guard = TracingConfig::production().init_subscriber()?;

    migration::request_span().in_scope(migration::answer);

    Ok(())
}
