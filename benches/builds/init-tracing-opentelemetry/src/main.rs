//! A span with an event in it, through init-tracing-opentelemetry, as its documentation shows.

#[tracing::instrument]
fn place_order(id: u64) {
    tracing::info!(order = id, "order placed");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _guard = init_tracing_opentelemetry::TracingConfig::production().init_subscriber()?;
    place_order(1);
    Ok(())
}
