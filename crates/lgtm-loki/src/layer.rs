//! Capture: the `tracing` layer. Caller threads.

use std::sync::Arc;

use lgtm_core::pipeline::Queue;
use lgtm_core::protobuf::{length_tag, put_bytes};
use lgtm_core::span::{Attachment, EventFields, Role, VisitedEvent};
use lgtm_core::with_buffer;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::builder::Format;
use crate::labels::Streams;
use crate::line::plain;
use crate::{labels, line, metadata, otlp, record};

const LINE: u8 = length_tag(2);

/// Sends every event it sees to Loki. Made by [`builder`](crate::builder).
#[derive(Debug)]
pub struct Layer {
    attachment: Attachment,
    queue: Arc<Queue>,
    shape: Shape,
    max_line_bytes: usize,
}

/// What becomes of an event.
#[derive(Debug)]
pub(crate) enum Shape {
    /// An entry of Loki's push.
    Entry(EntryShape),
    /// An OTLP log record.
    Record,
}

/// What an entry of Loki's push looks like.
#[derive(Debug)]
pub(crate) struct EntryShape {
    /// The structured metadata of this process.
    pub(crate) identity: Vec<u8>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) format: Format,
}

impl Layer {
    pub(crate) fn new(queue: Arc<Queue>, shape: Shape, max_line_bytes: usize) -> Self {
        let mut attachment = Attachment::new(Role::Observer, None);
        if let Shape::Entry(EntryShape { format: Format::Json, streams, .. }) = &shape
            && streams.of_fields().is_none()
        {
            attachment = attachment.with_event_fields(EventFields::Json);
        }
        Self { attachment, queue, shape, max_line_bytes }
    }

    /// The layer sees nothing from now on. For a child that was forked: its layers are the parent's.
    pub fn retire(&self) {
        self.attachment.retire();
    }

    fn admit(&self, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        match &self.shape {
            Shape::Entry(shape) => self.admit_entry(shape, callsite, event),
            Shape::Record => self.admit_record(callsite, event),
        }
    }

    fn admit_entry(&self, shape: &EntryShape, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        with_buffer(|text| {
            match shape.format {
                Format::Json => self.json(text, callsite, event),
                Format::Logfmt => self.plain(text, plain::Style::Logfmt, callsite, event),
                Format::Text => self.plain(text, plain::Style::Text, callsite, event),
            }
            let mut stream = labels::stream_of(*callsite.level());
            if let Some(labels) = shape.streams.of_fields() {
                let combination = labels.of_line(event, &mut |visit| self.attachment.ancestry(event.span, visit));
                stream = labels::stream_in(combination, stream);
            }
            self.queue.admit_at(labels::priority_of(*callsite.level()), stream, event.timestamp, |buffer| {
                put_bytes(buffer, LINE, text);
                if let Some(trace) = &event.trace {
                    metadata::of_trace(buffer, trace);
                }
                match event.origin() {
                    None => metadata::of_callsite(buffer, callsite),
                    Some(origin) => metadata::of_origin(buffer, origin),
                }
                buffer.extend_from_slice(&shape.identity);
            });
        });
    }

    #[inline(never)]
    fn admit_record(&self, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        if event.span != 0 {
            self.attachment.expose(event.span);
        }
        with_buffer(|content| {
            record::write(content, callsite, event, self.max_line_bytes, &mut |visit| {
                self.attachment.ancestry(event.span, visit);
            });
            self.queue.admit_at(labels::priority_of(*callsite.level()), 0, event.timestamp, |buffer| {
                put_bytes(buffer, otlp::LOG_RECORD, content);
            });
        });
    }

    fn json(&self, text: &mut Vec<u8>, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        let keys = line::begin(text, callsite, event);
        if event.span != 0 {
            self.attachment.expose(event.span);
            self.append_spans(text, event.span, keys);
        }
        if event.is_cut() {
            line::mark(text);
        }
        line::end(text);
        if text.len() > self.max_line_bytes {
            self.truncate(text, callsite, event);
        }
    }

    #[cold]
    fn truncate(&self, text: &mut Vec<u8>, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        line::truncate(text, callsite, event, self.max_line_bytes, &mut |visit| {
            self.attachment.ancestry(event.span, visit);
        });
    }

    #[cold]
    fn plain(&self, text: &mut Vec<u8>, style: plain::Style, callsite: &Metadata<'_>, event: &VisitedEvent) {
        if event.span != 0 {
            self.attachment.expose(event.span);
        }
        let spans: line::Spans<'_> = &mut |visit| self.attachment.ancestry(event.span, visit);
        plain::write(text, style, callsite, event, self.max_line_bytes, spans);
    }

    /// Takes the span's share of its lines, or writes this line's own: for the first line, and where a field of the event
    /// may have the name of a span's.
    fn append_spans(&self, text: &mut Vec<u8>, span: u64, keys: line::Keys) {
        let shared = self.attachment.log_context(span, line::context, |context| {
            let shared = context.keys & keys.one == 0;
            if shared {
                text.extend_from_slice(&context.fields);
                text.extend_from_slice(&context.spans);
            }
            shared
        });
        if shared != Some(true) {
            line::append_spans(text, keys, &mut |visit| self.attachment.ancestry(span, visit));
        }
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
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
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.attachment.record(id, values);
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        self.attachment.announce_event();
        true
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let callsite = event.metadata();
        self.attachment.event(event, |visited| self.admit(callsite, visited));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.attachment.close(&id, |_| ());
    }
}
