//! A program with a durable spool, for tests that kill it.
//!
//! ```text
//! spooler <folder> <loki-url> <otlp-http-url> <run> <lines> <items of a batch>
//! ```
//!
//! It makes `lines` spans, each with an event, numbered within the run, and tells every few milliseconds, a line each time, how many
//! lines and spans of its own are safe: on disk, or delivered. At the end it sends what it can within a minute and tells, as JSON,
//! what became of all.

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Pipeline, PipelineOptions};
use lgtm_core::{Endpoint, Identity, SpoolOptions, Worker};
use lgtm_tests::storm::Counts;
use tracing_subscriber::prelude::*;

/// Lines made at a time.
const BURST: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, loki, otlp, run, lines, batch] = arguments.as_slice() else {
        return Err("usage: spooler <folder> <loki-url> <otlp-http-url> <run> <lines> <items of a batch>".into());
    };
    let (run, lines): (u64, u64) = (run.parse()?, lines.parse()?);
    let mut options = PipelineOptions::default();
    options.batch.items = batch.parse()?;
    options.batch.age = Duration::from_millis(3);
    options.retry.initial = Duration::from_millis(5);
    options.retry.max = Duration::from_millis(50);
    let mut spool = SpoolOptions::new(folder);
    spool.durable = true;
    // Small files: many come and go.
    spool.segment_bytes = Some(32 * 1024);
    options.spool = Some(spool);
    let worker = Worker::spawn()?;
    let identity = Identity::new("spooler");
    let (logs_layer, logs) = lgtm_loki::builder()
        .endpoint(Endpoint::parse(loki)?)
        .identity(identity.clone())
        .worker(worker.clone())
        .options(options.clone())
        .build()?;
    let (spans_layer, spans) = lgtm_tempo::builder()
        .endpoint(Endpoint::parse(otlp)?)
        .protocol(lgtm_tempo::Protocol::Http)
        .identity(identity)
        .worker(worker)
        .options(options)
        .build()?;
    tracing_subscriber::registry().with(logs_layer).with(spans_layer).init();
    let pipelines = [logs, spans];

    let mut out = std::io::stdout().lock();
    for line in 0..lines {
        tracing::info_span!("work", run, line).in_scope(|| tracing::info!(run, line, "made"));
        if line % BURST == 0 {
            std::thread::sleep(Duration::from_millis(1));
            let [lines, spans] = pipelines.each_ref().map(safe);
            writeln!(out, "{lines} {spans}")?;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    for pipeline in &pipelines {
        pipeline.begin_shutdown(deadline);
    }
    for pipeline in &pipelines {
        let _ = pipeline.wait_ended(deadline + Duration::from_secs(60));
    }
    let counts = pipelines.each_ref().map(|pipeline| Counts::from(&pipeline.report()));
    writeln!(out, "{}", serde_json::to_string(&counts)?)?;
    Ok(())
}

/// What one thread makes becomes safe in its order, after all of earlier runs.
fn safe(pipeline: &Pipeline) -> u64 {
    let report = pipeline.report();
    (report.delivered + report.rejected + report.spooled).saturating_sub(report.recovered)
}
