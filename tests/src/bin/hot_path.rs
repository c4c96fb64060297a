//! The hot path for a profiler: one span with three fields and one event with a message and one field inside, again and
//! again, under all layers and the recorder with exemplars, against a backend that takes everything.
//!
//! ```text
//! hot_path <iterations> [layer ...]      layers: loki, tempo, spanmetrics, mimir; all of them by default
//! hot_path <iterations> line             Loki alone: an event with three fields, in one span with two
//! hot_path <iterations> facade           what `lgtm::init` sets up: all of them, under its filters
//! ```
//!
//! What one iteration costs the calling thread is the difference of two runs, divided by the difference of their iterations:
//!
//! ```text
//! valgrind --tool=callgrind --separate-threads=yes hot_path 1000
//! valgrind --tool=callgrind --separate-threads=yes hot_path 11000
//! ```
//!
//! The calling thread is thread 1.

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]

use std::error::Error;
use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, Worker};
use lgtm_tests::discard::Discard;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let iterations: u64 = arguments.next().ok_or("usage: hot_path <iterations> [layer ...]")?.parse()?;
    let wanted: Vec<String> = arguments.collect();
    let on = |layer: &str| wanted.is_empty() || wanted.iter().any(|name| name == layer);

    let backend = Discard::start()?;
    if on("facade") && !wanted.is_empty() {
        return under_the_facade(iterations, &backend);
    }
    let endpoint = Endpoint::parse(&backend.url())?;
    let worker = Worker::spawn()?;
    let identity = Identity::new("hot-path");
    let mut pipelines = Vec::new();
    let line = wanted.iter().any(|name| name == "line");
    let loki = if on("loki") || line {
        let builder = lgtm_loki::builder().endpoint(endpoint.clone()).identity(identity.clone()).worker(worker.clone());
        let (layer, pipeline) = builder.build()?;
        pipelines.push(pipeline);
        Some(layer)
    } else {
        None
    };
    let tempo = if on("tempo") {
        let builder = lgtm_tempo::builder().endpoint(endpoint.clone()).protocol(lgtm_tempo::Protocol::Http);
        let (layer, pipeline) = builder.identity(identity.clone()).worker(worker.clone()).build()?;
        pipelines.push(pipeline);
        Some(layer)
    } else {
        None
    };
    let mimir = if on("mimir") {
        let mimir = lgtm_mimir::builder().push(endpoint).identity(identity.clone()).worker(worker).build()?;
        mimir.install()?;
        Some(mimir)
    } else {
        None
    };
    let spanmetrics = on("spanmetrics").then(|| lgtm_spanmetrics::layer(&identity));
    // A layer inside an `Option` is not told of its registry before its first span: boxed layers are.
    let mut layers: Vec<Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync>> = Vec::new();
    match (loki, tempo, spanmetrics) {
        (Some(loki), Some(tempo), Some(spanmetrics)) => {
            tracing_subscriber::registry().with(loki).with(tempo).with(spanmetrics).init();
        }
        (loki, tempo, spanmetrics) => {
            layers.extend(loki.map(|layer| layer.boxed()));
            layers.extend(tempo.map(|layer| layer.boxed()));
            layers.extend(spanmetrics.map(|layer| layer.boxed()));
            tracing_subscriber::registry().with(layers).init();
        }
    }

    if line {
        tracing::info_span!("request", method = "GET", order_id = 7).in_scope(|| (0..iterations).for_each(log));
    } else {
        (0..iterations).for_each(handle);
    }

    let deadline = Instant::now() + Duration::from_secs(60);
    for pipeline in &pipelines {
        pipeline.begin_shutdown(deadline);
    }
    for pipeline in &pipelines {
        let _ = pipeline.wait_ended(deadline);
        let report = pipeline.report();
        println!("{report}");
        if report.delivered != iterations {
            return Err(format!("{iterations} iterations, but {report}").into());
        }
    }
    if let Some(pipeline) = mimir.as_ref().and_then(lgtm_mimir::Mimir::pipeline) {
        pipeline.begin_shutdown(deadline);
        let _ = pipeline.wait_ended(deadline);
        println!("{}", pipeline.report());
    }
    Ok(())
}

fn under_the_facade(iterations: u64, backend: &Discard) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::parse(&backend.url())?;
    let telemetry = lgtm::builder()
        .ignore_environment()
        .service_name("hot-path")
        .loki(endpoint.clone())
        .tempo(endpoint.clone())
        .tempo_protocol(lgtm_tempo::Protocol::Http)
        .mimir(endpoint)
        .init()?;
    for number in 0..iterations {
        handle(number);
    }
    println!("{}", telemetry.shutdown());
    Ok(())
}

/// One line of a program: what is measured.
#[inline(never)]
fn log(attempt: u64) {
    tracing::info!(user = "alice", attempt, cached = true, "order placed");
}

/// One request of a program: what is measured.
#[inline(never)]
fn handle(order_id: u64) {
    let span = tracing::info_span!("request", method = "GET", route = "/orders/{id}", order_id);
    span.in_scope(|| tracing::info!(latency_ms = 12_u64, "order placed"));
}
