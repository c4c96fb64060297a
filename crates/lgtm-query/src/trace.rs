//! A trace as it reads: spans with names instead of protobuf's nesting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::Error;
use crate::ids::{SpanId, TraceId};
use crate::otlp_json;
use crate::tree::Tree;

/// Attribute names and values, sorted by name.
pub type Attributes = BTreeMap<String, AttributeValue>;

/// All spans of one trace that a backend has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// The id that was asked for.
    pub trace_id: TraceId,
    /// The resources that the spans come from, see [`Span::resource`].
    pub resources: Vec<Attributes>,
    /// The spans in the order of the answer. A span that was delivered twice may be there twice.
    pub spans: Vec<Span>,
    /// Why the trace is incomplete, if the backend says that it is.
    pub partial: Option<String>,
}

/// One span.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Span {
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The span's id.
    pub span_id: SpanId,
    /// The parent's id; absent for a root.
    pub parent_span_id: Option<SpanId>,
    /// The resource attribute `service.name`; empty if it is missing.
    pub service_name: String,
    /// The index of the span's resource in [`Trace::resources`].
    pub resource: usize,
    /// The name of the instrumentation scope.
    pub scope: String,
    /// The span's name.
    pub name: String,
    /// The role in a call.
    pub kind: SpanKind,
    /// When it started, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub end_unix_nanos: u64,
    /// How it ended.
    pub status: Status,
    /// The attributes.
    pub attributes: Attributes,
    /// What happened during the span, in the order of the answer.
    pub events: Vec<Event>,
    /// Spans that this one refers to.
    pub links: Vec<Link>,
    /// The W3C `tracestate`; empty if there is none.
    pub trace_state: String,
    /// How many attributes the program left out.
    pub dropped_attributes_count: u32,
    /// How many events the program left out.
    pub dropped_events_count: u32,
    /// How many links the program left out.
    pub dropped_links_count: u32,
}

/// The role of a span in a call between services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Within one service.
    Internal,
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Processes a message.
    Consumer,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    /// The verdict.
    pub code: StatusCode,
    /// The description of an error; empty if there is none.
    pub message: String,
}

/// The verdict on a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusCode {
    /// Not said, which is the usual case for success.
    #[default]
    Unset,
    /// Said to be successful.
    Ok,
    /// Failed.
    Error,
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Event {
    /// The name; `exception` for errors.
    pub name: String,
    /// When, in nanoseconds since the Unix epoch.
    pub time_unix_nanos: u64,
    /// The attributes.
    pub attributes: Attributes,
    /// How many attributes the program left out.
    pub dropped_attributes_count: u32,
}

/// A reference to a span, often of another trace.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Link {
    /// The trace of the other span.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// The W3C `tracestate` of the other span; empty if there is none.
    pub trace_state: String,
    /// The attributes.
    pub attributes: Attributes,
    /// How many attributes the program left out.
    pub dropped_attributes_count: u32,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// No value.
    Empty,
    /// A text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Values in order.
    Array(Vec<AttributeValue>),
    /// Named values.
    KeyValueList(Attributes),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Trace {
    /// Reads an OTLP trace in JSON: `{"resourceSpans":[…]}`, `{"batches":[…]}` (Tempo's API, version 1) or `{"trace":{…}}`
    /// (version 2), ids in hexadecimal or base64. `None` if it holds no span.
    ///
    /// # Errors
    /// [`Error::InvalidTrace`], if `json` is something else.
    pub fn from_json(trace_id: TraceId, json: &[u8]) -> Result<Option<Self>, Error> {
        otlp_json::decode(trace_id, json).map_err(|reason| Error::InvalidTrace { reason })
    }

    /// The names of the services that took part.
    pub fn services(&self) -> BTreeSet<&str> {
        self.spans.iter().map(|span| span.service_name.as_str()).collect()
    }

    /// The first span with this id.
    pub fn span(&self, span_id: SpanId) -> Option<&Span> {
        self.spans.iter().find(|span| span.span_id == span_id)
    }

    /// The resource attributes of one of the trace's spans.
    pub fn resource(&self, span: &Span) -> Option<&Attributes> {
        self.resources.get(span.resource)
    }

    /// The spans with status error.
    pub fn errors(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.is_error())
    }

    /// The spans as a tree; its `Display` is the picture for a terminal.
    pub fn tree(&self) -> Tree<'_> {
        Tree::new(&self.spans)
    }
}

impl Span {
    /// The length in nanoseconds; 0 for a span that ends before it starts.
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nanos.saturating_sub(self.start_unix_nanos)
    }

    /// Whether the status is error.
    pub fn is_error(&self) -> bool {
        self.status.code == StatusCode::Error
    }
}

impl AttributeValue {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::String(text) => formatter.write_str(text),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Int(number) => write!(formatter, "{number}"),
            Self::Double(number) => write!(formatter, "{number}"),
            Self::Array(values) => {
                formatter.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(formatter, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                formatter.write_str("]")
            }
            Self::KeyValueList(pairs) => {
                formatter.write_str("{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(formatter, "{}{key}={value}", if index == 0 { "" } else { ", " })?;
                }
                formatter.write_str("}")
            }
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}")),
        }
    }
}

impl fmt::Display for SpanKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}
