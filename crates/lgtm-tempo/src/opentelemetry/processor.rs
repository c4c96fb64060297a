//! Admit: the SDK's span processor that hands finished spans to the pipeline's queue. Caller threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Pipeline, Queue};
use lgtm_core::protobuf::put_bytes;
use lgtm_core::span::{KeepReason, Limits};
use lgtm_core::{is_suppressed, with_buffer};
use opentelemetry::Context;
use opentelemetry::trace::{Span as _, Status, TraceContextExt as _};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::ScopeIndex;
use super::fate::Fates;
use super::span;
use crate::record;

/// The longest that `force_flush` blocks: the API gives no deadline.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes spans as OTLP bytes and admits them. No batches here: the pipeline gathers.
#[derive(Debug)]
pub(super) struct Processor {
    pipeline: Pipeline,
    queue: Arc<Queue>,
    scopes: ScopeIndex,
    limits: Limits,
    fates: Arc<Fates>,
}

impl Processor {
    pub(super) fn new(pipeline: Pipeline, scopes: ScopeIndex, limits: Limits, fates: Arc<Fates>) -> Self {
        Self { queue: pipeline.shared_queue(), pipeline, scopes, limits, fates }
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.fates.begin(span.span_context(), context.span().span_context());
    }

    fn on_end(&self, mut data: SpanData) {
        let id = data.span_context.span_id();
        let fate = self.fates.end(id);
        let undecided = fate.as_ref().and_then(|fate| fate.undecided.clone());
        if !data.span_context.is_sampled() && undecided.is_none() {
            return;
        }
        let stream = self.scopes.stream_of(&data.instrumentation_scope).unwrap_or_else(|| {
            span::name_scope(&mut data);
            0
        });
        with_buffer(|content| {
            let end = span::span(content, &data, &self.limits);
            match (undecided, fate) {
                (Some(trace), fate) => {
                    let failed = matches!(data.status, Status::Error { .. });
                    trace.offer(&self.queue, stream, end, content, record::kept);
                    trace.span_ended(failed, fate.is_none_or(|fate| fate.root == id), end);
                }
                (None, Some(fate)) => {
                    self.queue.admit(stream, end, |buffer| {
                        record::kept(buffer, content, KeepReason::Head, fate.probability);
                    });
                }
                (None, None) => {
                    self.queue.admit(stream, end, |buffer| put_bytes(buffer, record::SPAN, content));
                }
            }
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
