//! Stored spans as OTLP messages again, and those as the JSON that Tempo gives: protobuf's JSON mapping, in which
//! ids are base64, 64-bit numbers are text and enumerations are names. (OTLP's own JSON has ids in hexadecimal.)

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans};
use serde_json::{Map, Value as Json, json};

use crate::attribute::{Attributes, Value};
use crate::span::{Scope, Span, SpanEvent, SpanKind, SpanLink, StatusCode};

type SpansByScope<'a> = Vec<(&'a Scope, Vec<otlp::Span>)>;

/// Groups spans by resource and scope. A span that was sent again is there once, as in Tempo.
pub(crate) fn resource_spans(spans: &[Arc<Span>]) -> Vec<ResourceSpans> {
    let mut seen = std::collections::HashSet::new();
    let mut groups: Vec<(&Attributes, SpansByScope<'_>)> = Vec::new();
    for span in spans {
        if !seen.insert((span.span_id.as_str(), span.kind)) {
            continue;
        }
        let resource = match groups.iter().position(|(resource, _)| **resource == *span.resource) {
            Some(at) => at,
            None => {
                groups.push((&span.resource, Vec::new()));
                groups.len() - 1
            }
        };
        let Some((_, scopes)) = groups.get_mut(resource) else { continue };
        match scopes.iter_mut().find(|(scope, _)| **scope == *span.scope) {
            Some((_, spans)) => spans.push(to_otlp(span)),
            None => scopes.push((&span.scope, vec![to_otlp(span)])),
        }
    }
    groups
        .into_iter()
        .map(|(resource, scopes)| ResourceSpans {
            resource: Some(Resource { attributes: attributes_to_otlp(resource), ..Resource::default() }),
            scope_spans: scopes
                .into_iter()
                .map(|(scope, spans)| ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: scope.name.clone(),
                        version: scope.version.clone(),
                        attributes: attributes_to_otlp(&scope.attributes),
                        ..InstrumentationScope::default()
                    }),
                    spans,
                    schema_url: String::new(),
                })
                .collect(),
            schema_url: String::new(),
        })
        .collect()
}

fn to_otlp(span: &Span) -> otlp::Span {
    let kind = match span.kind {
        SpanKind::Unspecified => otlp::span::SpanKind::Unspecified,
        SpanKind::Internal => otlp::span::SpanKind::Internal,
        SpanKind::Server => otlp::span::SpanKind::Server,
        SpanKind::Client => otlp::span::SpanKind::Client,
        SpanKind::Producer => otlp::span::SpanKind::Producer,
        SpanKind::Consumer => otlp::span::SpanKind::Consumer,
    };
    let code = match span.status.code {
        StatusCode::Unset => otlp::status::StatusCode::Unset,
        StatusCode::Ok => otlp::status::StatusCode::Ok,
        StatusCode::Error => otlp::status::StatusCode::Error,
    };
    otlp::Span {
        trace_id: id_bytes(&span.trace_id),
        span_id: id_bytes(&span.span_id),
        trace_state: span.trace_state.clone(),
        parent_span_id: span.parent_span_id.as_deref().map(id_bytes).unwrap_or_default(),
        flags: span.flags,
        name: span.name.clone(),
        kind: kind as i32,
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.end_ns,
        attributes: attributes_to_otlp(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: span.events.iter().map(event_to_otlp).collect(),
        dropped_events_count: span.dropped_events,
        links: span.links.iter().map(link_to_otlp).collect(),
        dropped_links_count: span.dropped_links,
        status: Some(otlp::Status { message: span.status.message.clone(), code: code as i32 }),
    }
}

fn event_to_otlp(event: &SpanEvent) -> otlp::span::Event {
    otlp::span::Event {
        time_unix_nano: event.time_ns,
        name: event.name.clone(),
        attributes: attributes_to_otlp(&event.attributes),
        dropped_attributes_count: event.dropped_attributes,
    }
}

fn link_to_otlp(link: &SpanLink) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: id_bytes(&link.trace_id),
        span_id: id_bytes(&link.span_id),
        trace_state: link.trace_state.clone(),
        attributes: attributes_to_otlp(&link.attributes),
        dropped_attributes_count: link.dropped_attributes,
        flags: link.flags,
    }
}

/// The bytes of an id that this crate wrote as text.
fn id_bytes(id: &str) -> Vec<u8> {
    const_hex::decode(id).unwrap_or_default()
}

fn attributes_to_otlp(attributes: &Attributes) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: value_to_otlp(value) }),
            ..KeyValue::default()
        })
        .collect()
}

fn value_to_otlp(value: &Value) -> Option<any_value::Value> {
    Some(match value {
        Value::Empty => return None,
        Value::String(text) => any_value::Value::StringValue(text.clone()),
        Value::Bool(truth) => any_value::Value::BoolValue(*truth),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Double(number) => any_value::Value::DoubleValue(*number),
        Value::Bytes(bytes) => any_value::Value::BytesValue(bytes.clone()),
        Value::Array(values) => any_value::Value::ArrayValue(ArrayValue {
            values: values.iter().map(|value| AnyValue { value: value_to_otlp(value) }).collect(),
        }),
        Value::Map(map) => any_value::Value::KvlistValue(KeyValueList { values: attributes_to_otlp(map) }),
    })
}

/// One value as JSON, `{"stringValue": "…"}`.
pub(crate) fn value_json(value: &Value) -> Json {
    match value {
        Value::Empty => json!({}),
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::Int(number) => json!({ "intValue": number.to_string() }),
        Value::Double(number) => json!({ "doubleValue": double_json(*number) }),
        Value::Bytes(bytes) => json!({ "bytesValue": BASE64.encode(bytes) }),
        Value::Array(values) => {
            json!({ "arrayValue": { "values": values.iter().map(value_json).collect::<Vec<_>>() } })
        }
        Value::Map(map) => json!({ "kvlistValue": { "values": attributes_json(map) } }),
    }
}

/// JSON has no infinities and no NaN: protobuf writes them as text.
fn double_json(number: f64) -> Json {
    if number.is_finite() {
        return json!(number);
    }
    json!(if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    })
}

/// Attributes as JSON, `[{"key": …, "value": …}]`.
pub(crate) fn attributes_json(attributes: &Attributes) -> Json {
    attributes.iter().map(|(key, value)| json!({ "key": key, "value": value_json(value) })).collect()
}

/// Builds a JSON object that leaves out what has its default value, as protobuf's JSON mapping does.
#[derive(Default)]
struct Object(Map<String, Json>);

impl Object {
    fn set(mut self, key: &str, value: Json) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        if text.is_empty() { self } else { self.set(key, json!(text)) }
    }

    fn number(self, key: &str, number: u32) -> Self {
        if number == 0 { self } else { self.set(key, json!(number)) }
    }

    fn list(self, key: &str, list: Json) -> Self {
        if list.as_array().is_some_and(Vec::is_empty) { self } else { self.set(key, list) }
    }

    fn build(self) -> Json {
        Json::Object(self.0)
    }
}

/// Resource spans as Tempo's JSON, from the stored spans; grouped as [`resource_spans`] groups them.
pub(crate) fn resource_spans_json(resource_spans: &[ResourceSpans]) -> Json {
    resource_spans
        .iter()
        .map(|group| {
            let resource = group.resource.clone().unwrap_or_default();
            let scopes: Json = group.scope_spans.iter().map(scope_spans_json).collect();
            json!({
                "resource": Object::default().list("attributes", otlp_attributes_json(&resource.attributes)).build(),
                "scopeSpans": scopes,
            })
        })
        .collect()
}

fn scope_spans_json(group: &ScopeSpans) -> Json {
    let scope = group.scope.clone().unwrap_or_default();
    let scope = Object::default()
        .text("name", &scope.name)
        .text("version", &scope.version)
        .list("attributes", otlp_attributes_json(&scope.attributes))
        .build();
    json!({ "scope": scope, "spans": group.spans.iter().map(span_json).collect::<Vec<_>>() })
}

fn span_json(span: &otlp::Span) -> Json {
    let status = span.status.clone().unwrap_or_default();
    let code = match status.code() {
        otlp::status::StatusCode::Unset => "",
        code => code.as_str_name(),
    };
    let kind = match span.kind() {
        otlp::span::SpanKind::Unspecified => "",
        kind => kind.as_str_name(),
    };
    let events = span.events.iter().map(|event| {
        Object::default()
            .set("timeUnixNano", json!(event.time_unix_nano.to_string()))
            .text("name", &event.name)
            .list("attributes", otlp_attributes_json(&event.attributes))
            .number("droppedAttributesCount", event.dropped_attributes_count)
            .build()
    });
    let links = span.links.iter().map(|link| {
        Object::default()
            .text("traceId", &BASE64.encode(&link.trace_id))
            .text("spanId", &BASE64.encode(&link.span_id))
            .text("traceState", &link.trace_state)
            .list("attributes", otlp_attributes_json(&link.attributes))
            .number("droppedAttributesCount", link.dropped_attributes_count)
            .number("flags", link.flags)
            .build()
    });
    Object::default()
        .text("traceId", &BASE64.encode(&span.trace_id))
        .text("spanId", &BASE64.encode(&span.span_id))
        .text("traceState", &span.trace_state)
        .text("parentSpanId", &BASE64.encode(&span.parent_span_id))
        .number("flags", span.flags)
        .text("name", &span.name)
        .text("kind", kind)
        .set("startTimeUnixNano", json!(span.start_time_unix_nano.to_string()))
        .set("endTimeUnixNano", json!(span.end_time_unix_nano.to_string()))
        .list("attributes", otlp_attributes_json(&span.attributes))
        .number("droppedAttributesCount", span.dropped_attributes_count)
        .list("events", events.collect())
        .number("droppedEventsCount", span.dropped_events_count)
        .list("links", links.collect())
        .number("droppedLinksCount", span.dropped_links_count)
        .set("status", Object::default().text("message", &status.message).text("code", code).build())
        .build()
}

fn otlp_attributes_json(attributes: &[KeyValue]) -> Json {
    attributes_json(&Attributes::from(attributes.to_vec()))
}
