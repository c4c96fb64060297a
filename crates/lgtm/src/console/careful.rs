//! The layer of tracing-subscriber, kept from what harms the program. Caller threads.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Appends formatted fields to those that are known.
pub(super) type Join = fn(&mut String, &str);

/// The layer of tracing-subscriber, kept from what harms the program: it formats late fields under a lock of the span, and a
/// `Debug` implementation that logs then waits for itself; it panics on a thread whose thread-locals are gone; and what a panic
/// left of a line stands before the next one.
pub(super) struct Careful<L, N> {
    pub(super) layer: L,
    pub(super) fields: N,
    pub(super) join: Join,
}

/// Goes before the thread-locals that were in use when it came into use itself: those that came last go first.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {}
}

thread_local! {
    /// Beside the registry's, which come into use with the first span, and beside the layer's, with the first event.
    static ALIVE: Alive = const { Alive };
    static ALIVE_WITH_EVENTS: Alive = const { Alive };
    /// Whether the thread has used its own of the two.
    static USED: Cell<[bool; 2]> = const { Cell::new([false; 2]) };
}

/// The registry, or the layer too, has come into use on this thread.
fn mark_used(by_event: bool) {
    let [span, event] = USED.get();
    if by_event && !event {
        let _ = ALIVE_WITH_EVENTS.try_with(|_| ());
        USED.set([span, true]);
    } else if !by_event && !span {
        let _ = ALIVE.try_with(|_| ());
        USED.set([true, event]);
    }
}

/// Whether the calling thread is past the end of its thread-locals.
fn is_over() -> bool {
    let [span, event] = USED.get();
    (span && ALIVE.try_with(|_| ()).is_err()) || (event && ALIVE_WITH_EVENTS.try_with(|_| ()).is_err())
}

impl<S, L, N> Layer<S> for Careful<L, N>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        self.layer.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.layer.on_new_span(attributes, id, context);
        mark_used(false);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        // What a value fails to write is missing, as in a line.
        let _ = self.fields.format_fields(Writer::new(&mut text), values);
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<FormattedFields<N>>() {
            Some(known) => (self.join)(&mut known.fields, &text),
            None => extensions.insert(FormattedFields::<N>::new(text)),
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !is_over() {
            self.layer.on_event(event, context);
            mark_used(true);
            if let Some(panic) = PANIC.try_with(Cell::take).ok().flatten() {
                resume_unwind(panic);
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.layer.on_close(id, context);
    }
}

thread_local! {
    /// The panic of a value that was being shown, until the layer has cleared away what there was of its line.
    static PANIC: Cell<Option<Box<dyn Any + Send>>> = const { Cell::new(None) };
}

/// A line that is there as a whole or not at all.
pub(super) struct Whole<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Whole<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        catch_unwind(AssertUnwindSafe(|| self.0.format_event(context, writer, event))).unwrap_or_else(|panic| {
            let mut panic = Some(panic);
            let _ = PANIC.try_with(|kept| kept.set(panic.take()));
            panic.map_or(Err(fmt::Error), |panic| resume_unwind(panic))
        })
    }
}
