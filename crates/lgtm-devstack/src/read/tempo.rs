//! Tempo's query API: a trace by its id, and search.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value, json};

use super::parameters::Parameters;
use super::trace_json::{resource_spans, resource_spans_json, value_json};
use super::traceql::{SpanFilter, TraceFacts, padded};
use crate::devstack::Shared;
use crate::span::Span;

const DEFAULT_LIMIT: usize = 20;
const DEFAULT_SPANS_PER_SET: usize = 3;

/// Tempo's answer on the second version of the path.
#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

/// `GET /api/traces/{id}`: 404 on a miss.
pub(crate) async fn trace(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let spans = match spans_of(&shared, &id) {
        Ok(spans) => spans,
        Err(text) => return (StatusCode::BAD_REQUEST, text).into_response(),
    };
    if spans.is_empty() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let resource_spans = resource_spans(&spans);
    if wants_protobuf(&headers) {
        return protobuf(&TracesData { resource_spans });
    }
    Json(json!({ "batches": resource_spans_json(&resource_spans) })).into_response()
}

/// `GET /api/v2/traces/{id}`: 200 with an empty trace on a miss.
pub(crate) async fn trace_v2(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let spans = match spans_of(&shared, &id) {
        Ok(spans) => spans,
        Err(text) => return (StatusCode::BAD_REQUEST, text).into_response(),
    };
    let resource_spans = resource_spans(&spans);
    if wants_protobuf(&headers) {
        return protobuf(&TraceByIdResponse { trace: Some(TracesData { resource_spans }) });
    }
    if resource_spans.is_empty() {
        return Json(json!({ "trace": {} })).into_response();
    }
    Json(json!({ "trace": { "resourceSpans": resource_spans_json(&resource_spans) }, "metrics": {} })).into_response()
}

/// `GET /api/search`, with `q`, `start`, `end` (seconds), `limit`, `spss`, `minDuration`, `maxDuration`; newest first.
pub(crate) async fn search(State(shared): State<Shared>, parameters: Parameters) -> Response {
    match run_search(&shared, &parameters) {
        Ok(found) => Json(found).into_response(),
        Err(text) => (StatusCode::BAD_REQUEST, text).into_response(),
    }
}

fn spans_of(shared: &Shared, id: &str) -> Result<Vec<Arc<Span>>, String> {
    if id.is_empty() || id.len() > 32 {
        return Err("trace IDs can't be empty or larger than 128 bits".to_owned());
    }
    if let Some((position, character)) = id.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit()) {
        return Err(format!(
            "trace IDs can only contain hex characters: invalid character '{character}' at position {}",
            position + 1
        ));
    }
    Ok(shared.store.trace(&padded(id, 32)))
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|value| value.as_bytes().starts_with(b"application/protobuf"))
}

fn protobuf(message: &impl Message) -> Response {
    ([(header::CONTENT_TYPE, "application/protobuf")], message.encode_to_vec()).into_response()
}

fn run_search(shared: &Shared, parameters: &Parameters) -> Result<Value, String> {
    if parameters.first("tags").is_some() {
        return Err("the development stack supports search by q (TraceQL), not by tags".to_owned());
    }
    let filter = SpanFilter::parse(parameters.first("q").unwrap_or_default())?;
    let limit = parameters.number("limit", DEFAULT_LIMIT)?;
    let spans_per_set = parameters.number("spss", DEFAULT_SPANS_PER_SET)?;
    let start_ns = (parameters.number("start", 0)? as u64).saturating_mul(1_000_000_000);
    let end_ns = (parameters.number("end", 0)? as u64).saturating_mul(1_000_000_000);
    let end_ns = if end_ns == 0 { u64::MAX } else { end_ns };
    let shortest = parameters.duration("minDuration")?.unwrap_or(Duration::ZERO);
    let longest = parameters.duration("maxDuration")?.unwrap_or(Duration::MAX);
    let spans = match filter.trace_id() {
        Some(id) => shared.store.trace(&id),
        None => shared.store.spans(),
    };
    let mut traces: BTreeMap<&str, Vec<&Arc<Span>>> = BTreeMap::new();
    for span in &spans {
        traces.entry(&span.trace_id).or_default().push(span);
    }
    let inspected = traces.len();
    let mut found: Vec<(u64, Value)> = traces
        .into_iter()
        .filter_map(|(id, spans)| {
            let start = spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
            let end = spans.iter().map(|span| span.end_ns).max().unwrap_or_default();
            let facts = facts(&spans, start, end);
            let in_time = end >= start_ns && start <= end_ns;
            if !in_time || facts.duration < shortest || facts.duration > longest {
                return None;
            }
            let matched: Vec<&Arc<Span>> = spans.iter().copied().filter(|span| filter.passes(span, &facts)).collect();
            let found = !matched.is_empty();
            found.then(|| (start, trace_json(id, start, &facts, &spans, &matched, &filter, spans_per_set)))
        })
        .collect();
    found.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    let found: Vec<Value> = found.into_iter().take(limit).map(|(_, trace)| trace).collect();
    Ok(json!({ "traces": found, "metrics": { "inspectedTraces": inspected, "completedJobs": 1, "totalJobs": 1 } }))
}

fn facts(spans: &[&Arc<Span>], start_ns: u64, end_ns: u64) -> TraceFacts {
    let root = spans.iter().find(|span| span.parent_span_id.is_none());
    TraceFacts {
        duration: Duration::from_nanos(end_ns.saturating_sub(start_ns)),
        root_name: root.map(|root| root.name.clone()),
        root_service: root.map(|root| root.service_name().to_owned()),
    }
}

fn trace_json(
    id: &str,
    start_ns: u64,
    facts: &TraceFacts,
    spans: &[&Arc<Span>],
    matched: &[&Arc<Span>],
    filter: &SpanFilter,
    spans_per_set: usize,
) -> Value {
    // What Tempo says while the root is missing.
    const NO_ROOT: &str = "<root span not yet received>";
    let mut services: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for span in spans {
        let (number, errors) = services.entry(span.service_name()).or_default();
        *number += 1;
        *errors += u64::from(span.is_error());
    }
    let service_stats: serde_json::Map<String, Value> = services
        .into_iter()
        .map(|(service, (number, errors))| {
            let mut stats = json!({ "spanCount": number });
            if errors > 0
                && let Some(stats) = stats.as_object_mut()
            {
                stats.insert("errorCount".to_owned(), json!(errors));
            }
            (service.to_owned(), stats)
        })
        .collect();
    let set_spans: Vec<Value> = matched
        .iter()
        .take(spans_per_set)
        .map(|span| {
            let attributes: Vec<Value> = filter
                .named_attributes(span)
                .into_iter()
                .map(|(key, value)| json!({ "key": key, "value": value_json(value) }))
                .collect();
            json!({
                "spanID": span.span_id,
                "name": span.name,
                "startTimeUnixNano": span.start_ns.to_string(),
                "durationNanos": span.duration().as_nanos().to_string(),
                "attributes": attributes,
            })
        })
        .collect();
    let span_set = json!({ "spans": set_spans, "matched": matched.len() });
    json!({
        // Tempo's search leaves out leading zeros.
        "traceID": id.trim_start_matches('0'),
        "rootServiceName": facts.root_service.as_deref().unwrap_or(NO_ROOT),
        "rootTraceName": facts.root_name.as_deref().unwrap_or(NO_ROOT),
        "startTimeUnixNano": start_ns.to_string(),
        "durationMs": u64::try_from(facts.duration.as_millis()).unwrap_or(u64::MAX),
        "spanSet": span_set,
        "spanSets": [span_set],
        "serviceStats": service_stats,
    })
}
