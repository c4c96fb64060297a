//! Admit: the SDK's span processor that hands finished spans to the pipeline's queue. Caller threads.

use std::time::{Duration, Instant};

use lgtm_core::pipeline::Pipeline;
use lgtm_core::span::Limits;
use lgtm_core::{is_suppressed, with_buffer};
use opentelemetry::Context;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::ScopeIndex;
use super::span;

/// The longest that `force_flush` blocks: the API gives no deadline.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes spans as OTLP bytes and admits them. No batches here: the pipeline gathers.
#[derive(Debug)]
pub(super) struct Processor {
    pipeline: Pipeline,
    scopes: ScopeIndex,
    limits: Limits,
}

impl Processor {
    pub(super) fn new(pipeline: Pipeline, scopes: ScopeIndex, limits: Limits) -> Self {
        Self { pipeline, scopes, limits }
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, mut data: SpanData) {
        if !data.span_context.is_sampled() {
            return;
        }
        let stream = self.scopes.stream_of(&data.instrumentation_scope).unwrap_or_else(|| {
            span::name_scope(&mut data);
            0
        });
        with_buffer(|bytes| {
            let end = span::span(bytes, &data, &self.limits);
            self.pipeline.queue().admit(stream, end, |buffer| buffer.extend_from_slice(bytes));
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        let flush = self.pipeline.begin_flush();
        // The worker cannot wait for itself.
        if is_suppressed() || self.pipeline.wait_flushed(&flush, Instant::now() + FLUSH_TIMEOUT) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(FLUSH_TIMEOUT))
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + FLUSH_TIMEOUT);
        self.pipeline.begin_shutdown(deadline);
        if is_suppressed() || self.pipeline.wait_ended(deadline) { Ok(()) } else { Err(OTelSdkError::Timeout(timeout)) }
    }
}
