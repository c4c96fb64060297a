//! The trace of a caller in another process, and what becomes of it. Caller threads.

use http::HeaderMap;
use lgtm_core::TraceContext;
use lgtm_core::propagation::{RemoteParent, extract};
use lgtm_core::span::SpanExt as _;
use tracing::Span;
use tracing::span::Id;

/// What a server makes of the trace and the baggage that its callers name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteContext {
    /// The span is the child of the caller's, whose sampling decision counts, and the caller's baggage goes along. For services
    /// whose callers are one's own.
    #[default]
    Parent,
    /// The span begins a trace of its own, with a link to the caller's; baggage is not taken. For services that the
    /// public calls: it neither decides what is sampled nor writes into the traces of others.
    Link,
    /// What the caller says is not looked at.
    Ignored,
}

/// The caller's place in its trace, looked up only for a span that is recorded.
#[derive(Debug, Default)]
pub(crate) struct Remote(Option<RemoteParent>);

impl Remote {
    /// Looks it up; the parent in this process, if that counts. The caller's span wins over whatever surrounds the server.
    pub(crate) fn look(&mut self, context: RemoteContext, headers: &HeaderMap) -> Option<Id> {
        if context != RemoteContext::Ignored {
            self.0 = extract(headers);
        }
        if self.0.is_some() && context == RemoteContext::Parent { None } else { Span::current().id() }
    }

    /// Ties the new span to it.
    pub(crate) fn join(self, context: RemoteContext, span: &Span) {
        let Some(remote) = self.0 else { return };
        if context == RemoteContext::Parent {
            // Refused only where no layer of lgtm sees the span: then the program's subscriber has no use for it either.
            let _ = span.set_remote_parent(&remote);
        } else {
            span.add_link(TraceContext::new(remote.trace_id, remote.span_id, remote.sampled), &[]);
        }
    }
}
