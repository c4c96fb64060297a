//! Metrics to be scraped, by metrics-exporter-prometheus.

use std::error::Error;

use metrics_exporter_prometheus::PrometheusBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let address = migration::metrics_address()?;
    let builder = PrometheusBuilder::new().with_http_listener(address);
    builder.set_buckets(&migration::SECONDS)?.install()?;

    migration::count_orders();

    migration::wait_for_the_end()?;
    Ok(())
}
