//! The same spans over OTLP by lgtm. `OTEL_EXPORTER_OTLP_ENDPOINT` says where.

use std::collections::HashMap;
use std::error::Error;

use lgtm::propagation;

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = lgtm::builder().service_name("shop").init()?;

    let span = migration::request_span();
    let headers = migration::incoming_headers();
    propagation::set_parent(&span, &headers)?;
    span.in_scope(|| {
        migration::answer();
        let mut headers = HashMap::new();
        propagation::inject(&mut headers);
        migration::send(&headers);
    });
    drop(span);

    drop(telemetry);
    Ok(())
}
