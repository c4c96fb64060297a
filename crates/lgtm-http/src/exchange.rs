//! One request while it runs: everything that it does happens in its span and with its baggage, it ends exactly once, and
//! whoever drops it before its end has cancelled it. Caller threads.

use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, Version};
use lgtm_core::propagation::baggage::{self, Baggage};
use tracing::field::DisplayValue;
use tracing::{Span, field};

/// How a request ended.
pub enum End<'a> {
    /// With the end of its answer.
    Whole,
    /// By an error of the service, or of the answer's body.
    Failed {
        /// A word, or the name of its type: few different ones.
        kind: &'static str,
        /// What it says of itself.
        error: &'a dyn Display,
    },
    /// By a panic, which goes on.
    Panicked(&'a str),
    /// Future or body were dropped before the end.
    Dropped,
}

impl End<'_> {
    /// The description of a span that failed.
    pub(crate) fn description(&self) -> Option<DisplayValue<Reason<'_>>> {
        match *self {
            Self::Failed { error, .. } => Some(field::display(Reason { before: "", reason: error })),
            Self::Panicked(ref message) => Some(field::display(Reason { before: "panicked: ", reason: message })),
            Self::Whole | Self::Dropped => None,
        }
    }
}

/// Why a request failed.
pub(crate) struct Reason<'a> {
    before: &'static str,
    reason: &'a dyn Display,
}

impl Display for Reason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.before, self.reason)
    }
}

/// The head of an answer.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(crate) fn of<B>(response: &'a Response<B>) -> Self {
        Self { status: response.status(), version: response.version(), headers: response.headers() }
    }
}

/// What a kind of request tells of itself. All methods are called inside its span.
pub trait Exchange {
    /// The head of the answer is there. True if that is all: no body follows that anybody would read.
    fn answered(&mut self, span: &Span, head: Head<'_>) -> bool;

    /// The trailers of the answer are there.
    fn trailers(&mut self, span: &Span, trailers: &HeaderMap);

    /// The end, after so many bytes of the answer's body.
    fn end(self, span: &Span, end: End<'_>, bytes: u64);
}

/// A request from its begin to its end; empty for one that nobody observes, and after the end.
#[derive(Debug)]
pub(crate) struct Running<X: Exchange> {
    span: Span,
    baggage: Option<Arc<Baggage>>,
    exchange: Option<X>,
    bytes: u64,
}

impl<X: Exchange> Running<X> {
    pub(crate) fn new(span: Span, baggage: Option<Arc<Baggage>>, exchange: X) -> Self {
        Self { span, baggage, exchange: Some(exchange), bytes: 0 }
    }

    pub(crate) fn unobserved() -> Self {
        Self { span: Span::none(), baggage: None, exchange: None, bytes: 0 }
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::unobserved())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exchange.is_some()
    }

    /// Runs a piece of the request. A panic ends the request, and goes on.
    #[inline]
    pub(crate) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.step(work, |_, _, _, _| None)
    }

    /// The same, and `look` sees what came of it, the count of bytes too, and tells whether that was the end. All in one visit to the
    /// span.
    #[inline]
    pub(crate) fn step<R>(
        &mut self,
        work: impl FnOnce() -> R,
        look: impl for<'r> FnOnce(&'r R, &Span, &mut X, &mut u64) -> Option<End<'r>>,
    ) -> R {
        let Self { span, baggage, exchange: place, bytes } = self;
        let Some(exchange) = place else { return work() };
        let entered = span.enter();
        let attached = baggage.as_ref().map(|baggage| baggage::attach(Arc::clone(baggage)));
        // Nothing of ours is looked at after a panic but the exchange, which `work` does not know.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        drop(attached);
        let end = match &outcome {
            Ok(result) => look(result, span, exchange, bytes),
            Err(payload) => Some(End::Panicked(message(&**payload))),
        };
        if let Some(end) = end
            && let Some(exchange) = place.take()
        {
            exchange.end(span, end, *bytes);
        }
        drop(entered);
        if place.is_none() {
            *span = Span::none();
        }
        outcome.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Drops what belongs to the request where its lines still find their span.
    pub(crate) fn drop_inside(&self, drop: impl FnOnce()) {
        let _entered = self.span.enter();
        drop();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first call counts. The span ends with it.
    pub(crate) fn end(&mut self, end: End<'_>) {
        if let Some(exchange) = self.exchange.take() {
            let span = std::mem::replace(&mut self.span, Span::none());
            // Inside the span, so that exemplars point to it.
            let _entered = span.enter();
            exchange.end(&span, end, self.bytes);
        }
    }
}

impl<X: Exchange> Drop for Running<X> {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

/// What a panic says; those with a payload of another type say nothing.
fn message(payload: &(dyn Any + Send)) -> &str {
    let owned = || payload.downcast_ref::<String>().map(String::as_str);
    payload.downcast_ref::<&'static str>().copied().or_else(owned).unwrap_or("panic")
}
