//! A program of plain threads, without an asynchronous runtime: telemetry needs none.
//!
//! ```text
//! cargo run --package worker
//! ```

use std::thread;

use tracing::{Span, info, info_span};

fn main() -> Result<(), lgtm::Error> {
    let telemetry = lgtm::init()?;
    let batch = info_span!("batch", jobs = 4);
    thread::scope(|scope| {
        for job in 0..4 {
            // A span crosses threads as a value.
            let batch = batch.clone();
            scope.spawn(move || work(&batch, job));
        }
    });
    drop(batch);
    drop(telemetry);
    Ok(())
}

fn work(batch: &Span, job: u64) {
    info_span!(parent: batch, "job", job).in_scope(|| {
        metrics::counter!("jobs_total").increment(1);
        info!(job, "done");
    });
}
