//! How things stand: what the store holds, how each service does by its spans, what programs say that they have lost, and the newest
//! errors.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::fields::{self, Level};
use super::latency::quantiles;
use super::logs;
use super::query::{Query, Range, Refusal};
use super::traces::spans_in;
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::span::{Span, SpanKind};
use crate::store::SignalCounts;

/// Into how many parts the time is cut for the small charts.
const PARTS: usize = 40;
/// The most services of one answer; of more, those with the most requests.
const MAX_SERVICES: usize = 500;
/// How many of the newest errors are shown.
const ERRORS: usize = 10;

/// Whether a span is the work of a service for somebody else: a server's or consumer's, or one without parent.
pub(super) fn is_request(span: &Span) -> bool {
    matches!(span.kind, SpanKind::Server | SpanKind::Consumer) || span.parent_span_id.is_none()
}

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
    let spans = spans_in(&shared, range);
    let lines: Vec<logs::Numbered> = shared.store.read_logs(|logs| logs::numbered(logs, 0).collect());
    // The rate is over the time in which something came, not over time in which the program did not run.
    let begin = spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
    let end = u64::try_from(now.min(range.to)).unwrap_or_default().max(begin);
    let seconds = (end.saturating_sub(begin) as f64 / 1e9).max(1.0);
    let mut services: BTreeMap<&str, Service> = BTreeMap::new();
    for span in &spans {
        let service = services.entry(span.service_name()).or_default();
        service.spans += 1;
        if !is_request(span) {
            continue;
        }
        service.requests += 1;
        service.errors += u64::from(span.is_error());
        service.durations.push(span.end_ns.saturating_sub(span.start_ns));
        service.parts.resize(PARTS, [0, 0]);
        let part = (span.start_ns.saturating_sub(begin) as f64 / (end - begin).max(1) as f64 * PARTS as f64) as usize;
        if let Some([requests, errors]) = service.parts.get_mut(part.min(PARTS - 1)) {
            *requests += 1;
            *errors += u64::from(span.is_error());
        }
    }
    let mut newest_errors = Vec::new();
    for (number, entry) in lines.iter().filter(|(_, entry)| range.contains(entry.timestamp_ns)) {
        let service = services.entry(fields::service(entry)).or_default();
        service.lines += 1;
        if fields::level(entry) >= Level::Error {
            service.error_lines += 1;
            newest_errors.push((entry.timestamp_ns, *number, entry));
        }
    }
    newest_errors.sort_unstable_by_key(|(time, number, _)| std::cmp::Reverse((*time, *number)));
    let newest_errors: Vec<Value> =
        newest_errors.into_iter().take(ERRORS).map(|(_, number, entry)| logs::row(number, entry)).collect();
    let mut services: Vec<(&str, Service)> = services.into_iter().collect();
    services.sort_by_key(|(_, service)| std::cmp::Reverse((service.requests, service.spans, service.lines)));
    let left_out = services.len().saturating_sub(MAX_SERVICES);
    services.truncate(MAX_SERVICES);
    Ok(Json(json!({
        "now_ns": now.to_string(),
        "seconds": seconds,
        "part_seconds": seconds / PARTS as f64,
        "services": services.into_iter().map(|(name, service)| service.json(name, seconds)).collect::<Vec<_>>(),
        "services_left_out": left_out,
        "newest_errors": newest_errors,
        "dropped": dropped(&shared),
        "store": store_counts(&shared),
    })))
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
    let all = Range { from: i64::MIN, to: i64::MAX };
    let spans = spans_in(&shared, all);
    let mut names: BTreeSet<String> = spans.iter().map(|span| span.service_name().to_owned()).collect();
    shared.store.read_logs(|logs| {
        for entry in logs.entries() {
            let service = fields::service(entry);
            if !names.contains(service) {
                names.insert(service.to_owned());
            }
        }
    });
    Ok(Json(json!({ "services": names.into_iter().take(MAX_SERVICES).collect::<Vec<_>>() })))
}
