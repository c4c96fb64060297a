//! Sampling: the builder's sampler in the SDK's form, with the same decisions as in lgtm's own layer. Caller threads.

use lgtm_core::{Sampler, TraceId, is_suppressed};
use opentelemetry::trace::{self as otel, Link, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

/// Decides once per local root; children in this process follow.
#[derive(Clone, Debug)]
pub(super) struct Decide {
    pub(super) sampler: Sampler,
    /// What is left out is recorded all the same: the keep rules may want it.
    pub(super) records_all: bool,
}

impl ShouldSample for Decide {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: otel::TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let recording = parent.is_some_and(|context| context.span().is_recording());
        let parent = parent.map(|context| context.span().span_context().clone()).filter(otel::SpanContext::is_valid);
        let decide = |remote| {
            TraceId::from_bytes(trace_id.to_bytes()).is_some_and(|trace_id| self.sampler.decide(trace_id, remote))
        };
        let (sampled, recorded) = match &parent {
            Some(parent) if parent.is_remote() => (decide(Some(parent.is_sampled())), self.records_all),
            Some(parent) => (parent.is_sampled(), self.records_all && recording),
            None => (decide(None), self.records_all),
        };
        SamplingResult {
            decision: match (is_suppressed(), sampled, recorded) {
                (false, true, _) => SamplingDecision::RecordAndSample,
                (false, false, true) => SamplingDecision::RecordOnly,
                _ => SamplingDecision::Drop,
            },
            attributes: Vec::new(),
            trace_state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lgtm_core::sampler::Root;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    fn decide(sampler: &Sampler, parent: Option<(bool, bool)>) -> bool {
        let trace_id = otel::TraceId::from_bytes([0xff; 16]);
        let parent = parent.map(|(remote, sampled)| {
            let flags = TraceFlags::default().with_sampled(sampled);
            let span = SpanContext::new(trace_id, SpanId::from_bytes([1; 8]), flags, remote, TraceState::NONE);
            Context::new().with_remote_span_context(span)
        });
        let result = Decide { sampler: sampler.clone(), records_all: false }.should_sample(
            parent.as_ref(),
            trace_id,
            "",
            &SpanKind::Internal,
            &[],
            &[],
        );
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_local_parent_is_followed_and_a_remote_one_asks_the_sampler() {
        for sampler in [Sampler::AlwaysOn, Sampler::AlwaysOff, Sampler::TraceIdRatio(0.5)] {
            assert!(decide(&sampler, Some((false, true))));
            assert!(!decide(&sampler, Some((false, false))));
        }
        assert!(decide(&Sampler::AlwaysOn, Some((true, false))));
        assert!(!decide(&Sampler::AlwaysOff, Some((true, true))));
        // The trace id has only ones: no ratio below 1 takes it.
        assert!(!decide(&Sampler::TraceIdRatio(0.5), Some((true, true))));
        for sampled in [true, false] {
            assert_eq!(decide(&Sampler::ParentBased(Root::AlwaysOff), Some((true, sampled))), sampled);
        }
        assert!(!decide(&Sampler::ParentBased(Root::AlwaysOff), None));
        assert!(decide(&Sampler::default(), None));
    }

    #[test]
    fn nothing_is_recorded_on_a_thread_that_exports() {
        assert!(!lgtm_core::suppressed(|| decide(&Sampler::AlwaysOn, None)));
    }
}
