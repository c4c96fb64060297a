//! A program that makes telemetry as fast as it can, for measurements of what dead backends do to it.
//!
//! ```text
//! storm <loki-url> <otlp-http-url> <mimir-url> <iterations> <shutdown-milliseconds>
//! ```
//!
//! Each iteration is one span with one event and one sample of a histogram. At the end one line of JSON, [`lgtm_tests::storm::Outcome`].

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]

use std::error::Error;
use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, Worker};
use lgtm_tests::storm::{Counts, Outcome, resident_bytes};
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [loki, otlp, mimir, iterations, shutdown] = arguments.as_slice() else {
        return Err("usage: storm <loki-url> <otlp-http-url> <mimir-url> <iterations> <shutdown-milliseconds>".into());
    };
    let iterations: u64 = iterations.parse()?;
    let shutdown = Duration::from_millis(shutdown.parse()?);

    let identity = Identity::new("storm");
    let worker = Worker::spawn()?;
    let (loki, logs) = lgtm_loki::builder()
        .endpoint(Endpoint::parse(loki)?)
        .identity(identity.clone())
        .worker(worker.clone())
        .build()?;
    let (tempo, spans) = lgtm_tempo::builder()
        .endpoint(Endpoint::parse(otlp)?)
        .protocol(lgtm_tempo::Protocol::Http)
        .identity(identity.clone())
        .worker(worker.clone())
        .build()?;
    let mimir =
        lgtm_mimir::builder().push(Endpoint::parse(mimir)?).identity(identity.clone()).worker(worker).build()?;
    mimir.install()?;
    let samples = mimir.pipeline().ok_or("no push")?.clone();
    tracing_subscriber::registry().with(loki).with(tempo).with(lgtm_spanmetrics::layer(&identity)).init();

    let resident_before = resident_bytes();
    let mut resident_peak = resident_before;
    let started = Instant::now();
    for number in 0..iterations {
        tracing::info_span!("request", method = "GET", route = "/orders/{id}", number).in_scope(|| {
            tracing::info!(latency_ms = 12_u64, "order placed");
            metrics::histogram!("order_duration_seconds").record(0.012);
        });
        if number % 1024 == 0 {
            resident_peak = resident_peak.max(resident_bytes());
        }
    }
    let loop_seconds = started.elapsed().as_secs_f64();
    resident_peak = resident_peak.max(resident_bytes());

    let started = Instant::now();
    let deadline = started + shutdown;
    let pipelines = [logs, spans, samples];
    for pipeline in &pipelines {
        pipeline.begin_shutdown(deadline);
    }
    for pipeline in &pipelines {
        // What misses its deadline shows in the time.
        let _ = pipeline.wait_ended(deadline + Duration::from_secs(60));
    }
    let shutdown_seconds = started.elapsed().as_secs_f64();
    let signals = pipelines.iter().map(|pipeline| Counts::from(&pipeline.report())).collect();
    let outcome = Outcome { iterations, loop_seconds, shutdown_seconds, resident_before, resident_peak, signals };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
