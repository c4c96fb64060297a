//! The record of one span: what every layer knows about it. Guarded by its slot's lock; no user code runs under that.

use std::sync::Arc;

use tracing_core::Metadata;

use super::attributes::Attributes;
use super::fields::{SpanKind, Status, VisitLimits, Visited};
use super::fit::split_first;
use super::ids::IdState;
use super::undecided::UndecidedTrace;
use crate::current::TraceContext;
use crate::ids::{SpanId, TraceId};
use crate::{callsite, clock};

/// Bounds of one span. Defaults are the OpenTelemetry specification's (SpanLimits) where it has one. Log lines are not bound
/// by them: of an event or span they have the first 128 fields, or as many as its attributes, and 128 KiB of each.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Attributes of a span. Default: 128.
    pub attributes: u32,
    /// Attributes of one event. Default: 128.
    pub event_attributes: u32,
    /// Attributes of one link. Default: 128.
    pub link_attributes: u32,
    /// Events of a span. Default: 128.
    pub events: u32,
    /// Links of a span. Default: 128.
    pub links: u32,
    /// Bytes of one attribute's value; longer ones are cut at a character's boundary. Default, and at most: 128 KiB.
    pub value_bytes: usize,
    /// Bytes of all attributes of a span or event, of all events of a span, and of all its links. Default: 256 KiB each.
    pub span_bytes: usize,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        attributes: 128,
        event_attributes: 128,
        link_attributes: 128,
        events: 128,
        links: 128,
        value_bytes: 128 * 1024,
        span_bytes: 256 * 1024,
    };

    /// What the visit of this many attributes takes, for all layers: exported ones are bound by [`fit`](super::fit::fit).
    const fn visit_of(&self, attributes: u32) -> VisitLimits {
        let least = Self::DEFAULT.attributes;
        VisitLimits {
            attributes: if attributes < least { least } else { attributes },
            value_bytes: Self::DEFAULT.value_bytes,
            bytes: self.span_bytes,
        }
    }

    /// Whether attributes may be visited that these bounds do not let through.
    #[must_use]
    pub fn are_below_default(&self) -> bool {
        let Self { attributes, event_attributes, value_bytes, .. } = Self::DEFAULT;
        self.attributes < attributes || self.event_attributes < event_attributes || self.value_bytes < value_bytes
    }
}

/// The bounds of a registry's spans, and of the visits that all its layers share.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) exported: Limits,
    pub(crate) visit_span: VisitLimits,
    pub(crate) visit_event: VisitLimits,
}

impl Bounds {
    pub(crate) const DEFAULT: Self = Self::of(Limits::DEFAULT);

    pub(crate) const fn of(limits: Limits) -> Self {
        Self {
            exported: limits,
            visit_span: limits.visit_of(limits.attributes),
            visit_event: limits.visit_of(limits.event_attributes),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a log layer keeps on a span between two of its lines: text made of the fields of the span and its ancestors.
#[derive(Debug, Default)]
pub struct LogContext {
    /// The layer whose text this is; 0: none.
    pub(crate) layer: u32,
    /// Whether a line has asked for the text before.
    pub(crate) asked: bool,
    /// The trace's epoch (see the store) at which the text was made.
    pub(crate) epoch: u32,
    /// The first part of the text.
    pub fields: Vec<u8>,
    /// The second part of the text.
    pub spans: Vec<u8>,
    /// A bit for each key in the text, by the layer's own hash.
    pub keys: u64,
}

/// Buffers above this size are given back when a span closes: a store keeps thousands of records.
const KEPT_BYTES: usize = 2048;

/// One open span.
#[derive(Debug, Default)]
pub struct SpanRecord {
    /// The registry's id; 0: the record is vacant.
    pub(crate) id: u64,
    /// The layers that saw the span open and have not seen it close.
    pub(crate) layers: u32,
    /// The nearest exported span: this one, or an ancestor. Zero: none.
    pub(crate) anchor: SpanId,
    /// Who says the ids.
    pub(super) ids: IdState,
    /// Whether an id of this span has left the process.
    pub(crate) exposed: bool,
    /// Whether a cached [`LogContext`], of this span or of a descendant, contains this span's fields.
    pub(crate) logged: bool,
    pub(crate) event_bytes_full: bool,
    /// Whether there are attributes that the span's macro does not name.
    pub has_foreign_attributes: bool,
    /// The registry's id of the nearest ancestor that has a record; 0: a local root.
    pub parent: u64,
    /// The callsite. `None` only while vacant.
    pub metadata: Option<&'static Metadata<'static>>,
    /// The trace.
    pub trace_id: TraceId,
    /// This span.
    pub span_id: SpanId,
    /// The nearest exported ancestor, or the remote parent; zero for a root.
    pub parent_span_id: SpanId,
    /// Whether the parent is in another process.
    pub remote_parent: bool,
    /// The head sampler's decision for the trace.
    pub sampled: bool,
    /// The probability with which the head sampler of this process keeps the trace; 0: another one's decision was followed.
    pub probability: f64,
    /// What holds the spans of a trace while the keep rules have not decided.
    pub undecided: Option<Arc<UndecidedTrace>>,
    /// Whether the remote parent says that the trace id is random.
    pub random_trace_id: bool,
    /// W3C `tracestate`, taken over from the remote parent.
    pub trace_state: Option<Arc<str>>,
    /// From the field `otel.name`; else the metadata's name counts.
    pub name: Option<String>,
    /// From the field `otel.kind`.
    pub kind: SpanKind,
    /// From the field `otel.status_code`, or from an event of level ERROR.
    pub status: Status,
    /// From the field `otel.status_description`, or the message of the event that set the status.
    pub status_description: String,
    /// Whether the program itself has set the status: events do not change it any more.
    pub status_is_set: bool,
    /// When the span was opened: nanoseconds since the Unix epoch.
    pub start: u64,
    /// When it was closed; 0 while open.
    pub end: u64,
    /// The fields, as OTLP `Span.attributes`.
    pub attributes: Vec<u8>,
    /// The fields as a line has them, if they were written when the span opened.
    pub(crate) json: Vec<u8>,
    pub(crate) has_json: bool,
    /// What an exporting layer adds, as OTLP `Span.attributes`: no part of log lines.
    pub exported_attributes: Vec<u8>,
    /// How long the span was entered, if a layer asks for it.
    pub busy_and_idle: Option<BusyAndIdle>,
    /// Number of attributes.
    pub attribute_count: u32,
    /// Attributes over the limit.
    pub dropped_attributes: u32,
    /// Events, as OTLP `Span.events`.
    pub events: Vec<u8>,
    /// Number of events.
    pub event_count: u32,
    /// Events over the limit.
    pub dropped_events: u32,
    /// Links, as OTLP `Span.links`.
    pub links: Vec<u8>,
    /// Number of links.
    pub link_count: u32,
    /// Links over the limit.
    pub dropped_links: u32,
    /// The log layer's cache.
    pub log: LogContext,
}

/// How long a span was entered and how long not.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusyAndIdle {
    /// Nanoseconds inside.
    busy: u64,
    /// When the span was entered or left last, on the clock that is never set.
    turned: u64,
    /// How often it is entered now: threads may be in it at once.
    entered: u32,
}

impl BusyAndIdle {
    fn pass(&mut self) {
        let now = clock::monotonic_nanos();
        let passed = now.saturating_sub(self.turned);
        self.turned = self.turned.max(now);
        if self.entered > 0 {
            self.busy += passed;
        }
    }

    /// Nanoseconds inside and outside of a span that ends now and took so many.
    #[must_use]
    pub fn of(mut self, nanoseconds: u64) -> (u64, u64) {
        self.pass();
        let busy = self.busy.min(nanoseconds);
        (busy, nanoseconds - busy)
    }
}

impl SpanRecord {
    /// From here on the time inside and outside the span is measured.
    pub fn begin_turns(&mut self) {
        self.busy_and_idle = Some(BusyAndIdle { turned: clock::monotonic_nanos(), ..BusyAndIdle::default() });
    }

    /// The span is entered, or left.
    pub fn turn(&mut self, enters: bool) {
        let Some(times) = &mut self.busy_and_idle else { return };
        times.pass();
        times.entered = if enters { times.entered + 1 } else { times.entered.saturating_sub(1) };
    }

    /// The span's name: `otel.name`, else the callsite's.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None => self.metadata.map_or("", Metadata::name),
        }
    }

    /// The place in the trace that logs, exemplars and children of this span point at.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        if self.anchor.is_zero() {
            return None;
        }
        Some(TraceContext::new(self.trace_id, self.anchor, self.sampled).waiting_for(self.undecided.as_deref()))
    }

    /// Whether the span is exported, or may still be: what happens in it is worth noting.
    #[must_use]
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.sampled || self.undecided.as_ref().is_some_and(|trace| trace.is_kept() != Some(false))
    }

    /// Whether an exporting layer sees this span, or there is none.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.anchor == self.span_id
    }

    /// Iterates over the fields.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.attributes)
    }

    /// The fields as a JSON line has them, where that is known without reading them: a line is being made. A span of a callsite
    /// whose spans have had lines before writes them when it opens, if a layer of its registry reads JSON.
    #[must_use]
    #[inline]
    pub fn json_fields(&self) -> Option<&[u8]> {
        if self.has_json {
            return Some(&self.json);
        }
        if let Some(callsite) = self.metadata {
            callsite::expect_lines(callsite);
        }
        None
    }

    /// Appends one encoded event unless a limit is reached; then counts it.
    pub fn push_event(&mut self, limits: &Limits, write: impl FnOnce(&mut Vec<u8>)) {
        if self.event_count >= limits.events || self.event_bytes_full {
            self.dropped_events += 1;
            return;
        }
        let before = self.events.len();
        write(&mut self.events);
        if self.events.len() > limits.span_bytes {
            self.events.truncate(before);
            self.event_bytes_full = true;
            self.dropped_events += 1;
            return;
        }
        self.event_count += 1;
    }

    /// Appends one encoded link unless a limit is reached; then counts it.
    pub fn push_link(&mut self, limits: &Limits, write: impl FnOnce(&mut Vec<u8>)) {
        if self.link_count >= limits.links {
            self.dropped_links += 1;
            return;
        }
        let before = self.links.len();
        write(&mut self.links);
        if self.links.len() > limits.span_bytes {
            self.links.truncate(before);
            self.dropped_links += 1;
            return;
        }
        self.link_count += 1;
    }

    /// Takes over the fields of a first visit.
    pub(crate) fn take_fields(&mut self, visited: &mut Visited) {
        self.attribute_count = visited.count;
        self.dropped_attributes = visited.dropped;
        std::mem::swap(&mut self.attributes, &mut visited.attributes);
        self.has_json = visited.has_json;
        if visited.has_json {
            std::mem::swap(&mut self.json, &mut visited.json);
        }
        self.describe(visited);
    }

    /// Takes over fields recorded late: a new value replaces the old one of the same name.
    pub(crate) fn merge_fields(&mut self, visited: &mut Visited, limits: VisitLimits) {
        self.dropped_attributes += visited.dropped;
        self.has_json = false;
        let mut rest = visited.attributes.as_slice();
        while let Some((pair, after)) = split_first(rest) {
            rest = after;
            if let Some(attribute) = Attributes::new(pair).next() {
                self.remove_attribute(attribute.key);
            }
            if self.attribute_count >= limits.attributes || self.attributes.len() + pair.len() > limits.bytes {
                self.dropped_attributes += 1;
            } else {
                self.attribute_count += 1;
                self.attributes.extend_from_slice(pair);
            }
        }
        self.describe(visited);
    }

    fn describe(&mut self, visited: &mut Visited) {
        if let Some(name) = visited.name.take() {
            self.name = Some(name);
        }
        if let Some(kind) = visited.kind {
            self.kind = kind;
        }
        if let Some(status) = visited.status {
            self.set_status(status, visited.status_description.take().unwrap_or_default());
        } else if let Some(description) = visited.status_description.take()
            && self.status != Status::Ok
        {
            self.status_description = description;
        }
    }

    /// Sets the status as the program asked: events of level ERROR do not change it any more.
    pub fn set_status(&mut self, status: Status, description: String) {
        // The specification: Ok is final, and a description belongs to Error alone.
        if self.status_is_set && self.status == Status::Ok {
            return;
        }
        self.status_is_set = status != Status::Unset;
        self.status = status;
        if status == Status::Error {
            if !description.is_empty() {
                self.status_description = description;
            }
        } else {
            self.status_description.clear();
        }
    }

    fn remove_attribute(&mut self, key: &[u8]) {
        let mut rest = self.attributes.as_slice();
        while let Some((pair, after)) = split_first(rest) {
            if Attributes::new(pair).next().is_some_and(|attribute| attribute.key == key) {
                let end = self.attributes.len() - after.len();
                self.attributes.drain(end - pair.len()..end);
                self.attribute_count = self.attribute_count.saturating_sub(1);
                return;
            }
            rest = after;
        }
    }

    /// Makes the record vacant, keeping its buffers.
    pub(crate) fn recycle(&mut self) {
        self.id = 0;
        self.layers = 0;
        self.anchor = SpanId::ZERO;
        self.ids = IdState::Own;
        self.exposed = false;
        self.logged = false;
        self.event_bytes_full = false;
        self.has_foreign_attributes = false;
        self.probability = 0.0;
        self.undecided = None;
        self.parent = 0;
        self.metadata = None;
        self.parent_span_id = SpanId::ZERO;
        self.remote_parent = false;
        self.sampled = false;
        self.random_trace_id = false;
        self.trace_state = None;
        self.name = None;
        self.kind = SpanKind::Internal;
        self.status = Status::Unset;
        self.status_description.clear();
        self.status_is_set = false;
        self.end = 0;
        self.busy_and_idle = None;
        self.has_json = false;
        self.attribute_count = 0;
        self.dropped_attributes = 0;
        self.event_count = 0;
        self.dropped_events = 0;
        self.link_count = 0;
        self.dropped_links = 0;
        self.log.layer = 0;
        self.log.asked = false;
        for buffer in [
            &mut self.attributes,
            &mut self.json,
            &mut self.exported_attributes,
            &mut self.events,
            &mut self.links,
            &mut self.log.fields,
            &mut self.log.spans,
        ] {
            buffer.clear();
            if buffer.capacity() > KEPT_BYTES {
                buffer.shrink_to(KEPT_BYTES);
            }
        }
    }
}
