//! Shape and admit: from a visited event to an item of the queue. Caller threads, and the worker for what a layer itself has to say.

use std::sync::Arc;

use lgtm_core::pipeline::Queue;
use lgtm_core::protobuf::{length_tag, put_bytes};
use lgtm_core::span::{Attachment, VisitSpan, VisitedEvent};
use lgtm_core::with_buffer;
use tracing_core::Metadata;

use crate::builder::Format;
use crate::labels::Streams;
use crate::line::plain;
use crate::{labels, line, metadata, otlp, record};

const LINE: u8 = length_tag(2);

/// Writes events as items.
#[derive(Debug)]
pub(crate) struct Writer {
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

/// The spans around an event; none where a layer itself speaks.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    attachment: Option<&'a Attachment>,
    span: u64,
}

impl Surroundings<'_> {
    /// Shows the spans, from the leaf to the root.
    fn visit(self, visit: VisitSpan<'_>) {
        if let Some(attachment) = self.attachment {
            attachment.ancestry(self.span, visit);
        }
    }

    /// An id of the span leaves the process.
    fn expose(self) {
        if self.span != 0
            && let Some(attachment) = self.attachment
        {
            attachment.expose(self.span);
        }
    }
}

impl Writer {
    pub(crate) fn new(shape: Shape, max_line_bytes: usize) -> Self {
        Self { shape, max_line_bytes }
    }

    /// Whether lines have the fields of events as JSON.
    pub(crate) fn reads_json(&self) -> bool {
        matches!(&self.shape, Shape::Entry(EntryShape { format: Format::Json, streams, .. }) if streams.of_fields().is_none())
    }

    /// Writes the event, among the spans of this attachment.
    #[inline]
    pub(crate) fn admit(
        &self,
        queue: &Queue,
        attachment: Option<&Attachment>,
        callsite: &'static Metadata<'static>,
        event: &VisitedEvent,
    ) {
        let spans = Surroundings { attachment, span: event.span };
        match &self.shape {
            Shape::Entry(shape) => self.admit_entry(queue, spans, shape, callsite, event),
            Shape::Record => self.admit_record(queue, spans, callsite, event),
        }
    }

    #[inline]
    fn admit_entry(
        &self,
        queue: &Queue,
        spans: Surroundings<'_>,
        shape: &EntryShape,
        callsite: &'static Metadata<'static>,
        event: &VisitedEvent,
    ) {
        with_buffer(|text| {
            match shape.format {
                Format::Json => self.json(text, spans, callsite, event),
                Format::Logfmt => self.plain(text, plain::Style::Logfmt, spans, callsite, event),
                Format::Text => self.plain(text, plain::Style::Text, spans, callsite, event),
            }
            let mut stream = labels::stream_of(*callsite.level());
            if let Some(labels) = shape.streams.of_fields() {
                let combination = labels.of_line(event, &mut |visit| spans.visit(visit));
                stream = labels::stream_in(combination, stream);
            }
            queue.admit_at(labels::priority_of(*callsite.level()), stream, event.timestamp, |buffer| {
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
    fn admit_record(
        &self,
        queue: &Queue,
        spans: Surroundings<'_>,
        callsite: &'static Metadata<'static>,
        event: &VisitedEvent,
    ) {
        spans.expose();
        with_buffer(|content| {
            record::write(content, callsite, event, self.max_line_bytes, &mut |visit| spans.visit(visit));
            queue.admit_at(labels::priority_of(*callsite.level()), 0, event.timestamp, |buffer| {
                put_bytes(buffer, otlp::LOG_RECORD, content);
            });
        });
    }

    #[inline]
    fn json(
        &self,
        text: &mut Vec<u8>,
        spans: Surroundings<'_>,
        callsite: &'static Metadata<'static>,
        event: &VisitedEvent,
    ) {
        let keys = line::begin(text, callsite, event);
        if event.span != 0
            && let Some(attachment) = spans.attachment
        {
            attachment.expose(event.span);
            append_spans(text, attachment, event.span, keys);
        }
        if event.is_cut() {
            line::mark(text);
        }
        line::end(text);
        if text.len() > self.max_line_bytes {
            self.truncate(text, spans, callsite, event);
        }
    }

    #[cold]
    fn truncate(
        &self,
        text: &mut Vec<u8>,
        spans: Surroundings<'_>,
        callsite: &'static Metadata<'static>,
        event: &VisitedEvent,
    ) {
        line::truncate(text, callsite, event, self.max_line_bytes, &mut |visit| spans.visit(visit));
    }

    #[cold]
    fn plain(
        &self,
        text: &mut Vec<u8>,
        style: plain::Style,
        spans: Surroundings<'_>,
        callsite: &Metadata<'_>,
        event: &VisitedEvent,
    ) {
        spans.expose();
        plain::write(text, style, callsite, event, self.max_line_bytes, &mut |visit| spans.visit(visit));
    }
}

/// Takes the span's share of its lines, or writes this line's own: for the first line, and where a field of the event
/// may have the name of a span's.
#[inline]
fn append_spans(text: &mut Vec<u8>, attachment: &Attachment, span: u64, keys: line::Keys) {
    let shared = attachment.log_context(span, line::context, |context| {
        let shared = context.keys & keys.one == 0;
        if shared {
            text.extend_from_slice(&context.fields);
            text.extend_from_slice(&context.spans);
        }
        shared
    });
    if shared != Some(true) {
        line::append_spans(text, keys, &mut |visit| attachment.ancestry(span, visit));
    }
}
