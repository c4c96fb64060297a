//! A stored span, as a reader wants it: ids as hexadecimal text, its resource and scope beside it.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::{EntityRef, InstrumentationScope};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;

use crate::attribute::Attributes;
use crate::store::size::heap;

/// One span with the resource and the scope under which it was sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// Attributes of the resource, `service.name` among them. Shared by the spans of one request.
    pub resource: Arc<Attributes>,
    /// The instrumentation scope.
    pub scope: Arc<Scope>,
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// 16 lower-case hexadecimal digits.
    pub span_id: String,
    /// 16 lower-case hexadecimal digits; `None` for a root.
    pub parent_span_id: Option<String>,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// Nanoseconds since 1970.
    pub end_ns: u64,
    /// Attributes of the span.
    pub attributes: Attributes,
    /// Events in the order sent.
    pub events: Vec<SpanEvent>,
    /// Links in the order sent.
    pub links: Vec<SpanLink>,
    /// Status code and message.
    pub status: Status,
    /// W3C trace flags in the low 8 bits; bits 8 and 9 say whether the parent is remote.
    pub flags: u32,
    /// W3C `tracestate`, empty if there is none.
    pub trace_state: String,
    /// Attributes that the sender dropped.
    pub dropped_attributes: u32,
    /// Events that the sender dropped.
    pub dropped_events: u32,
    /// Links that the sender dropped.
    pub dropped_links: u32,
    /// What else the resource has; few have it.
    pub(crate) resource_rest: Option<Arc<ResourceRest>>,
}

/// What a resource has beside its attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResourceRest {
    pub(crate) schema_url: String,
    pub(crate) dropped_attributes: u32,
    pub(crate) entity_refs: Vec<EntityRef>,
}

impl ResourceRest {
    /// Takes it from a resource; `None` if there is nothing.
    pub(crate) fn take(resource: &mut Resource, schema_url: String) -> Option<Arc<Self>> {
        let rest = Self {
            schema_url,
            dropped_attributes: resource.dropped_attributes_count,
            entity_refs: std::mem::take(&mut resource.entity_refs),
        };
        (rest != Self::default()).then(|| Arc::new(rest))
    }

    /// An estimate of the memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + heap(text.len())).sum::<usize>();
        let entity = |entity: &EntityRef| {
            size_of::<EntityRef>()
                + heap(entity.schema_url.len())
                + heap(entity.r#type.len())
                + texts(&entity.id_keys)
                + texts(&entity.description_keys)
        };
        heap(size_of::<Self>()) + heap(self.schema_url.len()) + self.entity_refs.iter().map(entity).sum::<usize>()
    }
}

impl Span {
    /// `service.name` of the resource, or an empty text.
    #[must_use]
    pub fn service_name(&self) -> &str {
        self.resource.text("service.name").unwrap_or_default()
    }

    /// The schema of the resource's attributes, an URL; empty if it was not said.
    #[must_use]
    pub fn resource_schema_url(&self) -> &str {
        self.resource_rest.as_ref().map_or("", |rest| &rest.schema_url)
    }

    /// Attributes of the resource that the sender dropped.
    #[must_use]
    pub fn resource_dropped_attributes(&self) -> u32 {
        self.resource_rest.as_ref().map_or(0, |rest| rest.dropped_attributes)
    }

    /// End minus start; zero if the end lies before the start.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_ns.saturating_sub(self.start_ns))
    }

    /// True with status code error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status.code == StatusCode::Error
    }

    pub(crate) fn from_otlp(span: otlp::Span, resource: &Arc<Attributes>, scope: &Arc<Scope>) -> Self {
        let status = span.status.unwrap_or_default();
        Self {
            resource: Arc::clone(resource),
            scope: Arc::clone(scope),
            trace_id: const_hex::encode(&span.trace_id),
            span_id: const_hex::encode(&span.span_id),
            parent_span_id: (!span.parent_span_id.is_empty()).then(|| const_hex::encode(&span.parent_span_id)),
            name: span.name,
            kind: SpanKind::from_number(span.kind),
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            attributes: Attributes::from(span.attributes),
            events: span.events.into_iter().map(SpanEvent::from_otlp).collect(),
            links: span.links.into_iter().map(SpanLink::from_otlp).collect(),
            status: Status { code: StatusCode::from_number(status.code), message: status.message },
            flags: span.flags,
            trace_state: span.trace_state,
            dropped_attributes: span.dropped_attributes_count,
            dropped_events: span.dropped_events_count,
            dropped_links: span.dropped_links_count,
            resource_rest: None,
        }
    }

    pub(crate) fn with_resource_rest(mut self, rest: &Option<Arc<ResourceRest>>) -> Self {
        self.resource_rest.clone_from(rest);
        self
    }

    /// An estimate of the memory held, in bytes; shared parts are left out.
    pub(crate) fn size(&self) -> usize {
        let event = |event: &SpanEvent| size_of::<SpanEvent>() + heap(event.name.len()) + event.attributes.size();
        let link = |link: &SpanLink| {
            let texts = heap(link.trace_id.len()) + heap(link.span_id.len()) + heap(link.trace_state.len());
            size_of::<SpanLink>() + texts + link.attributes.size()
        };
        let parent = self.parent_span_id.as_ref().map_or(0, |parent| heap(parent.len()));
        // With its counts as a shared item.
        heap(size_of::<Self>() + 16)
            + heap(self.trace_id.len())
            + heap(self.span_id.len())
            + parent
            + heap(self.name.len())
            + heap(self.trace_state.len())
            + heap(self.status.message.len())
            + self.attributes.size()
            + self.events.iter().map(event).sum::<usize>()
            + self.links.iter().map(link).sum::<usize>()
    }
}

/// The instrumentation scope of spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Name, often a module path.
    pub name: String,
    /// Version, often empty.
    pub version: String,
    /// Attributes of the scope.
    pub attributes: Attributes,
    /// Attributes that the sender dropped.
    pub dropped_attributes: u32,
    /// The schema of what was sent in this scope, an URL; empty if it was not said.
    pub schema_url: String,
}

impl Scope {
    pub(crate) fn from_otlp(scope: InstrumentationScope, schema_url: String) -> Self {
        Self {
            name: scope.name,
            version: scope.version,
            attributes: Attributes::from(scope.attributes),
            dropped_attributes: scope.dropped_attributes_count,
            schema_url,
        }
    }

    /// An estimate of the memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        heap(size_of::<Self>())
            + heap(self.name.len())
            + heap(self.version.len())
            + heap(self.schema_url.len())
            + self.attributes.size()
    }
}

/// An event of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// Name; `exception` for a recorded error.
    pub name: String,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Attributes.
    pub attributes: Attributes,
    /// Attributes that the sender dropped.
    pub dropped_attributes: u32,
}

impl SpanEvent {
    fn from_otlp(event: otlp::span::Event) -> Self {
        Self {
            name: event.name,
            time_ns: event.time_unix_nano,
            attributes: Attributes::from(event.attributes),
            dropped_attributes: event.dropped_attributes_count,
        }
    }
}

/// A link of a span to another.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanLink {
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// 16 lower-case hexadecimal digits.
    pub span_id: String,
    /// W3C `tracestate` of the linked span.
    pub trace_state: String,
    /// Attributes.
    pub attributes: Attributes,
    /// W3C trace flags of the linked span.
    pub flags: u32,
    /// Attributes that the sender dropped.
    pub dropped_attributes: u32,
}

impl SpanLink {
    fn from_otlp(link: otlp::span::Link) -> Self {
        Self {
            trace_id: const_hex::encode(&link.trace_id),
            span_id: const_hex::encode(&link.span_id),
            trace_state: link.trace_state,
            attributes: Attributes::from(link.attributes),
            flags: link.flags,
            dropped_attributes: link.dropped_attributes_count,
        }
    }
}

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpanKind {
    /// Not said, or a number that OTLP does not define.
    Unspecified,
    /// Work inside a service.
    Internal,
    /// The server's side of a call.
    Server,
    /// The client's side of a call.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
}

impl SpanKind {
    /// The number that OTLP has for it.
    pub(crate) fn number(self) -> i32 {
        let kind = match self {
            Self::Unspecified => otlp::span::SpanKind::Unspecified,
            Self::Internal => otlp::span::SpanKind::Internal,
            Self::Server => otlp::span::SpanKind::Server,
            Self::Client => otlp::span::SpanKind::Client,
            Self::Producer => otlp::span::SpanKind::Producer,
            Self::Consumer => otlp::span::SpanKind::Consumer,
        };
        kind as i32
    }

    pub(crate) fn from_number(number: i32) -> Self {
        match otlp::span::SpanKind::try_from(number) {
            Ok(otlp::span::SpanKind::Internal) => Self::Internal,
            Ok(otlp::span::SpanKind::Server) => Self::Server,
            Ok(otlp::span::SpanKind::Client) => Self::Client,
            Ok(otlp::span::SpanKind::Producer) => Self::Producer,
            Ok(otlp::span::SpanKind::Consumer) => Self::Consumer,
            Ok(otlp::span::SpanKind::Unspecified) | Err(_) => Self::Unspecified,
        }
    }

    /// The name in lower case, as TraceQL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// The status of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Code.
    pub code: StatusCode,
    /// What went wrong; empty unless the code is error.
    pub message: String,
}

/// The status code of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusCode {
    /// Not set.
    #[default]
    Unset,
    /// Declared good.
    Ok,
    /// Failed.
    Error,
}

impl StatusCode {
    /// The number that OTLP has for it.
    pub(crate) fn number(self) -> i32 {
        let code = match self {
            Self::Unset => otlp::status::StatusCode::Unset,
            Self::Ok => otlp::status::StatusCode::Ok,
            Self::Error => otlp::status::StatusCode::Error,
        };
        code as i32
    }

    pub(crate) fn from_number(number: i32) -> Self {
        match otlp::status::StatusCode::try_from(number) {
            Ok(otlp::status::StatusCode::Ok) => Self::Ok,
            Ok(otlp::status::StatusCode::Error) => Self::Error,
            Ok(otlp::status::StatusCode::Unset) | Err(_) => Self::Unset,
        }
    }

    /// The name in lower case, as TraceQL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}
