//! The layer that captures, and where it keeps what it sees. Caller threads.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use lgtm_core::span::{Attachment, Role, SpanRecord};
use parking_lot::Mutex;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::logs::{Log, Logs};
use super::spans::{Span, Spans};
use super::value::fields;

/// What was captured.
#[derive(Default)]
pub(super) struct Store {
    seen: Mutex<Seen>,
    /// The layer's tie to its registry: what is said of an open span at run time is looked up.
    attachment: OnceLock<Arc<Attachment>>,
}

#[derive(Default)]
struct Seen {
    logs: Vec<Log>,
    spans: Vec<Span>,
    /// By the registry's ids: where in `spans`.
    open: HashMap<u64, usize>,
}

impl Store {
    pub(super) fn logs(&self) -> Logs {
        Logs::new(self.seen.lock().logs.clone())
    }

    pub(super) fn spans(&self) -> Spans {
        let open: Vec<_> = self.seen.lock().open.iter().map(|(id, place)| (*id, *place)).collect();
        for (id, place) in open {
            // No two locks at once: a record's is held while it is read.
            let Some(span) =
                self.attachment.get().and_then(|attachment| attachment.with(id, |record| Span::of(record)))
            else {
                continue;
            };
            let mut seen = self.seen.lock();
            if seen.open.get(&id) == Some(&place)
                && let Some(known) = seen.spans.get_mut(place)
            {
                *known = span;
            }
        }
        let seen = self.seen.lock();
        Spans::new(seen.spans.clone(), seen.logs.clone())
    }

    pub(super) fn clear(&self) {
        let mut seen = self.seen.lock();
        seen.logs.clear();
        let open = std::mem::take(&mut seen.open);
        let mut spans: Vec<_> = std::mem::take(&mut seen.spans).into_iter().map(Some).collect();
        let mut open: Vec<_> = open.into_iter().collect();
        open.sort_unstable_by_key(|(_, place)| *place);
        for (id, place) in open {
            if let Some(span) = spans.get_mut(place).and_then(Option::take) {
                let place = seen.spans.len();
                seen.spans.push(span);
                seen.open.insert(id, place);
            }
        }
    }

    fn open(&self, id: u64, span: Span) {
        let mut seen = self.seen.lock();
        let place = seen.spans.len();
        seen.spans.push(span);
        seen.open.insert(id, place);
    }

    fn close(&self, id: u64, span: Span) {
        let mut seen = self.seen.lock();
        if let Some(place) = seen.open.remove(&id)
            && let Some(known) = seen.spans.get_mut(place)
        {
            *known = span;
        }
    }
}

pub(super) struct CaptureLayer {
    attachment: Arc<Attachment>,
    store: Arc<Store>,
}

impl CaptureLayer {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let attachment = Arc::new(Attachment::new(Role::Exporter, None));
        let _ = store.attachment.set(Arc::clone(&attachment));
        Self { attachment, store }
    }
}

impl<S> Layer<S> for CaptureLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, callsite: &'static Metadata<'static>) -> Interest {
        self.attachment.register_callsite(callsite)
    }

    fn enabled(&self, callsite: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.attachment.enabled(callsite)
    }

    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.attachment.register(dispatch);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.attachment.new_span(attributes, id, &context);
        if let Some(span) = self.attachment.with(id.into_u64(), |record| Span::of(record)) {
            self.store.open(id.into_u64(), span);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.attachment.record(id, values);
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        self.attachment.announce_event();
        true
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let log = self.attachment.event(event, |visited| {
            let mut spans = Vec::new();
            self.attachment.ancestry(visited.span, &mut |record: &SpanRecord| {
                spans.push((record.name().to_owned(), fields(record.attributes())));
            });
            Log::new(event.metadata(), visited, spans)
        });
        self.store.seen.lock().logs.extend(log);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(span) = self.attachment.close(&id, |record| Span::of(record)) {
            self.store.close(id.into_u64(), span);
        }
    }
}
