//! Gives a span that is a local root a parent in another process, while its ids have not left this one. Caller threads.

use tracing_core::span::Id;

use super::store::SpanStore;
use crate::current;
use crate::propagation::RemoteParent;

/// Why a span's parent could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetParentError {
    /// The span is disabled, or no lgtm layer saw it.
    #[error("the span is disabled or unknown to lgtm's layers, so it has no parent to set")]
    UnknownSpan,
    /// The span's ids are in a log line, a child or an outgoing request already.
    #[error(
        "the span's ids are in use already (a log line, a child span or an outgoing request has them): set the parent right after creating the span"
    )]
    InUse,
    /// The span has a parent in this process.
    #[error("the span has a parent in this process already")]
    HasLocalParent,
}

impl SpanStore {
    /// Makes a local root the child of a span in another process.
    pub(crate) fn set_parent(&self, id: &Id, parent: &RemoteParent) -> Result<(), SetParentError> {
        let id = id.into_u64();
        let context = self
            .with(id, |record| {
                if record.parent != 0 {
                    return Err(SetParentError::HasLocalParent);
                }
                if record.exposed {
                    return Err(SetParentError::InUse);
                }
                // The cached log context goes with the trace that it was made in.
                record.log.layer = 0;
                record.trace_id = parent.trace_id;
                record.parent_span_id = parent.span_id;
                record.remote_parent = true;
                record.random_trace_id = parent.random_trace_id;
                record.trace_state = parent.trace_state.clone();
                self.decide_head(record, Some(parent.sampled));
                if record.anchor != record.span_id {
                    record.anchor = parent.span_id;
                }
                Ok(record.context())
            })
            .ok_or(SetParentError::UnknownSpan)??;
        current::replace(self.id, id, context);
        Ok(())
    }
}
