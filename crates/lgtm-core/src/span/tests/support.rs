//! A layer that notes what it sees, and registries of several such layers.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing_core::span::{Attributes as NewSpan, Id, Record};
use tracing_core::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::current::TraceContext;
use crate::ids::{SpanId, TraceId};
use crate::sampler::Sampler;
use crate::span::store::{SpanStore, find_store};
use crate::span::{Attachment, Attributes, Role, SpanKind, SpanRecord, Status, Value};

/// A span as a layer sees it close.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent_span_id: SpanId,
    pub(super) remote_parent: bool,
    pub(super) sampled: bool,
    pub(super) trace_state: Option<String>,
    pub(super) kind: SpanKind,
    pub(super) status: Status,
    pub(super) status_description: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) dropped_attributes: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) context: Option<TraceContext>,
}

impl Closed {
    fn of(record: &SpanRecord) -> Self {
        let fields = fields_of(&record.attributes);
        assert_eq!(fields.len(), record.attribute_count as usize, "the count of attributes is wrong: {fields:?}");
        Self {
            id: record.id,
            name: record.name().to_owned(),
            trace_id: record.trace_id,
            span_id: record.span_id,
            parent_span_id: record.parent_span_id,
            remote_parent: record.remote_parent,
            sampled: record.sampled,
            trace_state: record.trace_state.as_deref().map(str::to_owned),
            kind: record.kind,
            status: record.status,
            status_description: record.status_description.clone(),
            fields,
            dropped_attributes: record.dropped_attributes,
            start: record.start,
            end: record.end,
            context: record.context(),
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn fields_of(encoded: &[u8]) -> Vec<(String, String)> {
    let owned = |text: &dyn AsRef<[u8]>| String::from_utf8(text.as_ref().to_vec()).unwrap();
    Attributes::new(encoded)
        .map(|attribute| {
            let text = match attribute.value {
                Value::Text(text) => owned(&text),
                other => format!("{other:?}"),
            };
            (owned(&attribute.key), text)
        })
        .collect()
}

/// An event as a layer sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenEvent {
    pub(super) message: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) dropped: u32,
    pub(super) exception: Option<(String, String)>,
    pub(super) span: u64,
    pub(super) trace: Option<TraceContext>,
    pub(super) timestamp: u64,
}

/// What a layer has seen.
#[derive(Default)]
pub(super) struct Log {
    closed: Mutex<Vec<Closed>>,
    events: Mutex<Vec<SeenEvent>>,
}

impl Log {
    pub(super) fn closed(&self) -> Vec<Closed> {
        self.closed.lock().clone()
    }

    pub(super) fn events(&self) -> Vec<SeenEvent> {
        self.events.lock().clone()
    }

    /// The span of this name, the last one of several.
    #[track_caller]
    pub(super) fn span(&self, name: &str) -> Closed {
        let closed = self.closed.lock();
        let found = closed.iter().rev().find(|span| span.name == name).cloned();
        found.unwrap_or_else(|| panic!("no span {name:?} has closed: {closed:?}"))
    }

    #[track_caller]
    pub(super) fn event(&self, message: &str) -> SeenEvent {
        let events = self.events.lock();
        let found = events.iter().rev().find(|event| event.message == message).cloned();
        found.unwrap_or_else(|| panic!("no event {message:?}: {events:?}"))
    }
}

/// A layer that forwards all its callbacks to an attachment, as the signals' layers do.
pub(super) struct Probe {
    pub(super) attachment: Arc<Attachment>,
    pub(super) log: Arc<Log>,
}

impl Probe {
    pub(super) fn new(role: Role) -> Self {
        Self::sampled(role, None)
    }

    pub(super) fn sampled(role: Role, sampler: Option<Sampler>) -> Self {
        Self { attachment: Arc::new(Attachment::new(role, sampler)), log: Arc::default() }
    }

    /// The text that a log layer would write of this span and its ancestors, leaf first.
    pub(super) fn text(attachment: &Attachment, span: u64) -> Option<String> {
        let one = |record: &SpanRecord| format!("{}{:?} ", record.name(), fields_of(&record.attributes));
        let cached = attachment.log_context(
            span,
            |context, spans| spans(&mut |record| context.fields.extend_from_slice(one(record).as_bytes())),
            |context| String::from_utf8(context.fields.clone()).unwrap(),
        );
        cached.or_else(|| {
            let mut text = String::new();
            attachment.ancestry(span, &mut |record| text.push_str(&one(record)));
            (!text.is_empty()).then_some(text)
        })
    }
}

impl<S> Layer<S> for Probe
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.attachment.register(dispatch);
    }

    fn on_new_span(&self, attributes: &NewSpan<'_>, id: &Id, context: Context<'_, S>) {
        self.attachment.new_span(attributes, id, &context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.attachment.record(id, values);
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        self.attachment.announce_event();
        true
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.attachment.event(event, |visited| {
            self.log.events.lock().push(SeenEvent {
                message: visited.message().to_owned(),
                fields: fields_of(visited.attributes()),
                dropped: visited.dropped_attributes(),
                exception: visited.exception().map(|found| (found.message.clone(), found.chain.clone())),
                span: visited.span,
                trace: visited.trace,
                timestamp: visited.timestamp,
            });
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(closed) = self.attachment.close(&id, |record| Closed::of(record)) {
            self.log.closed.lock().push(closed);
        }
    }
}

type Filter = FilterFn<fn(&Metadata<'_>) -> bool>;

pub(super) fn everything() -> Filter {
    filter_fn(|_| true)
}

/// Hides spans and events with the target `hidden`.
pub(super) fn not_hidden() -> Filter {
    filter_fn(|metadata| metadata.target() != "hidden")
}

/// A registry with one layer.
pub(super) fn one(probe: Probe) -> (Dispatch, Arc<Log>, Arc<Attachment>) {
    let (log, attachment) = (Arc::clone(&probe.log), Arc::clone(&probe.attachment));
    (Dispatch::new(Registry::default().with(probe)), log, attachment)
}

/// A registry with these layers, the first one innermost.
pub(super) fn three(layers: [(Probe, Filter); 3]) -> Dispatch {
    let [first, second, third] = layers.map(|(probe, filter)| (probe, filter));
    Dispatch::new(
        Registry::default()
            .with(first.0.with_filter(first.1))
            .with(second.0.with_filter(second.1))
            .with(third.0.with_filter(third.1)),
    )
}

pub(super) fn store_of(dispatch: &Dispatch) -> Arc<SpanStore> {
    find_store(dispatch).expect("a layer is attached")
}

/// The registry's id of a span.
pub(super) fn id_of(span: &tracing::Span) -> u64 {
    span.id().expect("the span is enabled").into_u64()
}
