//! The list of traces: gathered from the spans held, those in which one span satisfies all conditions, newest first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use regex::Regex;
use serde_json::{Value, json};

use super::query::{AttributeFilter, Query, Range, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::span::{Span, SpanKind, StatusCode};

/// The most traces of one answer.
const MAX_TRACES: u64 = 1000;
/// The most points of one answer.
const MAX_POINTS: usize = 5000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Error,
    NoError,
}

/// Which spans are looked for; those about duration and status are about the trace.
struct SpanFilter {
    services: Vec<String>,
    name: Option<Regex>,
    kind: Option<SpanKind>,
    attributes: Vec<AttributeFilter>,
}

impl SpanFilter {
    fn accepts(&self, span: &Span) -> bool {
        (self.services.is_empty() || self.services.iter().any(|service| service == span.service_name()))
            && self.kind.is_none_or(|kind| kind == span.kind)
            && self.name.as_ref().is_none_or(|name| name.is_match(&span.name))
            && self.attributes.iter().all(|filter| filter.accepts(value_of(span, &filter.name).as_deref()))
    }
}

/// An attribute of a span, else of its resource, else of its events; as text.
fn value_of(span: &Span, name: &str) -> Option<String> {
    let of_events = || span.events.iter().find_map(|event| event.attributes.get(name));
    let value = span.attributes.get(name).or_else(|| span.resource.get(name)).or_else(of_events);
    value.map(ToString::to_string)
}

/// One trace as far as the list tells it.
struct Gathered<'a> {
    trace_id: &'a str,
    start: u64,
    end: u64,
    spans: u64,
    errors: u64,
    /// The first span without parent.
    root: Option<&'a Span>,
    /// The first span of all.
    first: &'a Span,
    services: BTreeMap<&'a str, (u64, u64)>,
    found: bool,
}

impl<'a> Gathered<'a> {
    fn new(span: &'a Span) -> Self {
        Self {
            trace_id: &span.trace_id,
            start: span.start_ns,
            end: span.end_ns,
            spans: 0,
            errors: 0,
            root: None,
            first: span,
            services: BTreeMap::new(),
            found: false,
        }
    }

    fn add(&mut self, span: &'a Span) {
        self.start = self.start.min(span.start_ns);
        self.end = self.end.max(span.end_ns);
        self.spans += 1;
        let error = u64::from(span.status.code == StatusCode::Error);
        self.errors += error;
        let (spans, errors) = self.services.entry(span.service_name()).or_default();
        *spans += 1;
        *errors += error;
        if span.parent_span_id.is_none() && self.root.is_none_or(|root| span.start_ns < root.start_ns) {
            self.root = Some(span);
        }
        if span.start_ns < self.first.start_ns {
            self.first = span;
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(self.start))
    }

    fn row(&self) -> Value {
        let named = self.root.unwrap_or(self.first);
        let services: Vec<Value> = self
            .services
            .iter()
            .map(|(service, (spans, errors))| json!({ "name": service, "spans": spans, "errors": errors }))
            .collect();
        json!({
            "trace_id": self.trace_id,
            "start_ns": self.start.to_string(),
            "duration_ns": self.end.saturating_sub(self.start),
            "service": named.service_name(),
            "name": named.name,
            "has_root": self.root.is_some(),
            "spans": self.spans,
            "errors": self.errors,
            "services": services,
        })
    }
}

/// `GET /api/v1/traces`
pub(super) async fn list(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[&[
        "service", "q", "kind", "attr", "min", "max", "status", "from", "to", "last", "limit", "skip", "until",
        "points", "sort",
    ]])?;
    let filter = SpanFilter {
        services: query.texts("service"),
        name: query.text("q")?,
        kind: query.one_of("kind", &kinds())?,
        attributes: query.attributes("attr")?,
    };
    let (min, max) = (query.duration("min")?.unwrap_or_default(), query.duration("max")?.unwrap_or(Duration::MAX));
    let status = query.one_of("status", &[("error", Wanted::Error), ("ok", Wanted::NoError)])?;
    let slowest_first = query.one_of("sort", &[("newest", false), ("slowest", true)])?.unwrap_or(false);
    let range = query.range(now_ns())?;
    let limit = query.number("limit", 200, 0, MAX_TRACES)?;
    let skip = query.number("skip", 0, 0, u64::MAX)?;
    let (spans, first, next) = shared.store.read_traces(|traces| {
        (traces.spans().cloned().collect::<Vec<_>>(), traces.first_number(), traces.next_number())
    });
    let until = query.number("until", next, 0, u64::MAX)?.min(next);
    let mut traces = gather(&spans, until.saturating_sub(first), &filter);
    traces.retain(|trace| {
        let has_status = match status {
            None => true,
            Some(Wanted::Error) => trace.errors > 0,
            Some(Wanted::NoError) => trace.errors == 0,
        };
        trace.found && has_status && range.contains_unsigned(trace.start) && (min..=max).contains(&trace.duration())
    });
    if slowest_first {
        traces.sort_by_key(|trace| (std::cmp::Reverse(trace.duration()), trace.trace_id));
    } else {
        traces.sort_by_key(|trace| (std::cmp::Reverse(trace.start), trace.trace_id));
    }
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let rows: Vec<Value> = traces.iter().skip(place(skip)).take(place(limit)).map(Gathered::row).collect();
    let points: Option<Vec<Value>> = query.flag("points")?.then(|| {
        let point = |trace: &Gathered<'_>| {
            let milliseconds = trace.start as f64 / 1e6;
            json!([milliseconds, trace.end.saturating_sub(trace.start), trace.errors, trace.trace_id])
        };
        traces.iter().take(MAX_POINTS).map(point).collect()
    });
    Ok(Json(json!({
        "total": traces.len(),
        "until": until.to_string(),
        "skip": skip,
        "rows": rows,
        "points": points,
    })))
}

fn kinds() -> [(&'static str, SpanKind); 5] {
    [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer]
        .map(|kind| (kind.as_str(), kind))
}

/// The traces of the first `number` spans.
fn gather<'a>(spans: &'a [Arc<Span>], number: u64, filter: &SpanFilter) -> Vec<Gathered<'a>> {
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    let mut traces: Vec<Gathered<'_>> = Vec::new();
    for span in spans.iter().take(usize::try_from(number).unwrap_or(usize::MAX)) {
        let at = *by_id.entry(&span.trace_id).or_insert_with(|| {
            traces.push(Gathered::new(span));
            traces.len() - 1
        });
        if let Some(trace) = traces.get_mut(at) {
            trace.add(span);
            trace.found |= !trace.found && filter.accepts(span);
        }
    }
    traces
}

/// The spans held that began in a span of time.
pub(super) fn spans_in(shared: &Shared, range: Range) -> Vec<Arc<Span>> {
    shared
        .store
        .read_traces(|traces| traces.spans().filter(|span| range.contains_unsigned(span.start_ns)).cloned().collect())
}
