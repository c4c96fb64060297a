//! One trace whole: its spans as a tree, the critical path, and the log lines of each span.

use std::collections::BTreeMap;
use std::num::NonZeroU128;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value as JsonValue, json};

use super::critical_path::{Segment, critical_path};
use super::logs::{self, Numbered};
use super::query::{Query, Refusal};
use super::tree::{Placed, Tree};
use crate::attribute::{Attributes, Value};
use crate::devstack::Shared;
use crate::span::Span;

/// The most spans of one answer.
const MAX_SPANS: usize = 20_000;
/// The most log lines of one answer.
const MAX_LINES: usize = 5000;

/// `GET /api/v1/traces/{trace}`
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(trace): Path<String>,
    query: Query,
) -> Result<Json<JsonValue>, Refusal> {
    query.only(&[])?;
    let id = id_of(&trace)?;
    let spans = shared.store.trace(&id);
    let lines = lines_of(&shared, &id);
    if spans.is_empty() {
        let why = if lines.is_empty() { "" } else { "; log lines of it are held, see /logs?trace=" };
        return Err(not_held(&id, why));
    }
    let tree = Tree::grow(&spans);
    let links_here = links_to(&shared, &id);
    Ok(Json(answer(&id, &tree, &lines, &links_here)))
}

/// The id in lower case.
pub(super) fn id_of(trace: &str) -> Result<String, Refusal> {
    if trace.len() != 32 || !trace.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::not_found(format!("trace {trace:?}: accepted are 32 hexadecimal digits")));
    }
    Ok(trace.to_ascii_lowercase())
}

pub(super) fn not_held(id: &str, why: &str) -> Refusal {
    Refusal::not_found(format!("trace {id} is not held: it has not arrived, was not sampled, or was evicted{why}"))
}

/// The log lines of a trace, in the order of time.
fn lines_of(shared: &Shared, trace_id: &str) -> Vec<Numbered> {
    let Some(id) = u128::from_str_radix(trace_id, 16).ok().and_then(NonZeroU128::new) else { return Vec::new() };
    let mut lines: Vec<Numbered> = shared.store.read_logs(|logs| {
        let lines = logs.lines(0).filter(|line| line.facts.trace == Some(id));
        lines.map(|line| (line.number, Arc::clone(line.entry))).collect()
    });
    lines.sort_by_key(|(number, entry)| (entry.timestamp_ns, *number));
    lines
}

/// Spans of other traces that link to this one, as trace id, span id, name.
fn links_to(shared: &Shared, trace_id: &str) -> Vec<[String; 3]> {
    let links_here =
        |span: &&Arc<Span>| span.trace_id != trace_id && span.links.iter().any(|link| link.trace_id == trace_id);
    shared.store.read_traces(|traces| {
        let with_links = traces.all().filter(|stored| stored.facts.has_links).map(|stored| &stored.span);
        let linking = with_links.filter(links_here).take(100);
        linking.map(|span| [span.trace_id.clone(), span.span_id.clone(), span.name.clone()]).collect()
    })
}

fn answer(id: &str, tree: &Tree, lines: &[Numbered], links_here: &[[String; 3]]) -> JsonValue {
    let start = tree.nodes.iter().map(|node| node.start).min().unwrap_or_default();
    let end = tree.nodes.iter().map(|node| node.end).max().unwrap_or_default();
    let path = tree.root.map(|root| critical_path(&tree.nodes, root)).unwrap_or_default();
    let mut critical: BTreeMap<usize, Vec<[u64; 2]>> = BTreeMap::new();
    for Segment { span, from, to } in &path {
        critical.entry(*span).or_default().push([from.saturating_sub(start), to.saturating_sub(start)]);
    }
    let mut resources: Vec<&Attributes> = Vec::new();
    let mut spans = Vec::with_capacity(tree.spans.len().min(MAX_SPANS));
    for (at, placed) in tree.spans.iter().enumerate().take(MAX_SPANS) {
        let resource = resources.iter().position(|known| **known == *placed.span.resource).unwrap_or_else(|| {
            resources.push(&placed.span.resource);
            resources.len() - 1
        });
        let children = tree.nodes.get(at).map_or(0, |node| node.children.len());
        let mut span = span(placed, start, critical.get(&at).map(Vec::as_slice).unwrap_or_default());
        if let JsonValue::Object(span) = &mut span {
            span.insert("resource".to_owned(), json!(resource));
            span.insert("children".to_owned(), json!(children));
        }
        spans.push(span);
    }
    let rows: Vec<JsonValue> = lines.iter().take(MAX_LINES).map(|(number, entry)| logs::row(*number, entry)).collect();
    json!({
        "trace_id": id,
        "start_ns": start.to_string(),
        "duration_ns": end.saturating_sub(start),
        "root": tree.root,
        "spans": spans,
        "spans_left_out": tree.spans.len().saturating_sub(MAX_SPANS),
        "resources": resources.into_iter().map(attributes).collect::<Vec<_>>(),
        "logs": rows,
        "logs_left_out": lines.len().saturating_sub(MAX_LINES),
        "links_here": links_here,
        "critical_path_ns": path.iter().map(|segment| segment.to - segment.from).sum::<u64>(),
        "problems": tree.problems,
    })
}

fn span(placed: &Placed, start: u64, critical: &[[u64; 2]]) -> JsonValue {
    let span = &placed.span;
    let events: Vec<JsonValue> = span
        .events
        .iter()
        .map(|event| {
            json!({
                "name": event.name,
                "offset_ns": event.time_ns.saturating_sub(start),
                "attributes": attributes(&event.attributes),
                "dropped_attributes": event.dropped_attributes,
            })
        })
        .collect();
    let links: Vec<JsonValue> = span
        .links
        .iter()
        .map(|link| {
            json!({ "trace_id": link.trace_id, "span_id": link.span_id, "attributes": attributes(&link.attributes) })
        })
        .collect();
    json!({
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "service": span.service_name(),
        "kind": span.kind.as_str(),
        "status": span.status.code.as_str(),
        "status_message": span.status.message,
        "offset_ns": span.start_ns.saturating_sub(start),
        "duration_ns": span.end_ns.saturating_sub(span.start_ns),
        "self_ns": placed.self_ns,
        "depth": placed.depth,
        "is_orphan": placed.is_orphan,
        "critical": critical,
        "attributes": attributes(&span.attributes),
        "events": events,
        "links": links,
        "scope": [span.scope.name, span.scope.version],
        "trace_state": span.trace_state,
        "dropped": [span.dropped_attributes, span.dropped_events, span.dropped_links],
    })
}

/// `[[name, value, type], …]`, values as text: numbers of 64 bits are no numbers of JavaScript.
fn attributes(attributes: &Attributes) -> JsonValue {
    let kind = |value: &Value| match value {
        Value::Empty => "empty",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) => "double",
        Value::Bytes(_) => "bytes",
        Value::Array(_) => "array",
        Value::Map(_) => "map",
    };
    attributes.iter().map(|(name, value)| json!([name, value.to_string(), kind(value)])).collect()
}
