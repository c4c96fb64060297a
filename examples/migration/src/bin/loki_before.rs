//! Logs to Loki by tracing-loki.

use std::error::Error;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use url::Url;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (layer, controller, task) = tracing_loki::builder()
        .label("service_name", "shop")?
        .label("environment", "staging")?
        .label("team", "books")?
        .build_controller_url(Url::parse(&std::env::var("LOKI_URL")?)?)?;
    tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();
    let task = tokio::spawn(task);

    migration::place_order(17, "ada");

    controller.shutdown().await;
    task.await?;
    Ok(())
}
