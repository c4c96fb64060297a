//! Capture: the SDK's processor that shows its records to the writer. Caller threads.

use std::cell::Cell;
use std::time::{Duration, Instant};

use lgtm_core::is_suppressed;
use lgtm_core::pipeline::Pipeline;
use lgtm_core::span::VisitedEvent;
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::Severity;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};

use super::{Records, convert};

/// The longest that `force_flush` blocks: the API gives no deadline.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

thread_local! {
    /// The last record's buffers.
    static SCRATCH: Cell<Option<Box<VisitedEvent>>> = const { Cell::new(None) };
}

/// Makes records lines. No batches here: the pipeline gathers.
#[derive(Debug)]
pub(super) struct Processor {
    records: Records,
    pipeline: Pipeline,
}

impl Processor {
    pub(super) fn new(records: Records, pipeline: Pipeline) -> Self {
        Self { records, pipeline }
    }

    fn flush(&self, timeout: Duration) -> OTelSdkResult {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + FLUSH_TIMEOUT);
        let flush = self.pipeline.begin_flush();
        // The worker cannot wait for itself.
        if is_suppressed() || self.pipeline.wait_flushed(&flush, deadline) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(timeout))
        }
    }
}

impl LogProcessor for Processor {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if is_suppressed() {
            return;
        }
        let Records { attachment, queue, writer, repeats } = &self.records;
        // Taken out: what runs below may log, and finds none.
        let mut event = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let callsite = convert::record(&mut event, record, scope);
        convert::place(&mut event, record, attachment);
        if repeats.as_ref().is_none_or(|repeats| repeats.admits(callsite, &event)) {
            writer.admit(queue, Some(attachment.as_ref()), callsite, &event);
        }
        let _ = SCRATCH.try_with(|scratch| scratch.set(Some(event)));
    }

    fn event_enabled(&self, _: Severity, _: &str, _: Option<&str>) -> bool {
        !is_suppressed()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush(FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.flush(timeout)
    }
}
