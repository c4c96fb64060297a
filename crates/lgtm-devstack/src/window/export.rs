//! What is held, as files: a trace or the traces that a search finds as OTLP's JSON, lines as `logcli` writes them.
//!
//! What is found is known before the first byte; each line is written when the connection takes it, so that an answer of any size costs
//! the memory of a few lines.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::Value;

use super::logs::{self, LogFilter};
use super::query::{Query, Refusal};
use super::{trace, traces};
use crate::devstack::Shared;
use crate::otlp_json;
use crate::read::parameters::now_ns;
use crate::store::{Labels, LogEntry, LogStore};

/// A chunk of an answer is sent when it has as many bytes.
const CHUNK: usize = 64 * 1024;
/// How many traces are asked for at a time.
const PAGE: usize = 1000;
/// How many lines are taken from the store at a time.
const LINES: usize = 256;
/// The parameters by which traces are found.
const TRACE_FILTER: &[&str] = &["service", "q", "kind", "attr", "min", "max", "status", "from", "to", "last", "sort"];

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";

/// `GET /api/v1/traces/{trace}/otlp`: one `ExportTraceServiceRequest`.
pub(super) async fn one_trace(
    State(shared): State<Shared>,
    Path(trace): Path<String>,
    query: Query,
) -> Result<Response, Refusal> {
    query.only(&[])?;
    let id = trace::id_of(&trace)?;
    let spans = shared.store.trace(&id);
    if spans.is_empty() {
        return Err(trace::not_held(&id, ""));
    }
    Ok(file(&format!("trace-{id}.json"), JSON, Body::from(otlp_json::write(&spans))))
}

/// `GET /api/v1/traces/jsonl`: the traces that the list finds with the same parameters, in its order, one `ExportTraceServiceRequest` a
/// line: what the OpenTelemetry Collector's file exporter writes.
pub(super) async fn found_traces(State(shared): State<Shared>, query: Query) -> Result<Response, Refusal> {
    query.only(&[TRACE_FILTER])?;
    let ids = find_traces(&shared, query).await?;
    let lines = ids.into_iter().filter_map(move |id| {
        let spans = shared.store.trace(&id);
        // Evicted since it was found.
        (!spans.is_empty()).then(|| otlp_json::write(&spans))
    });
    Ok(file("traces.jsonl", JSON_LINES, streamed(lines)))
}

/// The ids of the traces that the list finds, page by page.
async fn find_traces(shared: &Shared, mut query: Query) -> Result<VecDeque<String>, Refusal> {
    if query.first("last").is_some() {
        // All pages are of the same time.
        let from = query.range(now_ns())?.from;
        query = query.with("from", from.to_string()).without("last");
    }
    query = query.with("limit", PAGE.to_string());
    let mut ids = VecDeque::new();
    loop {
        let asked = query.with("skip", ids.len().to_string());
        let Json(page) = traces::list(State(shared.clone()), asked).await?;
        let rows = page.get("rows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        ids.extend(rows.iter().filter_map(|row| row.get("trace_id")?.as_str().map(str::to_owned)));
        if rows.len() < PAGE {
            return Ok(ids);
        }
        if let Some(until) = page.get("until").and_then(Value::as_str) {
            query = query.with("until", until.to_owned());
        }
    }
}

/// A line as `logcli -o jsonl` writes it, with its structured metadata beside the labels.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    labels: &'a Labels,
    line: &'a str,
    structured_metadata: &'a Labels,
    timestamp: String,
}

/// `GET /api/v1/logs/jsonl`: the lines that the list finds with the same parameters, oldest first.
pub(super) async fn found_lines(State(shared): State<Shared>, query: Query) -> Result<Response, Refusal> {
    query.only(&[logs::FILTER])?;
    let filter = LogFilter::from_query(&query)?;
    let next = shared.store.read_logs(|logs| logs.next_number());
    let mut places = logs::find(&shared, filter, next).await?;
    places.sort_unstable();
    let mut places = places.into_iter();
    // What is evicted before its turn is left out.
    let parts = std::iter::from_fn(move || {
        let part: Vec<logs::Place> = places.by_ref().take(LINES).collect();
        let entry = |logs: &LogStore, number: u64| logs.line(number).map(|line| Arc::clone(line.entry));
        let entries: Vec<Arc<LogEntry>> =
            shared.store.read_logs(|logs| part.iter().filter_map(|(_, number)| entry(logs, *number)).collect());
        (!part.is_empty()).then_some(entries)
    });
    Ok(file("logs.jsonl", JSON_LINES, streamed(parts.flatten().map(|entry| line(&entry)))))
}

fn line(entry: &LogEntry) -> String {
    let line = Line {
        labels: &entry.labels,
        line: &entry.line,
        structured_metadata: &entry.structured_metadata,
        timestamp: DateTime::from_timestamp_nanos(entry.timestamp_ns).to_rfc3339_opts(SecondsFormat::Nanos, true),
    };
    // Its keys are text: it cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Lines as a body, made as they are taken.
fn streamed(lines: impl Iterator<Item = String> + Send + 'static) -> Body {
    let chunks = futures_util::stream::unfold(lines, async |mut lines| {
        let mut chunk = String::new();
        while chunk.len() < CHUNK {
            let Some(line) = lines.next() else { break };
            chunk.push_str(&line);
            chunk.push('\n');
        }
        (!chunk.is_empty()).then(|| (Ok::<_, Infallible>(Bytes::from(chunk)), lines))
    });
    Body::from_stream(chunks)
}

/// An answer that a browser saves under this name.
fn file(name: &str, content_type: &'static str, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}
