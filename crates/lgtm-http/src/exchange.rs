//! One request while it runs: everything that it does happens in its span and with its baggage, it ends exactly once, and
//! whoever drops it before its end has cancelled it. Caller threads.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use http::{HeaderMap, response};
use lgtm_core::propagation::baggage::{self, Baggage};
use tracing::Span;

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

/// What a kind of request tells of itself. All methods are called inside its span.
pub trait Exchange {
    /// The head of the answer is there. True if that is all: no body follows that anybody would read.
    fn answered(&mut self, span: &Span, head: &response::Parts) -> bool;

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
        if !self.is_running() {
            return work();
        }
        let outcome = {
            let _entered = self.span.enter();
            let _attached = self.baggage.as_ref().map(|baggage| baggage::attach(Arc::clone(baggage)));
            // Nothing of ours is looked at after a panic but the exchange, which `work` does not know.
            catch_unwind(AssertUnwindSafe(work))
        };
        outcome.unwrap_or_else(|payload| {
            self.end(End::Panicked(message(&*payload)));
            resume_unwind(payload)
        })
    }

    /// Drops what belongs to the request where its lines still find their span.
    pub(crate) fn drop_inside(&self, drop: impl FnOnce()) {
        let _entered = self.span.enter();
        drop();
    }

    /// True if no body follows.
    pub(crate) fn answered(&mut self, head: &response::Parts) -> bool {
        let Some(exchange) = &mut self.exchange else { return true };
        let _entered = self.span.enter();
        exchange.answered(&self.span, head)
    }

    /// Shows the exchange what else is known of it.
    #[cfg(feature = "reqwest-middleware")]
    pub(crate) fn show(&mut self, show: impl FnOnce(&mut X, &Span)) {
        if let Some(exchange) = &mut self.exchange {
            let _entered = self.span.enter();
            show(exchange, &self.span);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(exchange) = &mut self.exchange {
            let _entered = self.span.enter();
            exchange.trailers(&self.span, trailers);
        }
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
