//! Visits an event once for all layers: fields, time and place in the trace. Caller threads.
//!
//! A layer's `event_enabled` announces a new event, the first `on_event` visits it, the others read the same outcome. The
//! scratch space is taken out while user code (a `Debug` implementation) runs, so that an event inside one finds its own.

use std::cell::RefCell;

use tracing_core::{Event, Metadata};

use super::attributes::{Attributes, Value};
use super::fields::{EVENT_ATTRIBUTE, Exception, FieldVisitor, Origin, Visited};
use super::record::Bounds;
use super::redact;
use super::store::{SpanStore, context_of_event};
use crate::callsite;
use crate::clock;
use crate::current::TraceContext;

/// An event as all layers see it.
#[derive(Debug, Default)]
pub struct VisitedEvent {
    pub(crate) fields: Visited,
    /// When it happened: nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The registry's id of the span it happened in; 0: none.
    pub span: u64,
    /// What the event belongs to.
    pub trace: Option<TraceContext>,
    /// Identifies the event while its layers look at it.
    event: usize,
    callsite: usize,
    store: u32,
    /// The layers that have seen it.
    seen: u32,
}

impl VisitedEvent {
    /// What a layer itself has to say, outside of all spans; its time is to be set.
    #[must_use]
    pub fn of_layer(message: &str, fields: &[(&str, Value<'_>)]) -> Self {
        let mut event = Self::default();
        event.fields.message.push_str(message);
        let limits = Bounds::DEFAULT.visit_event;
        let mut visitor = FieldVisitor { visited: &mut event.fields, tag: EVENT_ATTRIBUTE, limits };
        for (key, value) in fields {
            visitor.value(key, *value);
        }
        event
    }

    /// It is about records from there.
    pub fn set_origin(&mut self, origin: Option<Origin>) {
        self.fields.has_origin = origin.is_some();
        self.fields.origin = origin.unwrap_or_default();
    }

    /// Begins a record of another API in the place of what stood here, outside of all spans; [`VisitedEvent::add_field`] adds its
    /// fields. Bounded as events are.
    pub fn begin_record(&mut self, message: &str, origin: Origin, timestamp: u64) {
        self.fields.clear();
        self.fields.trim(256 * 1024);
        self.fields.has_origin = true;
        self.fields.origin = origin;
        (self.timestamp, self.span, self.trace) = (timestamp, 0, None);
        self.record_visitor().message(message);
    }

    /// Adds a field of a record, unless its value stands for a secret: then its name alone. Of several of one name the last stays,
    /// once [`VisitedEvent::end_record`] was called.
    pub fn add_field(&mut self, name: &str, value: Value<'_>) {
        self.record_visitor().plain_value(name, redact::shown(name, value));
    }

    /// Ends a record.
    pub fn end_record(&mut self) {
        let keys = || Attributes::new(&self.fields.attributes).map(|attribute| attribute.key);
        if keys().enumerate().any(|(place, key)| keys().take(place).any(|earlier| earlier == key)) {
            self.fields.keep_last();
        }
    }

    fn record_visitor(&mut self) -> FieldVisitor<'_> {
        FieldVisitor { visited: &mut self.fields, tag: EVENT_ATTRIBUTE, limits: Bounds::DEFAULT.visit_event }
    }

    /// The field `message`; empty if there is none.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.fields.message
    }

    /// All other fields as a JSON line has them (see [`json::fields`](crate::json::fields)), if a layer of the registry
    /// [reads them so](crate::span::EventFields) and their names can stand in a line as they are.
    #[must_use]
    pub fn json_fields(&self) -> Option<&[u8]> {
        self.fields.has_json.then_some(&self.fields.json)
    }

    /// All other fields, as OTLP `Span.Event.attributes`; empty if no layer of the registry reads them, or they are there as JSON and
    /// all read that.
    #[must_use]
    pub fn attributes(&self) -> &[u8] {
        &self.fields.attributes
    }

    /// Fields over the limit.
    #[must_use]
    pub fn dropped_attributes(&self) -> u32 {
        self.fields.dropped
    }

    /// Whether a field is missing or not whole: there were more, or longer ones, than a visit takes.
    #[must_use]
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.fields.cut || self.fields.dropped > 0
    }

    /// Where the event comes from, if it is a record of another API.
    #[must_use]
    #[inline]
    pub fn origin(&self) -> Option<&Origin> {
        self.fields.has_origin.then_some(&self.fields.origin)
    }

    /// The error among the fields, if there is one.
    #[must_use]
    pub fn exception(&self) -> Option<&Exception> {
        self.fields.has_exception.then_some(&self.fields.exception)
    }
}

thread_local! {
    static EVENT: RefCell<Option<Box<VisitedEvent>>> = const { RefCell::new(None) };
}

/// A new event is about to be shown to the layers.
#[inline]
pub(crate) fn announce() {
    let _ = EVENT.try_with(|cell| {
        if let Ok(mut event) = cell.try_borrow_mut()
            && let Some(event) = event.as_mut()
        {
            event.event = 0;
        }
    });
}

/// Whether the event is a record of the `log` crate: tracing-log gives them all this target, and these fields.
#[inline]
fn is_log_record(callsite: &Metadata<'_>) -> bool {
    callsite.target() == "log" && callsite.fields().field("log.target").is_some()
}

/// Shows the event to a layer, visiting it if this layer is the first. A layer that wants no events of such a trace is shown none.
pub(crate) fn visit<R>(
    store: &SpanStore,
    bit: u32,
    event: &Event<'_>,
    wants: impl FnOnce(Option<&TraceContext>) -> bool,
    show: impl FnOnce(&VisitedEvent) -> R,
) -> Option<R> {
    let mut visited = EVENT.try_with(|cell| cell.take()).ok().flatten().unwrap_or_default();
    let address = std::ptr::from_ref(event).addr();
    let callsite = std::ptr::from_ref(event.metadata()).addr();
    let known = visited.event == address
        && visited.callsite == callsite
        && visited.store == store.id
        && visited.seen & bit == 0;
    if !known {
        let (span, trace) = context_of_event(store, event).unwrap_or((0, None));
        if !wants(trace.as_ref()) {
            let _ = EVENT.try_with(|cell| cell.replace(Some(visited)));
            return None;
        }
        visited.fields.clear();
        let limits = store.bounds().visit_event;
        visited.fields.trim(256 * 1024);
        if is_log_record(event.metadata()) {
            visited.fields.begin_origin();
        }
        let special = callsite::special(event.metadata());
        visited.fields.has_json = special.is_none() && !visited.fields.has_origin && store.wants_json();
        visited.fields.json_only = visited.fields.has_json && !store.wants_attributes();
        let mut visitor = FieldVisitor { visited: &mut visited.fields, tag: EVENT_ATTRIBUTE, limits };
        match special {
            None => event.record(&mut visitor),
            Some(special) => redact::visit_special(visitor, special, &|visitor| event.record(visitor)),
        }
        visited.timestamp = clock::unix_nanos();
        visited.span = span;
        visited.trace = trace;
        visited.event = address;
        visited.callsite = callsite;
        visited.store = store.id;
        visited.seen = 0;
    }
    visited.seen |= bit;
    let shown = show(&visited);
    let _ = EVENT.try_with(|cell| cell.replace(Some(visited)));
    Some(shown)
}
