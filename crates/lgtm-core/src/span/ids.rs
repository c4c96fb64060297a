//! Ids that another library assigns: where spans are also kept by an OpenTelemetry tracer, the tracer's ids count, and it
//! assigns them late. The records adopt them before anything that shows ids happens to a span. Caller threads.

use std::sync::Arc;

use tracing::Span;

use super::attributes::Value;
use super::fields::Status;
use super::parent::SetParentError;
use super::record::SpanRecord;
use super::store::SpanStore;
use super::undecided::UndecidedTrace;
use crate::current::TraceContext;
use crate::ids::{SpanId, TraceId};
use crate::propagation::RemoteParent;

/// The ids of a span, as an [`IdSource`] assigns them.
#[derive(Clone, Debug)]
pub struct AssignedIds {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// Whether the span is recorded.
    pub sampled: bool,
    /// W3C `tracestate`.
    pub trace_state: Option<Arc<str>>,
    /// What holds the trace's spans while its keep rules have not decided. The source tells it of their ends.
    pub undecided: Option<Arc<UndecidedTrace>>,
}

impl AssignedIds {
    /// What logs and exemplars point at.
    pub(crate) fn context(&self) -> TraceContext {
        TraceContext::new(self.trace_id, self.span_id, self.sampled).waiting_for(self.undecided.as_deref())
    }
}

/// Assigns ids in place of the store. At most one a registry: [`Attachment::with_id_source`](super::Attachment::with_id_source).
pub trait IdSource: Send + Sync {
    /// The ids of this open span, by the registry's id, from now on for good. Asked once a span, with no lock of the store
    /// held, when the span is entered or closed, has a child, or its ids are shown. `None` if the source does not know the
    /// span; it then counts as not recorded.
    fn assign(&self, span: u64) -> Option<AssignedIds>;

    /// The innermost place in a trace on the calling thread, as the other library sees it: it may know of spans that no layer has
    /// entered. `entered` is the one that the layers know of; `None` if that is the innermost, or there is none.
    fn current(&self, entered: Option<SpanId>) -> Option<AssignedIds>;

    /// Makes a span whose ids are not assigned yet the child of one in another process. False if it is too late.
    fn set_parent(&self, span: &Span, parent: &RemoteParent) -> bool;

    /// The program links this span to another one.
    fn add_link(&self, span: &Span, to: &TraceContext, attributes: &[(&str, Value<'_>)]);

    /// The program sets this span's status.
    fn set_status(&self, span: &Span, status: Status, description: &str);

    /// The program sets an attribute of this span.
    fn set_attribute(&self, span: &Span, key: &str, value: Value<'_>);
}

/// Who says a record's ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum IdState {
    /// The store.
    #[default]
    Own,
    /// The source, which has not been asked yet: what the record says is provisional.
    Awaited,
    /// The source, and the record says so.
    Assigned,
}

impl SpanStore {
    /// This span's ids are the source's. Called when the span opens.
    pub(super) fn await_ids(&self, id: u64) {
        self.with(id, |record| record.ids = IdState::Awaited);
    }

    /// This span's ids are about to be used: asks the source for them if they are not known yet. No lock may be held.
    #[inline]
    pub(super) fn settle_ids(&self, id: u64) {
        if let Some(source) = self.id_source.get() {
            self.settle_from(&**source, id);
        }
    }

    fn settle_from(&self, source: &dyn IdSource, id: u64) {
        if self.with(id, |record| record.ids) != Some(IdState::Awaited) {
            return;
        }
        let assigned = source.assign(id);
        self.with(id, |record| {
            // Another thread may have been faster; the source tells both the same.
            if record.ids == IdState::Awaited {
                record.adopt(assigned);
            }
        });
    }

    /// Tells the source of a remote parent, where it is the one that assigns this span's ids.
    pub(crate) fn set_parent_at_source(
        &self,
        span: &Span,
        id: u64,
        parent: &RemoteParent,
    ) -> Result<(), SetParentError> {
        let Some(source) = self.id_source.get() else { return Ok(()) };
        match self.with(id, |record| (record.ids, record.parent != 0 || record.exposed)) {
            Some((IdState::Awaited, false)) if source.set_parent(span, parent) => Ok(()),
            Some((IdState::Awaited, false) | (IdState::Assigned, _)) => Err(SetParentError::InUse),
            // The store's own answer says why not.
            _ => Ok(()),
        }
    }
}

impl SpanRecord {
    fn adopt(&mut self, assigned: Option<AssignedIds>) {
        self.ids = IdState::Assigned;
        let Some(AssignedIds { trace_id, span_id, sampled, trace_state, undecided }) = assigned else {
            self.sampled = false;
            self.undecided = None;
            return;
        };
        // The cached log context goes with the trace that it was made in.
        self.log.layer = 0;
        if self.is_exported() {
            self.anchor = span_id;
        }
        self.trace_id = trace_id;
        self.span_id = span_id;
        self.sampled = sampled;
        self.trace_state = trace_state;
        self.undecided = undecided;
    }

    /// Whether a source tells the trace's keep rules how its spans end.
    pub(super) fn ends_at_source(&self) -> bool {
        self.ids == IdState::Assigned
    }
}
