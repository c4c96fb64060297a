//! Visits the fields of a span or event once, for all layers, into OTLP attributes. Caller threads, no lock held: a
//! `Debug` implementation is user code and may log.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing_core::field::{Field, Visit};

use super::attributes::Value;
use crate::json;
use crate::protobuf::{self, fixed64_tag, length_tag, varint_tag};

/// The tag of `Span.attributes` in OTLP's trace.proto.
pub(crate) const SPAN_ATTRIBUTE: u8 = length_tag(9);
/// The tag of `Span.Event.attributes` in OTLP's trace.proto.
pub(crate) const EVENT_ATTRIBUTE: u8 = length_tag(3);

/// The tag of `Span.Link.attributes` in OTLP's trace.proto.
pub(super) const LINK_ATTRIBUTE: u8 = length_tag(4);

pub(super) const KEY: u8 = length_tag(1);
pub(super) const VALUE: u8 = length_tag(2);
pub(super) const STRING_VALUE: u8 = length_tag(1);
pub(super) const BOOL_VALUE: u8 = varint_tag(2);
pub(super) const INT_VALUE: u8 = varint_tag(3);
const DOUBLE_VALUE: u8 = fixed64_tag(4);

/// OTLP's `SpanKind`, by its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanKind {
    /// Work inside a service. The default.
    #[default]
    Internal = 1,
    /// Answers a request.
    Server = 2,
    /// Makes a request and waits for the answer.
    Client = 3,
    /// Puts a message into a queue.
    Producer = 4,
    /// Takes a message from a queue.
    Consumer = 5,
}

impl SpanKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer];

    /// The kind's lower-case name, as in the label `span_kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// OTLP's `Status.StatusCode`, by its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Nothing said.
    #[default]
    Unset = 0,
    /// Set to a success on purpose.
    Ok = 1,
    /// Failed.
    Error = 2,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("ok") {
            Some(Self::Ok)
        } else if text.eq_ignore_ascii_case("error") {
            Some(Self::Error)
        } else if text.eq_ignore_ascii_case("unset") {
            Some(Self::Unset)
        } else {
            None
        }
    }
}

/// An error value found among an event's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Its `Display` text.
    pub message: String,
    /// It and its sources, a line each; empty if it has none.
    pub chain: String,
}

/// The outcome of a visit. Reused: all buffers keep their capacity.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    /// Repeated `KeyValue`s under `tag`.
    pub(crate) attributes: Vec<u8>,
    /// The fields of an event as a line has them, if this visit writes them.
    pub(crate) json: Vec<u8>,
    pub(crate) has_json: bool,
    /// This visit writes no attributes: only lines are made of the event.
    pub(crate) json_only: bool,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
    /// A value or the message was longer than the limit.
    pub(crate) cut: bool,
    /// The field `message`.
    pub(crate) message: String,
    /// The error among the fields, if there is one.
    pub(crate) exception: Exception,
    pub(crate) has_exception: bool,
    /// The fields `otel.*`, which describe the span and are no attributes.
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<SpanKind>,
    pub(crate) status: Option<Status>,
    pub(crate) status_description: Option<String>,
    /// Where the event comes from, if it is a record of the `log` crate: its fields `log.*` say so.
    pub(crate) origin: Origin,
    pub(crate) has_origin: bool,
    /// Where `Debug` output is formatted before its length is known.
    text: String,
}

/// Where a record of another API comes from, the `log` crate's or OpenTelemetry's: its callsite in `tracing` is one for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The record's target.
    pub target: String,
    /// The source file; empty: unknown.
    pub file: String,
    /// The line in it; 0: unknown.
    pub line: u32,
    /// What only a record of OpenTelemetry has.
    pub record: Option<Box<OtelRecord>>,
}

/// What a record of OpenTelemetry says that an event of `tracing` does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtelRecord {
    /// `SeverityNumber`, 1 to 24; 0: not said.
    pub severity_number: u8,
    /// The severity as its source calls it; empty: not said.
    pub severity_text: &'static str,
    /// What identifies the class of event; empty: none.
    pub event_name: &'static str,
    /// When OpenTelemetry saw it: nanoseconds since the Unix epoch.
    pub observed_timestamp: u64,
    /// The library that speaks; empty: not said.
    pub scope_name: String,
    /// Its version; empty: not said.
    pub scope_version: String,
}

impl Visited {
    pub(crate) fn clear(&mut self) {
        self.attributes.clear();
        self.json.clear();
        self.has_json = false;
        self.json_only = false;
        self.count = 0;
        self.dropped = 0;
        self.cut = false;
        self.message.clear();
        self.has_exception = false;
        self.has_origin = false;
        self.name = None;
        self.kind = None;
        self.status = None;
        self.status_description = None;
    }

    /// The event is a record of the `log` crate.
    #[cold]
    pub(crate) fn begin_origin(&mut self) {
        self.has_origin = true;
        self.origin.target.clear();
        self.origin.file.clear();
        self.origin.line = 0;
        self.origin.record = None;
    }

    /// Gives back memory that an unusually large event took.
    #[inline]
    pub(crate) fn trim(&mut self, keep: usize) {
        if self
            .attributes
            .capacity()
            .max(self.json.capacity())
            .max(self.message.capacity())
            .max(self.text.capacity())
            .max(self.exception.chain.capacity())
            > keep
        {
            self.shrink(keep);
        }
    }

    #[cold]
    fn shrink(&mut self, keep: usize) {
        self.attributes.shrink_to(keep);
        self.json.shrink_to(keep);
        self.message.shrink_to(keep);
        self.text.shrink_to(keep);
        self.exception.message.shrink_to(keep);
        self.exception.chain.shrink_to(keep);
    }
}

/// What a visit may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VisitLimits {
    pub(crate) attributes: u32,
    pub(crate) value_bytes: usize,
    /// Bytes of all attributes together.
    pub(crate) bytes: usize,
}

/// Bytes of an encoded attribute besides its key and text, at most: five tags, three lengths, eight bytes of a number.
const FRAME_BYTES: usize = 28;

/// Visits a span's fields (with `tag` [`SPAN_ATTRIBUTE`]) or an event's ([`EVENT_ATTRIBUTE`]).
pub(crate) struct FieldVisitor<'a> {
    pub(crate) visited: &'a mut Visited,
    pub(crate) tag: u8,
    pub(crate) limits: VisitLimits,
}

impl FieldVisitor<'_> {
    fn is_span(&self) -> bool {
        self.tag == SPAN_ATTRIBUTE
    }

    /// Counts one more attribute, or one dropped over the limit.
    #[inline]
    fn admit(&mut self, key: &str, text_bytes: usize) -> bool {
        let written = if self.visited.json_only { self.visited.json.len() } else { self.visited.attributes.len() };
        if self.visited.count >= self.limits.attributes
            || written + key.len() + text_bytes + FRAME_BYTES > self.limits.bytes
        {
            self.visited.dropped += 1;
            return false;
        }
        self.visited.count += 1;
        true
    }

    /// Writes the field into the line that is made; true if that was all.
    #[inline(never)]
    fn line(&mut self, key: &str, value: Value<'_>) -> bool {
        json::field(&mut self.visited.json, key.as_bytes(), value, true);
        self.visited.json_only
    }

    /// Writes a `KeyValue` up to and including the tag of the `AnyValue`, whose content has `length` bytes.
    #[inline]
    pub(super) fn begin(&mut self, key: &str, length: usize) {
        let buffer = &mut self.visited.attributes;
        let pair = protobuf::field_length(key.len()) + protobuf::field_length(length);
        buffer.push(self.tag);
        protobuf::put_varint(buffer, pair as u64);
        protobuf::put_bytes(buffer, KEY, key.as_bytes());
        buffer.push(VALUE);
        protobuf::put_varint(buffer, length as u64);
    }

    fn text(&mut self, key: &str, text: &str) {
        let text = self.cut(text);
        if !self.admit(key, text.len()) || self.visited.has_json && self.line(key, text.into()) {
            return;
        }
        let pair = key.len() + text.len() + 6;
        if pair < 0x80 {
            // All lengths are of one byte: the heads are written in one go.
            let buffer = &mut self.visited.attributes;
            buffer.extend_from_slice(&[self.tag, pair as u8, KEY, key.len() as u8]);
            buffer.extend_from_slice(key.as_bytes());
            buffer.extend_from_slice(&[VALUE, text.len() as u8 + 2, STRING_VALUE, text.len() as u8]);
            buffer.extend_from_slice(text.as_bytes());
            return;
        }
        self.begin(key, protobuf::field_length(text.len()));
        protobuf::put_bytes(&mut self.visited.attributes, STRING_VALUE, text.as_bytes());
    }

    /// The part of a value that is within the limit.
    #[inline]
    fn cut<'t>(&mut self, text: &'t str) -> &'t str {
        if text.len() <= self.limits.value_bytes { text } else { self.cut_long(text) }
    }

    #[cold]
    fn cut_long<'t>(&mut self, text: &'t str) -> &'t str {
        self.visited.cut = true;
        cut(text, self.limits.value_bytes)
    }

    fn integer(&mut self, key: &str, value: i64) {
        if !self.admit(key, 0) || self.visited.has_json && self.line(key, value.into()) {
            return;
        }
        let bits = value.cast_unsigned();
        let length = protobuf::varint_length(bits);
        if key.len() < 0x70 {
            let buffer = &mut self.visited.attributes;
            buffer.extend_from_slice(&[self.tag, (key.len() + length) as u8 + 5, KEY, key.len() as u8]);
            buffer.extend_from_slice(key.as_bytes());
            buffer.extend_from_slice(&[VALUE, length as u8 + 1]);
        } else {
            self.begin(key, 1 + length);
        }
        protobuf::put_integer(&mut self.visited.attributes, INT_VALUE, bits);
    }

    fn double(&mut self, key: &str, value: f64) {
        if self.admit(key, 0) && !(self.visited.has_json && self.line(key, value.into())) {
            self.begin(key, 9);
            protobuf::put_fixed64(&mut self.visited.attributes, DOUBLE_VALUE, value.to_bits());
        }
    }

    fn bool(&mut self, key: &str, value: bool) {
        if self.admit(key, 0) && !(self.visited.has_json && self.line(key, value.into())) {
            self.begin(key, 2);
            protobuf::put_integer(&mut self.visited.attributes, BOOL_VALUE, u64::from(value));
        }
    }

    /// A value that is no field of a macro.
    pub(super) fn value(&mut self, key: &str, value: Value<'_>) {
        match value {
            Value::Text(text) => self.recorded_text(key, &String::from_utf8_lossy(text)),
            Value::Integer(number) => self.integer(key, number),
            Value::Double(number) => self.double(key, number),
            Value::Bool(flag) => self.bool(key, flag),
        }
    }

    /// A field whose name means nothing special.
    pub(super) fn plain_value(&mut self, key: &str, value: Value<'_>) {
        match value {
            Value::Text(text) => self.text(key, &String::from_utf8_lossy(text)),
            other => self.value(key, other),
        }
    }

    /// The message.
    pub(super) fn message(&mut self, text: &str) {
        let text = self.cut(text);
        self.visited.message.clear();
        self.visited.message.push_str(text);
    }

    /// The fields `log.*` that the bridge from the `log` crate writes; true if this was one.
    fn originates(&mut self, name: &[u8], text: &str) -> bool {
        let origin = &mut self.visited.origin;
        let place = match name {
            b"target" => &mut origin.target,
            b"file" => &mut origin.file,
            // The target begins with it, unless the program has chosen another one.
            b"module_path" => return true,
            _ => return false,
        };
        place.push_str(cut(text, 1024));
        true
    }

    /// The fields `otel.*` of a span; true if this was one.
    fn describe_span(&mut self, name: &str, text: &str) -> bool {
        match name {
            "otel.name" => self.visited.name = Some(cut(text, self.limits.value_bytes).to_owned()),
            "otel.kind" => match SpanKind::parse(text) {
                Some(kind) => self.visited.kind = Some(kind),
                None => return false,
            },
            "otel.status_code" => match Status::parse(text) {
                Some(status) => self.visited.status = Some(status),
                None => return false,
            },
            "otel.status_description" | "otel.status_message" => {
                self.visited.status_description = Some(cut(text, self.limits.value_bytes).to_owned());
            }
            _ => return false,
        }
        true
    }

    /// Formats into the scratch text, no further than the limit.
    fn format(&mut self, value: fmt::Arguments<'_>) -> String {
        let mut text = std::mem::take(&mut self.visited.text);
        text.clear();
        // The writer refuses what is over the limit; an error of the value's own formatting leaves what it wrote.
        let mut writer = Bounded { text: &mut text, limit: self.limits.value_bytes, cut: false };
        let _ = writer.write_fmt(value);
        self.visited.cut |= writer.cut;
        text
    }

    fn recorded_text(&mut self, name: &str, text: &str) {
        match name.as_bytes() {
            b"message" if self.tag == EVENT_ATTRIBUTE => {
                self.message(text);
            }
            [b'l', b'o', b'g', b'.', rest @ ..] if self.visited.has_origin && self.originates(rest, text) => {}
            [b'o', b't', b'e', b'l', b'.', ..] if self.is_span() && self.describe_span(name, text) => {}
            _ => self.text(name, text),
        }
    }
}

impl Visit for FieldVisitor<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.double(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if self.visited.has_origin && field.name() == "log.line" {
            self.visited.origin.line = u32::try_from(value).unwrap_or(0);
            return;
        }
        match i64::try_from(value) {
            Ok(value) => self.integer(field.name(), value),
            Err(_) => self.record_debug(field, &value),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.integer(field.name(), value),
            Err(_) => self.record_debug(field, &value),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match i64::try_from(value) {
            Ok(value) => self.integer(field.name(), value),
            Err(_) => self.record_debug(field, &value),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bool(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.recorded_text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let text = self.format(format_args!("{value}"));
        self.recorded_text(field.name(), &text);
        let mut exception = std::mem::take(&mut self.visited.exception);
        exception.message.clear();
        exception.message.push_str(&text);
        exception.chain.clear();
        self.visited.text = text;
        let mut source = value.source();
        let mut chain = Bounded { text: &mut exception.chain, limit: self.limits.value_bytes, cut: false };
        if source.is_some() {
            let _ = write!(chain, "{value}");
        }
        // A chain that leads back into itself would have no end.
        for _ in 0..32 {
            let Some(cause) = source else { break };
            let _ = write!(chain, "\ncaused by: {cause}");
            source = cause.source();
        }
        self.visited.exception = exception;
        self.visited.has_exception = true;
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !self.is_span() && field.name() == "message" {
            // Straight into place: most events have a formatted message.
            let mut message = std::mem::take(&mut self.visited.message);
            message.clear();
            let mut writer = Bounded { text: &mut message, limit: self.limits.value_bytes, cut: false };
            let _ = write!(writer, "{value:?}");
            self.visited.cut |= writer.cut;
            self.visited.message = message;
            return;
        }
        let text = self.format(format_args!("{value:?}"));
        self.recorded_text(field.name(), &text);
        self.visited.text = text;
    }
}

/// Appends an attribute of a span, outside all limits: for what a layer itself has to say.
pub fn put_attribute(buffer: &mut Vec<u8>, key: &str, value: Value<'_>) {
    let limits = VisitLimits { attributes: 1, value_bytes: usize::MAX, bytes: usize::MAX };
    let mut visited = Visited { attributes: std::mem::take(buffer), ..Visited::default() };
    FieldVisitor { visited: &mut visited, tag: SPAN_ATTRIBUTE, limits }.value(key, value);
    *buffer = visited.attributes;
}

/// The longest part of `text` of at most `limit` bytes that ends at a character's boundary.
#[must_use]
pub fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

/// A writer that stops at a limit, at a character's boundary.
struct Bounded<'a> {
    text: &'a mut String,
    limit: usize,
    /// Whether it has stopped.
    cut: bool,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let fitting = cut(part, self.limit.saturating_sub(self.text.len()));
        self.text.push_str(fitting);
        if fitting.len() < part.len() {
            self.cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}
