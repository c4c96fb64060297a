//! The layers one by one, on a registry of the program's own, beside a layer of another library. Nothing of the facade.
//!
//! ```text
//! LOKI_URL=http://localhost:3100 TEMPO_URL=http://localhost:4317 cargo run --package layers
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let url = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let identity = Identity::new("layers");
    let (loki, logs) = lgtm_loki::builder()
        .endpoint(Endpoint::parse(&url("LOKI_URL", "http://localhost:3100"))?)
        .identity(identity.clone())
        .label("team", "books")
        .format(lgtm_loki::Format::Logfmt)
        .build()?;
    let (tempo, spans) = lgtm_tempo::builder()
        .endpoint(Endpoint::parse(&url("TEMPO_URL", "http://localhost:4317"))?)
        .identity(identity.clone())
        .build()?;
    // In any order; each with a filter of its own.
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN))
        .with(tempo.with_filter(LevelFilter::INFO))
        .with(loki.with_filter(LevelFilter::DEBUG))
        .with(lgtm_spanmetrics::layer(&identity))
        .init();

    tracing::info_span!("order", id = 17).in_scope(|| {
        tracing::debug!("for Loki alone");
        tracing::warn!(copies = 3, "stock is low");
    });

    let deadline = Instant::now() + Duration::from_secs(5);
    let mut lost = 0;
    for pipeline in [&logs, &spans] {
        pipeline.begin_shutdown(deadline);
        let _ = pipeline.wait_ended(deadline);
        lost += pipeline.report().lost();
    }
    if lost > 0 { Err(format!("{lost} items were lost").into()) } else { Ok(()) }
}
