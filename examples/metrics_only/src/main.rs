//! Metrics alone: the other signals are not even compiled in.
//!
//! ```text
//! MIMIR_ENDPOINT=http://localhost:9009 cargo run --package metrics_only
//! ```

fn main() -> Result<(), lgtm::Error> {
    let telemetry = lgtm::init()?;
    let requests = metrics::counter!("requests_total", "path" => "/");
    let seconds = metrics::histogram!("request_duration_seconds");
    for request in 1..=100 {
        // Handles that are kept cost an atomic each.
        requests.increment(1);
        seconds.record(f64::from(request) / 1000.0);
    }
    drop(telemetry); // the last values, and then the markers that say that no more come
    Ok(())
}
