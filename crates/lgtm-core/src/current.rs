//! The current trace of a thread, which logs, exemplars and propagation all ask for. Caller threads.
//!
//! A stack of the spans that were entered, kept by every layer's `on_enter` and `on_exit` and keyed by registry, because
//! parallel captures (tests) share threads. Exits come in any order. The innermost trace is one load away, and one more that says
//! whether `elsewhere.rs` has to be asked.

use std::cell::{Cell, RefCell};

use crate::clock;
use crate::elsewhere;
use crate::ids::{SpanId, TraceId};

/// A place in a trace: what a log line, an exemplar or an outgoing request points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The nearest span that is exported.
    pub span_id: SpanId,
    /// Whether the trace is recorded by the head sampler: whether a link to it leads anywhere.
    pub sampled: bool,
    /// The number of the trace while its fate is open; 0: it is known.
    pub(crate) undecided: u64,
}

impl TraceContext {
    /// A place in a trace.
    #[must_use]
    pub const fn new(trace_id: TraceId, span_id: SpanId, sampled: bool) -> Self {
        Self { trace_id, span_id, sampled, undecided: 0 }
    }

    /// Whether the head sampler has left the trace out, but what happens in it may still keep it
    /// ([`KeepRules`](crate::span::KeepRules)).
    #[must_use]
    #[inline]
    pub const fn is_undecided(&self) -> bool {
        self.undecided != 0 && !self.sampled
    }
}

/// One entered span.
#[derive(Clone, Copy)]
struct Entry {
    store: u32,
    /// The layers that have said so: several layers report the same enter.
    layers: u32,
    /// The registry's id.
    span: u64,
    trace: Option<TraceContext>,
}

/// In place of a time inside `with_trace`.
const NOW: u64 = u64::MAX;

thread_local! {
    /// The trace of the innermost entry.
    static TOP: Cell<Option<TraceContext>> = const { Cell::new(None) };
    /// The time inside `with_trace_at`, or [`NOW`]; 0: outside of it.
    static TIME: Cell<u64> = const { Cell::new(0) };
    static STACK: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread's current trace; `None` outside all spans, and inside spans none of whose ancestors is exported.
#[must_use]
#[inline]
pub fn trace() -> Option<TraceContext> {
    let entered = entered();
    if elsewhere::exists() { trace_elsewhere(entered) } else { entered }
}

#[cold]
fn trace_elsewhere(entered: Option<TraceContext>) -> Option<TraceContext> {
    // What `with_trace` says holds, whatever another library knows.
    if TIME.with(Cell::get) == 0 { elsewhere::trace(entered) } else { entered }
}

/// The trace of the span that the layers have entered last on the calling thread.
#[inline]
pub(crate) fn entered() -> Option<TraceContext> {
    TOP.with(Cell::get)
}

/// When what the calling thread records happened: nanoseconds since the Unix epoch. Now, except inside [`with_trace_at`].
#[must_use]
#[inline]
pub fn unix_nanos() -> u64 {
    match TIME.with(Cell::get) {
        0 | NOW => clock::unix_nanos(),
        time => time,
    }
}

/// Runs `work` with this as the current trace: an exemplar that `work` records points there.
pub fn with_trace<R>(context: Option<TraceContext>, work: impl FnOnce() -> R) -> R {
    with_trace_at(context, NOW, work)
}

/// As [`with_trace`], for what happened at a time that is known already: nanoseconds since the Unix epoch.
#[inline]
pub fn with_trace_at<R>(context: Option<TraceContext>, time: u64, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<TraceContext>, u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            TOP.with(|top| top.set(self.0));
            TIME.with(|time| time.set(self.1));
        }
    }
    let _restore = Restore(TOP.with(|top| top.replace(context)), TIME.with(|known| known.replace(time)));
    work()
}

/// A layer says that a span was entered. `lookup` is asked once per enter, by the first layer; a span it does not know
/// leaves the stack as it is, so that its ancestor stays current. `attached` are the layers that the registry still has.
#[inline]
pub(crate) fn enter(
    store: u32,
    layer: u32,
    attached: u32,
    span: u64,
    lookup: impl FnOnce() -> Option<Option<TraceContext>>,
) {
    let _ = STACK.try_with(|stack| {
        let Ok(mut stack) = stack.try_borrow_mut() else { return };
        forget_detached(&mut stack, store, attached);
        if let Some(top) = stack.last_mut()
            && top.span == span
            && top.store == store
            && top.layers & layer == 0
        {
            top.layers |= layer;
            return;
        }
        if let Some(trace) = lookup() {
            stack.push(Entry { store, layers: layer, span, trace });
            TOP.with(|top| top.set(trace));
        }
    });
}

/// A layer says that a span was left. A layer that is gone says nothing any more: nobody waits for it.
#[inline]
pub(crate) fn exit(store: u32, layer: u32, attached: u32, span: u64) {
    let _ = STACK.try_with(|stack| {
        let Ok(mut stack) = stack.try_borrow_mut() else { return };
        let Some(place) =
            stack.iter().rposition(|entry| entry.span == span && entry.store == store && entry.layers & layer != 0)
        else {
            return;
        };
        let Some(entry) = stack.get_mut(place) else { return };
        entry.layers &= attached & !layer;
        if entry.layers == 0 {
            if place + 1 == stack.len() {
                stack.pop();
            } else {
                stack.remove(place);
            }
            TOP.with(|top| top.set(stack.last().and_then(|entry| entry.trace)));
            forget_detached(&mut stack, store, attached);
        }
    });
}

/// Takes off what only layers have entered that are gone: they will not say that they leave it.
#[inline]
fn forget_detached(stack: &mut Vec<Entry>, store: u32, attached: u32) {
    while stack.pop_if(|entry| entry.store == store && entry.layers & attached == 0).is_some() {
        TOP.with(|top| top.set(stack.last().and_then(|entry| entry.trace)));
    }
}

/// Takes everything off the calling thread's stack that only layers have entered that are gone.
pub(crate) fn forget_all_detached(store: u32, attached: u32) {
    let _ = STACK.try_with(|stack| {
        let Ok(mut stack) = stack.try_borrow_mut() else { return };
        stack.retain(|entry| entry.store != store || entry.layers & attached != 0);
        TOP.with(|top| top.set(stack.last().and_then(|entry| entry.trace)));
    });
}

/// The innermost span of this registry on the calling thread: the registry's id, and its trace.
#[inline]
pub(crate) fn innermost(store: u32) -> Option<(u64, Option<TraceContext>)> {
    STACK
        .try_with(|stack| {
            let stack = stack.try_borrow().ok()?;
            stack.iter().rev().find(|entry| entry.store == store).map(|entry| (entry.span, entry.trace))
        })
        .ok()
        .flatten()
}

/// A span's trace changed while it may be entered on this thread.
pub(crate) fn replace(store: u32, span: u64, trace: Option<TraceContext>) {
    let _ = STACK.try_with(|stack| {
        let Ok(mut stack) = stack.try_borrow_mut() else { return };
        for entry in stack.iter_mut().filter(|entry| entry.span == span && entry.store == store) {
            entry.trace = trace;
        }
        if let Some(last) = stack.last() {
            TOP.with(|top| top.set(last.trace));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = u32::MAX;

    fn context() -> TraceContext {
        TraceContext::new(TraceId::random(), SpanId::random(), true)
    }

    #[test]
    fn exits_out_of_order_leave_the_right_span_current() {
        let (outer, inner) = (context(), context());
        enter(1, 1, ALL, 10, || Some(Some(outer)));
        enter(1, 1, ALL, 11, || Some(Some(inner)));
        exit(1, 1, ALL, 10);
        assert_eq!(trace(), Some(inner));
        exit(1, 1, ALL, 11);
        assert_eq!(trace(), None);
    }

    #[test]
    fn several_layers_report_one_enter_and_a_second_enter_is_told_apart() {
        let span = context();
        for _ in 0..2 {
            enter(1, 1, ALL, 10, || Some(Some(span)));
            enter(1, 2, ALL, 10, || panic!("asked twice for one enter"));
        }
        for left in [Some(span), None] {
            exit(1, 1, ALL, 10);
            assert_eq!(trace(), Some(span));
            exit(1, 2, ALL, 10);
            assert_eq!(trace(), left);
        }
    }

    #[test]
    fn registries_do_not_see_each_other() {
        let (one, other) = (context(), context());
        enter(1, 1, ALL, 10, || Some(Some(one)));
        enter(2, 1, ALL, 10, || Some(Some(other)));
        assert_eq!(innermost(1), Some((10, Some(one))));
        assert_eq!(innermost(2), Some((10, Some(other))));
        assert_eq!(innermost(3), None);
        exit(1, 1, ALL, 10);
        assert_eq!(innermost(1), None);
        assert_eq!(trace(), Some(other));
        exit(2, 1, ALL, 10);
    }

    #[test]
    fn unknown_spans_leave_the_ancestor_current_and_a_borrowed_trace_is_given_back() {
        let span = context();
        enter(1, 1, ALL, 10, || Some(Some(span)));
        enter(1, 1, ALL, 11, || None);
        assert_eq!(trace(), Some(span));
        with_trace(None, || assert_eq!(trace(), None));
        assert_eq!(trace(), Some(span));
        exit(1, 1, ALL, 11);
        exit(1, 1, ALL, 10);
        assert_eq!(trace(), None);
    }

    #[test]
    fn a_span_that_a_layer_entered_which_is_gone_since_does_not_stay_current() {
        let (outer, inner) = (context(), context());
        enter(1, 1, 0b11, 10, || Some(Some(outer)));
        enter(1, 2, 0b11, 10, || panic!("asked twice for one enter"));
        enter(1, 1, 0b11, 11, || Some(Some(inner)));
        // The layer 1 is gone: 10 was entered by another one too, 11 was not.
        enter(1, 2, 0b10, 12, || None);
        assert_eq!((trace(), innermost(1)), (Some(outer), Some((10, Some(outer)))));
        exit(1, 2, 0b10, 10);
        assert_eq!((trace(), innermost(1)), (None, None));
    }
}
