//! The backends of the targets that send: a development stack and a worker for all inputs. Threads of their own.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Overflow, Pipeline, PipelineOptions};
use lgtm_core::{SignalReport, Worker};
use lgtm_devstack::{Devstack, Limits};

use crate::signals::PATIENCE;

/// What a target sends to. One input at a time.
pub(super) struct Backend {
    pub(super) stack: Devstack,
    pub(super) worker: Worker,
}

/// The backend, empty and with nothing scripted.
pub(super) fn backend() -> MutexGuard<'static, Backend> {
    static BACKEND: OnceLock<Mutex<Backend>> = OnceLock::new();
    let backend = BACKEND.get_or_init(|| {
        let stack = Devstack::builder().limits(Limits::default()).start_blocking().expect("a development stack");
        Mutex::new(Backend { stack, worker: Worker::spawn().expect("a worker") })
    });
    // After a panic of another input the next one still counts.
    let backend = backend.lock().unwrap_or_else(PoisonError::into_inner);
    backend.stack.store().clear();
    backend
}

/// A full queue makes its callers wait, and nothing is sent twice.
pub(super) fn options() -> PipelineOptions {
    let mut options = PipelineOptions::default();
    options.overflow = Overflow::Block(PATIENCE);
    options.batch.age = Duration::from_secs(3600);
    options.retry.initial = Duration::ZERO;
    options.retry.max = Duration::ZERO;
    options.retry.give_up_after = Duration::ZERO;
    options
}

/// Ends a pipeline; what became of the items.
pub(super) fn end(pipeline: &Pipeline) -> SignalReport {
    let deadline = Instant::now() + PATIENCE;
    pipeline.begin_shutdown(deadline);
    assert!(pipeline.wait_ended(deadline), "the pipeline did not end: {}", pipeline.report());
    pipeline.report()
}

/// Ends a pipeline whose items all arrive.
pub(super) fn end_delivered(pipeline: &Pipeline) {
    let report = end(pipeline);
    assert_eq!(report.delivered, report.admitted, "{report}");
}

/// Sends what a pipeline has, all of which arrives.
pub(super) fn flush_delivered(pipeline: &Pipeline) {
    let flush = pipeline.begin_flush();
    assert!(pipeline.wait_flushed(&flush, Instant::now() + PATIENCE), "no end: {}", pipeline.report());
    let report = pipeline.report();
    assert_eq!(report.delivered, report.admitted, "{report}");
}
