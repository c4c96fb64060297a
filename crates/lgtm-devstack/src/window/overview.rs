//! How things stand: what the store holds, how each service does by its spans, what programs say that they have lost, and the newest
//! errors.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::fields::Level;
use super::latency::quantiles;
use super::logs;
use super::page::page;
use super::query::{Query, Range, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::store::{LogStore, Name, Names, SignalCounts, TraceStore};

/// Into how many parts the time is cut for the small charts.
const PARTS: usize = 40;
/// The most services of one answer; of more, those with the most requests.
const MAX_SERVICES: usize = 500;
/// How many of the newest errors are shown.
const ERRORS: u64 = 10;

#[derive(Default)]
struct Service {
    requests: u64,
    errors: u64,
    spans: u64,
    durations: Vec<u64>,
    parts: Vec<[u64; 2]>,
    lines: u64,
    error_lines: u64,
}

/// `GET /api/v1/overview`
pub(super) async fn overview(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[&["from", "to", "last"]])?;
    let now = now_ns();
    let range = query.range(now)?;
    let (begin, of_spans) = shared.store.read_traces(|traces| of_spans(traces, range, now));
    let end = end_of(range, now, begin);
    // The rate is over the time in which something came, not over time in which the program did not run.
    let seconds = (end.saturating_sub(begin) as f64 / 1e9).max(1.0);
    let mut services = of_spans;
    let newest_errors = shared.store.read_logs(|logs| of_lines(logs, range, &mut services));
    let mut services: Vec<(String, Service)> = services.into_iter().collect();
    services.sort_by_key(|(_, service)| std::cmp::Reverse((service.requests, service.spans, service.lines)));
    let left_out = services.len().saturating_sub(MAX_SERVICES);
    services.truncate(MAX_SERVICES);
    Ok(Json(json!({
        "now_ns": now.to_string(),
        "seconds": seconds,
        "part_seconds": seconds / PARTS as f64,
        "services": services.into_iter().map(|(name, service)| service.json(&name, seconds)).collect::<Vec<_>>(),
        "services_left_out": left_out,
        "newest_errors": newest_errors,
        "dropped": dropped(&shared),
        "store": store_counts(&shared),
    })))
}

fn end_of(range: Range, now: i64, begin: u64) -> u64 {
    u64::try_from(now.min(range.to)).unwrap_or_default().max(begin)
}

/// When the first span of a span of time began, and how each service does by its spans.
fn of_spans(traces: &TraceStore, range: Range, now: i64) -> (u64, BTreeMap<String, Service>) {
    let spans = || traces.all().map(|stored| &stored.facts).filter(|facts| range.contains_unsigned(facts.start_ns));
    let begin = spans().map(|facts| facts.start_ns).min().unwrap_or_default();
    let end = end_of(range, now, begin);
    let mut services: HashMap<Name, Service> = HashMap::new();
    for span in spans() {
        let service = services.entry(span.service).or_default();
        service.spans += 1;
        if !span.is_request() {
            continue;
        }
        service.requests += 1;
        service.errors += u64::from(span.is_error);
        service.durations.push(span.duration_ns());
        service.parts.resize(PARTS, [0, 0]);
        let part = (span.start_ns.saturating_sub(begin) as f64 / (end - begin).max(1) as f64 * PARTS as f64) as usize;
        if let Some([requests, errors]) = service.parts.get_mut(part.min(PARTS - 1)) {
            *requests += 1;
            *errors += u64::from(span.is_error);
        }
    }
    let names = traces.services();
    (begin, services.into_iter().map(|(name, service)| (names.get(name).to_owned(), service)).collect())
}

/// Adds the lines of each service in a span of time; gives the newest errors.
fn of_lines(logs: &LogStore, range: Range, services: &mut BTreeMap<String, Service>) -> Vec<Value> {
    let mut counts: HashMap<Name, [u64; 2]> = HashMap::new();
    let mut errors: Vec<logs::Place> = Vec::new();
    for line in logs.lines(0).filter(|line| range.contains(line.facts.time_ns)) {
        let [lines, error_lines] = counts.entry(line.facts.service).or_default();
        *lines += 1;
        if line.facts.level >= Level::Error {
            *error_lines += 1;
            errors.push((line.facts.time_ns, line.number));
        }
    }
    for (name, [lines, error_lines]) in counts {
        let service = services.entry(logs.services().get(name).to_owned()).or_default();
        service.lines = lines;
        service.error_lines = error_lines;
    }
    logs::rows(logs, page(&mut errors, 0, ERRORS, |place| Reverse(*place)))
}

impl Service {
    fn json(mut self, name: &str, seconds: f64) -> Value {
        json!({
            "name": name,
            "requests": self.requests,
            "rate": self.requests as f64 / seconds,
            "errors": self.errors,
            "spans": self.spans,
            "latency_ns": quantiles(&mut self.durations),
            "parts": self.parts,
            "lines": self.lines,
            "error_lines": self.error_lines,
        })
    }
}

/// What programs say that they have lost: their counters `*_dropped_total` and `*_suppressed_total` above zero, added up over instances.
fn dropped(shared: &Shared) -> Vec<Value> {
    let is_loss = |name: &str| name.ends_with("_dropped_total") || name.ends_with("_suppressed_total");
    let mut sums: BTreeMap<[String; 4], f64> = BTreeMap::new();
    shared.store.read_metrics(|metrics| {
        metrics.for_each(|series| {
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            let name = label("__name__");
            let Some(last) = series.newest_value().filter(|_| is_loss(&name)) else { return };
            if last.value > 0.0 {
                *sums.entry([name, label("job"), label("exporter"), label("reason")]).or_default() += last.value;
            }
        });
    });
    sums.into_iter()
        .map(|([metric, job, exporter, reason], value)| {
            json!({ "metric": metric, "job": job, "exporter": exporter, "reason": reason, "value": value })
        })
        .collect()
}

/// What the store has received, holds, and had to let go.
pub(super) fn store_counts(shared: &Shared) -> Value {
    let counts = shared.store.counts();
    let limits = &shared.limits;
    let signal = |counts: SignalCounts, limit: usize| {
        json!({
            "received": counts.received,
            "held": counts.held,
            "held_bytes": counts.held_bytes,
            "limit_bytes": limit,
            "evicted": counts.evicted,
            "duplicates": counts.duplicates,
            "rejected": counts.rejected,
        })
    };
    json!({
        "logs": signal(counts.logs, limits.log_bytes),
        "spans": signal(counts.spans, limits.trace_bytes),
        "samples": signal(counts.samples, limits.metric_bytes),
        "exemplars": signal(counts.exemplars, limits.metric_bytes),
        "histograms": signal(counts.histograms, limits.metric_bytes),
        "series": counts.series,
    })
}

/// `GET /api/v1/services`: the services of spans and of lines.
pub(super) async fn services(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[])?;
    let names = |names: &Names| names.iter().map(|(_, name)| name.to_owned()).collect::<Vec<_>>();
    let mut all: BTreeSet<String> = shared.store.read_traces(|traces| names(traces.services())).into_iter().collect();
    all.extend(shared.store.read_logs(|logs| names(logs.services())));
    Ok(Json(json!({ "services": all.into_iter().take(MAX_SERVICES).collect::<Vec<_>>() })))
}
