//! The list of traces: those in which one span satisfies all conditions, newest first.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use regex::Regex;
use serde_json::{Value, json};

use super::page::page;
use super::query::{AttributeFilter, Query, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::span::{Span, SpanKind};
use crate::store::{Name, Names, TraceInPlace, TraceStore};

/// The most traces of one answer.
const MAX_TRACES: u64 = 1000;
/// The most points of one answer.
const MAX_POINTS: u64 = 5000;

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

/// The same in the numbers of one store.
struct Bound<'a> {
    services: Option<HashSet<Name>>,
    names: Option<HashSet<Name>>,
    kind: Option<SpanKind>,
    attributes: &'a [AttributeFilter],
}

impl SpanFilter {
    fn bind(&self, traces: &TraceStore) -> Bound<'_> {
        let those = |names: &Names, wanted: &dyn Fn(&str) -> bool| {
            names.iter().filter(|(_, name)| wanted(name)).map(|(number, _)| number).collect()
        };
        let wanted = |service: &str| self.services.iter().any(|wanted| wanted == service);
        Bound {
            services: (!self.services.is_empty()).then(|| those(traces.services(), &wanted)),
            names: self.name.as_ref().map(|name| those(traces.names(), &|text| name.is_match(text))),
            kind: self.kind,
            attributes: &self.attributes,
        }
    }
}

impl Bound<'_> {
    /// Whether one span of a trace satisfies all conditions.
    fn finds(&self, trace: TraceInPlace<'_>) -> bool {
        let Self { services, names, kind, attributes } = self;
        if services.is_none() && names.is_none() && kind.is_none() && attributes.is_empty() {
            return true;
        }
        trace.spans().any(|(_, stored)| {
            let facts = &stored.facts;
            services.as_ref().is_none_or(|services| services.contains(&facts.service))
                && names.as_ref().is_none_or(|names| names.contains(&facts.name))
                && kind.is_none_or(|kind| kind == facts.kind)
                && attributes.iter().all(|filter| filter.accepts(value_of(&stored.span, &filter.name).as_deref()))
        })
    }
}

/// An attribute of a span, else of its resource, else of its events; as text.
fn value_of<'a>(span: &'a Span, name: &str) -> Option<Cow<'a, str>> {
    let of_events = || span.events.iter().find_map(|event| event.attributes.get(name));
    let value = span.attributes.get(name).or_else(|| span.resource.get(name)).or_else(of_events);
    value.map(|value| value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed))
}

/// A trace that was found.
struct Found {
    id: u128,
    start_ns: u64,
    duration_ns: u64,
    errors: u64,
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
    let points = query.flag("points")?;
    let next = shared.store.read_traces(|traces| traces.next_number());
    let until = query.number("until", next, 0, u64::MAX)?.min(next);
    let accepts = |found: &Found| {
        let has_status = match status {
            None => true,
            Some(Wanted::Error) => found.errors > 0,
            Some(Wanted::NoError) => found.errors == 0,
        };
        has_status
            && range.contains_unsigned(found.start_ns)
            && (min..=max).contains(&Duration::from_nanos(found.duration_ns))
    };
    let order = |found: &Found| (Reverse(if slowest_first { found.duration_ns } else { found.start_ns }), found.id);
    Ok(Json(shared.store.read_traces(|traces| {
        let bound = filter.bind(traces);
        let all = traces.traces().filter(|(_, trace)| trace.first_number() < until);
        let mut found: Vec<Found> = all
            .filter_map(|(id, trace)| {
                let summary = trace.summary();
                let (start_ns, duration_ns) = (summary.start_ns, summary.duration_ns());
                let found = Found { id, start_ns, duration_ns, errors: summary.errors };
                (accepts(&found) && bound.finds(trace)).then_some(found)
            })
            .collect();
        let total = found.len();
        let points: Option<Vec<Value>> = points.then(|| {
            let newest = page(&mut found, 0, MAX_POINTS, order);
            newest.iter().map(Found::point).collect()
        });
        let rows: Vec<Value> = page(&mut found, skip, limit, order)
            .iter()
            .filter_map(|found| row(traces, found.id, traces.trace_in_place(found.id)?))
            .collect();
        json!({ "total": total, "until": until.to_string(), "skip": skip, "rows": rows, "points": points })
    })))
}

impl Found {
    fn point(&self) -> Value {
        json!([self.start_ns as f64 / 1e6, self.duration_ns, self.errors, format!("{:032x}", self.id)])
    }
}

fn row(traces: &TraceStore, id: u128, trace: TraceInPlace<'_>) -> Option<Value> {
    let summary = trace.summary();
    let named = &traces.numbered(summary.named_by())?.span;
    let mut services: Vec<(&str, u64, u64)> = summary
        .services
        .iter()
        .map(|(service, spans, errors)| (traces.services().get(*service), *spans, *errors))
        .collect();
    services.sort_unstable();
    let services: Vec<Value> = services
        .into_iter()
        .map(|(service, spans, errors)| json!({ "name": service, "spans": spans, "errors": errors }))
        .collect();
    Some(json!({
        "trace_id": format!("{id:032x}"),
        "start_ns": summary.start_ns.to_string(),
        "duration_ns": summary.duration_ns(),
        "service": named.service_name(),
        "name": named.name,
        "has_root": summary.has_root(),
        "spans": summary.spans,
        "errors": summary.errors,
        "services": services,
    }))
}

fn kinds() -> [(&'static str, SpanKind); 5] {
    [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer]
        .map(|kind| (kind.as_str(), kind))
}
