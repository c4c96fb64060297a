//! One document of an import: which of the accepted forms it has, and its items on their way into the store.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::outcome::Outcome;
use crate::devstack::Shared;
use crate::ingest::loki_push::{self, Entry, JsonPush, JsonStream, MAX_LABELS, Stream};
use crate::ingest::otlp_json::{self, FromJson};
use crate::ingest::{otlp_logs, otlp_metrics};
use crate::otlp_json::{Known, ResourceSpans, Traces};
use crate::read::parameters::loki_time;
use crate::span::Span;
use crate::store::Labels;

/// What an error says is accepted.
pub(super) const ACCEPTED: &str = "OTLP JSON with resourceSpans, resourceLogs or resourceMetrics; Tempo's answer with batches or trace; \
Loki's push JSON with streams; lines of logs with line, timestamp and labels, as logcli -o jsonl writes them; one document, or one a line";

/// The members of all forms: those that are there tell which one it is.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Document {
    resource_spans: Option<Vec<ResourceSpans>>,
    /// Of Tempo's `/api/traces/{id}`.
    batches: Option<Vec<ResourceSpans>>,
    /// Of Tempo's `/api/v2/traces/{id}`.
    trace: Option<Traces>,
    resource_logs: Option<Vec<Value>>,
    resource_metrics: Option<Vec<Value>>,
    /// Of Loki's push.
    streams: Option<Vec<JsonStream>>,
    /// Of one line of a log.
    line: Option<String>,
    timestamp: Option<String>,
    labels: Option<Labels>,
    #[serde(alias = "structured_metadata")]
    structured_metadata: Option<Labels>,
}

impl Document {
    /// Stores what it has; an error if it has none of the forms.
    pub(super) fn store(self, shared: &Shared, outcome: &mut Outcome) -> Result<(), String> {
        let mut is_known = false;
        let of_trace = self.trace.map(|trace| trace.resource_spans);
        for resource_spans in [self.resource_spans, self.batches, of_trace].into_iter().flatten() {
            is_known = true;
            store_spans(shared, resource_spans, outcome);
        }
        if let Some(logs) = self.resource_logs {
            is_known = true;
            store_lines(shared, otlp_logs::streams(request("resourceLogs", logs)?), outcome);
        }
        if let Some(metrics) = self.resource_metrics {
            is_known = true;
            let stored = otlp_metrics::store(shared, request("resourceMetrics", metrics)?, None);
            if let Some(partial) = stored.partial_success {
                outcome.refuse(&partial.error_message);
            }
        }
        if let Some(streams) = self.streams {
            is_known = true;
            match loki_push::from_json(JsonPush { streams }) {
                Ok(streams) => store_lines(shared, streams, outcome),
                Err((_, reason)) => outcome.refuse(&reason),
            }
        }
        if let (Some(line), Some(timestamp)) = (self.line, self.timestamp) {
            is_known = true;
            let labels = self.labels.unwrap_or_default();
            match log_line(line, &timestamp, labels, self.structured_metadata) {
                Ok(stream) => store_lines(shared, vec![stream], outcome),
                Err(reason) => outcome.refuse(&reason),
            }
        }
        if is_known { Ok(()) } else { Err(format!("its form is not recognised; accepted: {ACCEPTED}")) }
    }
}

/// The request that has these under this name.
fn request<T: FromJson>(name: &str, parts: Vec<Value>) -> Result<T, String> {
    otlp_json::read(&Map::from_iter([(name.to_owned(), Value::Array(parts))]))
}

/// Stores the spans that are not there already; one with an id that is none is refused, whatever the others are.
fn store_spans(shared: &Shared, groups: Vec<ResourceSpans>, outcome: &mut Outcome) {
    let mut read = Vec::new();
    groups.into_iter().for_each(|group| group.into_spans(&mut read));
    let mut refused = 0;
    read.retain(|(span, _)| match id_problem(span) {
        None => true,
        Some(problem) => {
            refused += 1;
            outcome.refuse(&problem);
            false
        }
    });
    let mut ids: Vec<&str> = read.iter().map(|(span, _)| span.trace_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let held: Vec<Vec<Arc<Span>>> = ids.iter().map(|id| shared.store.trace(id)).collect();
    ids.iter().for_each(|id| outcome.saw_trace(id));
    let mut known = Known::default();
    for span in held.iter().flatten() {
        known.insert(span);
    }
    let spans: Vec<(Arc<Span>, usize)> = read.into_iter().map(|(span, bytes)| (Arc::new(span), bytes)).collect();
    let are_new: Vec<bool> = spans.iter().map(|(span, _)| known.insert(span)).collect();
    drop(known);
    shared.store.with_traces(|traces| {
        traces.reject(refused);
        traces.repeat(are_new.iter().filter(|is_new| !**is_new).count() as u64);
        // What the first span of a resource holds is charged to the first that is stored.
        let mut shared_bytes = 0;
        for ((span, bytes), is_new) in spans.into_iter().zip(are_new) {
            shared_bytes += bytes;
            if is_new {
                traces.push(Arc::unwrap_or_clone(span), std::mem::take(&mut shared_bytes));
            }
        }
    });
}

fn id_problem(span: &Span) -> Option<String> {
    let is_id = |id: &str, digits: usize| id.len() == digits && id.bytes().any(|digit| digit != b'0');
    let Span { trace_id, span_id, name, .. } = span;
    if !is_id(trace_id, 32) {
        return Some(format!("trace id {trace_id:?} of span {name:?}: accepted are 16 bytes, not all zero"));
    }
    (!is_id(span_id, 16)).then(|| format!("span id {span_id:?} of span {name:?}: accepted are 8 bytes, not all zero"))
}

fn store_lines(shared: &Shared, streams: Vec<Stream>, outcome: &mut Outcome) {
    for entry in streams.iter().flat_map(|stream| &stream.entries) {
        outcome.saw_line(entry.timestamp_ns);
    }
    if let Err(refused) = loki_push::keep(shared, streams) {
        outcome.refuse(refused.text.lines().next().unwrap_or_default());
    }
}

/// Labels that Loki indexes, of those that clients usually give.
const USUAL_LABELS: [&str; 8] =
    ["service_name", "service_namespace", "service", "job", "app", "namespace", "level", "environment"];
/// What Loki keeps as structured metadata and `logcli` shows among the labels.
const IDS: [&str; 4] = ["trace_id", "span_id", "traceID", "spanID"];

/// One line of a log. Without metadata of its own it is `logcli`'s: labels and metadata are one there, and common labels may be left out.
fn log_line(line: String, timestamp: &str, labels: Labels, metadata: Option<Labels>) -> Result<Stream, String> {
    let timestamp_ns = loki_time(timestamp).ok_or_else(|| {
        format!("timestamp {timestamp:?} is not accepted; accepted: an RFC 3339 time, or nanoseconds")
    })?;
    let (mut labels, structured_metadata) = match metadata {
        Some(metadata) => (labels, metadata),
        None => {
            let are_many = labels.len() > MAX_LABELS;
            labels.into_iter().partition(|(name, _)| {
                let name = name.as_str();
                if are_many { USUAL_LABELS.contains(&name) } else { !IDS.contains(&name) }
            })
        }
    };
    if labels.is_empty() {
        labels.insert("service_name".to_owned(), "unknown_service".to_owned());
    }
    Ok(Stream { labels, entries: vec![Entry { timestamp_ns, line, structured_metadata }] })
}
