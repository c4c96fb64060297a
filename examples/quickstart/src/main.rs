//! Logs, traces and counts a few orders. `OTEL_SERVICE_NAME`, `LOKI_URL`, `TEMPO_ENDPOINT` and `MIMIR_ENDPOINT` say who and where.

use std::time::Instant;

#[tracing::instrument]
fn place_order(id: u64) {
    let started = Instant::now();
    tracing::info!(order = id, "order placed");
    metrics::counter!("orders_total").increment(1);
    metrics::histogram!("order_duration_seconds").record(started.elapsed());
}

fn main() -> Result<(), lgtm::Error> {
    let telemetry = lgtm::init()?;
    (1..=10).for_each(place_order);
    drop(telemetry); // sends what is left, within a deadline
    Ok(())
}
