//! OTLP's JSON, in the spellings of Tempo's two API versions and of OTLP itself, to [`Trace`]. Takes bytes, returns records.

use base64::Engine as _;
use serde::{Deserialize, Deserializer};

use crate::ids::{SpanId, TraceId};
use crate::samples::{IntegerText, NumberText};
use crate::trace::{AttributeValue, Attributes, Event, Link, Span, SpanKind, Status, StatusCode, Trace};

/// Reads one document. Attribute values may nest; serde_json refuses more than 128 levels in all.
pub(crate) fn decode(trace_id: TraceId, json: &[u8]) -> Result<Option<Trace>, String> {
    let document: Document = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let partial = document.partial();
    let groups = match (document.trace, document.resource_spans) {
        (Some(body), _) => body.resource_spans.unwrap_or_default(),
        (None, Some(groups)) => groups,
        (None, None) => {
            return Err("it has neither `trace` nor `resourceSpans` nor `batches`".to_owned());
        }
    };
    let mut trace = Trace { trace_id, resources: Vec::with_capacity(groups.len()), spans: Vec::new(), partial };
    for group in groups {
        let resource = attributes(group.resource.attributes);
        let service_name = resource.get("service.name").map(ToString::to_string).unwrap_or_default();
        let index = trace.resources.len();
        trace.resources.push(resource);
        for scope_spans in group.scope_spans {
            for wire in scope_spans.spans {
                let scope = scope_spans.scope.name.clone();
                let span = span(wire).map_err(|error| error.to_string())?;
                trace.spans.push(Span { service_name: service_name.clone(), resource: index, scope, ..span });
            }
        }
    }
    Ok((!trace.spans.is_empty()).then_some(trace))
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    trace: Option<Body>,
    #[serde(rename = "resourceSpans", alias = "batches", default)]
    resource_spans: Option<Vec<ResourceSpans>>,
    #[serde(default)]
    status: Option<serde_json::Value>,
    #[serde(default)]
    message: String,
}

impl Document {
    /// Tempo's version 2 says `"status":"PARTIAL"` (1 as a number) where a part of the trace is missing.
    fn partial(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        let is_partial = status.as_str() == Some("PARTIAL") || status.as_u64() == Some(1);
        is_partial.then(|| if self.message.is_empty() { "no reason given".to_owned() } else { self.message.clone() })
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "resourceSpans", alias = "batches", default)]
    resource_spans: Option<Vec<ResourceSpans>>,
}

#[derive(Deserialize)]
struct ResourceSpans {
    #[serde(default)]
    resource: Resource,
    #[serde(rename = "scopeSpans", alias = "instrumentationLibrarySpans", default)]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(alias = "instrumentationLibrary", default)]
    scope: Scope,
    #[serde(default)]
    spans: Vec<WireSpan>,
}

#[derive(Deserialize, Default)]
struct Scope {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpan {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    trace_state: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "kind")]
    kind: SpanKind,
    #[serde(default, deserialize_with = "integer")]
    start_time_unix_nano: u64,
    #[serde(default, deserialize_with = "integer")]
    end_time_unix_nano: u64,
    #[serde(default)]
    status: WireStatus,
    #[serde(default)]
    attributes: Vec<KeyValue>,
    #[serde(default)]
    events: Vec<WireEvent>,
    #[serde(default)]
    links: Vec<WireLink>,
    #[serde(default)]
    dropped_attributes_count: u32,
    #[serde(default)]
    dropped_events_count: u32,
    #[serde(default)]
    dropped_links_count: u32,
}

#[derive(Deserialize, Default)]
struct WireStatus {
    #[serde(default, deserialize_with = "status_code")]
    code: StatusCode,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEvent {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "integer")]
    time_unix_nano: u64,
    #[serde(default)]
    attributes: Vec<KeyValue>,
    #[serde(default)]
    dropped_attributes_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLink {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    trace_state: String,
    #[serde(default)]
    attributes: Vec<KeyValue>,
    #[serde(default)]
    dropped_attributes_count: u32,
}

#[derive(Deserialize)]
pub(crate) struct KeyValue {
    key: String,
    #[serde(default)]
    value: Option<AnyValue>,
}

/// A value of one of these types; of none, where the program gave none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<IntegerText<i64>>,
    double_value: Option<NumberText>,
    array_value: Option<Array>,
    kvlist_value: Option<KeyValueList>,
    bytes_value: Option<BytesText>,
}

#[derive(Deserialize)]
struct Array {
    #[serde(default)]
    values: Vec<AnyValue>,
}

#[derive(Deserialize)]
struct KeyValueList {
    #[serde(default)]
    values: Vec<KeyValue>,
}

fn span(wire: WireSpan) -> Result<Span, crate::Error> {
    let parent = SpanId::from_json_text(&wire.parent_span_id)?;
    let links = wire.links.into_iter().map(link).collect::<Result<_, _>>()?;
    Ok(Span {
        trace_id: TraceId::from_json_text(&wire.trace_id)?,
        span_id: SpanId::from_json_text(&wire.span_id)?,
        parent_span_id: (!parent.is_zero()).then_some(parent),
        name: wire.name,
        kind: wire.kind,
        start_unix_nanos: wire.start_time_unix_nano,
        end_unix_nanos: wire.end_time_unix_nano,
        status: Status { code: wire.status.code, message: wire.status.message },
        attributes: attributes(wire.attributes),
        events: wire.events.into_iter().map(event).collect(),
        links,
        trace_state: wire.trace_state,
        dropped_attributes_count: wire.dropped_attributes_count,
        dropped_events_count: wire.dropped_events_count,
        dropped_links_count: wire.dropped_links_count,
        ..Span::default()
    })
}

fn event(wire: WireEvent) -> Event {
    Event {
        name: wire.name,
        time_unix_nanos: wire.time_unix_nano,
        attributes: attributes(wire.attributes),
        dropped_attributes_count: wire.dropped_attributes_count,
    }
}

fn link(wire: WireLink) -> Result<Link, crate::Error> {
    Ok(Link {
        trace_id: TraceId::from_json_text(&wire.trace_id)?,
        span_id: SpanId::from_json_text(&wire.span_id)?,
        trace_state: wire.trace_state,
        attributes: attributes(wire.attributes),
        dropped_attributes_count: wire.dropped_attributes_count,
    })
}

/// The pairs as a map; of two with one key, which OTLP forbids, the last is kept.
pub(crate) fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(AttributeValue::Empty, value))).collect()
}

fn value(wire: AnyValue) -> AttributeValue {
    if let Some(text) = wire.string_value {
        AttributeValue::String(text)
    } else if let Some(flag) = wire.bool_value {
        AttributeValue::Bool(flag)
    } else if let Some(number) = wire.int_value {
        AttributeValue::Int(number.0)
    } else if let Some(number) = wire.double_value {
        AttributeValue::Double(number.0)
    } else if let Some(array) = wire.array_value {
        AttributeValue::Array(array.values.into_iter().map(value).collect())
    } else if let Some(list) = wire.kvlist_value {
        AttributeValue::KeyValueList(attributes(list.values))
    } else if let Some(text) = wire.bytes_value {
        AttributeValue::Bytes(text.0)
    } else {
        AttributeValue::Empty
    }
}

pub(crate) fn integer<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64> + TryFrom<i64> + std::str::FromStr,
{
    IntegerText::deserialize(deserializer).map(|integer| integer.0)
}

/// Bytes in base64.
struct BytesText(Vec<u8>);

impl<'de> Deserialize<'de> for BytesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// An enum of protobuf's JSON: its name or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum EnumText {
    Number(i64),
    Name(String),
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SpanKind, D::Error> {
    let kinds = [
        ("SPAN_KIND_UNSPECIFIED", SpanKind::Unspecified),
        ("SPAN_KIND_INTERNAL", SpanKind::Internal),
        ("SPAN_KIND_SERVER", SpanKind::Server),
        ("SPAN_KIND_CLIENT", SpanKind::Client),
        ("SPAN_KIND_PRODUCER", SpanKind::Producer),
        ("SPAN_KIND_CONSUMER", SpanKind::Consumer),
    ];
    choose(EnumText::deserialize(deserializer)?, &kinds)
}

fn status_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    let codes = [
        ("STATUS_CODE_UNSET", StatusCode::Unset),
        ("STATUS_CODE_OK", StatusCode::Ok),
        ("STATUS_CODE_ERROR", StatusCode::Error),
    ];
    choose(EnumText::deserialize(deserializer)?, &codes)
}

/// The variant of this name, or at the index that is its number.
fn choose<T: Copy, E: serde::de::Error>(text: EnumText, variants: &[(&str, T)]) -> Result<T, E> {
    let found = match &text {
        EnumText::Number(number) => usize::try_from(*number).ok().and_then(|index| variants.get(index)),
        EnumText::Name(name) => variants.iter().find(|(variant, _)| variant == name),
    };
    found.map(|(_, variant)| *variant).ok_or_else(|| {
        let given = match text {
            EnumText::Number(number) => number.to_string(),
            EnumText::Name(name) => name,
        };
        let names: Vec<_> = variants.iter().map(|(name, _)| *name).collect();
        E::custom(format!("`{given}` is none of {}", names.join(", ")))
    })
}
