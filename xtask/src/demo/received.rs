//! What the backends hold of one run of the services, by instance: log entries, spans, samples. The development stack's store is
//! asked directly; real servers are asked over HTTP, in their query languages.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lgtm_devstack::Store;
use lgtm_query::{Direction, LogQuery, Loki, MetricData, Prometheus, SpanId, Tempo, TimeRange, TraceId, TraceSearch};

use super::addresses::Readers;
use super::shops::Instance;

/// The counter of the services that must end at the number of requests sent.
pub(super) const REQUESTS_TOTAL: &str = "http_requests_total";

/// Log entries asked for at once.
const PAGE: u32 = 1000;
/// Traces in one search; Tempo's own limit is far above.
const MAX_TRACES: u32 = 10_000;
/// Traces asked for at the same time.
const TRACES_IN_FLIGHT: usize = 8;
/// Clocks and collection times may differ by this.
const MARGIN: Duration = Duration::from_secs(60);

/// What a backend holds of one instance, each item counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Received {
    pub(super) logs: u64,
    pub(super) spans: u64,
    /// Samples, stale markers among them.
    pub(super) samples: u64,
    /// The sum of the last values of [`REQUESTS_TOTAL`].
    pub(super) requests: f64,
}

/// What the store of the development stack holds of these instances.
pub(super) fn in_store(store: &Store, instances: &[Instance]) -> Vec<Received> {
    let (logs, spans, series) = (store.logs(), store.spans(), store.series());
    let of = |instance: &Instance| {
        let id = Some(instance.id.as_str());
        let own_spans = spans.iter().filter(|span| span.resource.text("service.instance.id") == id);
        let own_series = || series.iter().filter(|series| series.labels.get("instance").map(String::as_str) == id);
        let requests = own_series().filter(|series| series.name() == REQUESTS_TOTAL);
        Received {
            logs: count(logs.iter().filter(|entry| entry.label("service_instance_id") == id)),
            spans: count(own_spans.map(|span| (&span.trace_id, &span.span_id)).collect::<HashSet<_>>()),
            samples: own_series().map(|series| series.samples.len() as u64).sum(),
            requests: requests.filter_map(|series| series.last_value()).sum(),
        }
    };
    instances.iter().map(of).collect()
}

fn count<T>(items: impl IntoIterator<Item = T>) -> u64 {
    items.into_iter().count() as u64
}

/// What real servers hold of these instances since `since`.
///
/// # Errors
/// Every error of a query.
pub(super) async fn in_servers(
    readers: &Readers,
    instances: &[Instance],
    created_spans: &[u64],
    since: SystemTime,
) -> Result<Vec<Received>, lgtm_query::Error> {
    let range = TimeRange::between(since - MARGIN, SystemTime::now() + MARGIN);
    let mut received = Vec::new();
    let mut traces = BTreeSet::new();
    for instance in instances {
        let logs = log_entries(&readers.loki, instance, range, &mut traces).await?;
        let (samples, requests) = samples(&readers.prometheus, instance, range).await?;
        received.push(Received { logs, spans: 0, samples, requests });
    }
    // Each request has a log line, so the lines know the traces; by id a trace is there at once. Search shows it only later: it is
    // asked where that was not all.
    let mut spans = spans(&readers.tempo, &traces).await?;
    let held = |spans: &Spans, instance: &Instance| spans.get(&instance.id).map_or(0, |spans| spans.len() as u64);
    if instances.iter().zip(created_spans).any(|(instance, created)| held(&spans, instance) < *created) {
        for instance in instances {
            let traceql = format!(r#"{{ resource.service.instance.id = "{}" }}"#, instance.id);
            let found = readers.tempo.search(&TraceSearch::new(traceql).range(range).limit(MAX_TRACES)).await?;
            traces.extend(found.iter().map(|trace| trace.trace_id));
        }
        spans = self::spans(&readers.tempo, &traces).await?;
    }
    for (received, instance) in received.iter_mut().zip(instances) {
        received.spans = held(&spans, instance);
    }
    Ok(received)
}

/// Counts the log entries of an instance, and adds the traces that they name.
async fn log_entries(
    loki: &Loki,
    instance: &Instance,
    range: TimeRange,
    traces: &mut BTreeSet<TraceId>,
) -> Result<u64, lgtm_query::Error> {
    let service = instance.role.service_name();
    let logql = format!(r#"{{service_name="{service}"}} | service_instance_id="{}""#, instance.id);
    let mut from = range.start_unix_nanos;
    // The entries of the last page's last nanosecond, which the next page begins with.
    let mut known = HashSet::new();
    let mut total = 0;
    loop {
        let page = TimeRange::new(from, range.end_unix_nanos);
        let query = LogQuery::new(&logql).range(page).limit(PAGE).direction(Direction::Forward);
        let answer = loki.query_range(&query).await?;
        let entries = answer.entries();
        traces.extend(answer.values("trace_id").into_iter().filter_map(|id| id.parse::<TraceId>().ok()));
        let last = entries.last().map_or(from, |(_, entry)| entry.timestamp_unix_nanos);
        let mut next_known = if last == from { known.clone() } else { HashSet::new() };
        for (stream, entry) in &entries {
            let key = (format!("{:?}", stream.labels), entry.line.clone());
            if entry.timestamp_unix_nanos == from && known.contains(&key) {
                continue;
            }
            total += 1;
            if entry.timestamp_unix_nanos == last {
                next_known.insert(key);
            }
        }
        if entries.len() < PAGE as usize {
            return Ok(total);
        }
        // A whole page within one nanosecond cannot be paged through: it is left.
        from = if last == from { last + 1 } else { last };
        known = next_known;
    }
}

/// The ids of spans by the instance that sent them.
type Spans = HashMap<String, HashSet<(TraceId, SpanId)>>;

async fn spans(tempo: &Tempo, traces: &BTreeSet<TraceId>) -> Result<Spans, lgtm_query::Error> {
    let mut found = stream::iter(traces).map(|id| tempo.trace(*id)).buffer_unordered(TRACES_IN_FLIGHT);
    let mut spans = Spans::new();
    while let Some(trace) = found.try_next().await? {
        let Some(trace) = trace else { continue };
        for span in &trace.spans {
            let instance = trace.resource(span).and_then(|resource| resource.get("service.instance.id"));
            if let Some(instance) = instance.and_then(|value| value.as_str()) {
                spans.entry(instance.to_owned()).or_default().insert((span.trace_id, span.span_id));
            }
        }
    }
    Ok(spans)
}

/// The number of samples of an instance, and what it counted as requests.
async fn samples(
    prometheus: &Prometheus,
    instance: &Instance,
    range: TimeRange,
) -> Result<(u64, f64), lgtm_query::Error> {
    let selector = format!(r#"{{instance="{}"}}"#, instance.id);
    let at = Some(range.end_unix_nanos);
    let all = prometheus.query(&format!("{selector}[{}s]", range.duration().as_secs()), at).await?.data;
    // A query shows no stale markers, but what has one is gone at the next look.
    let alive = prometheus.query(&selector, at).await?.data.vector().len();
    let MetricData::Matrix(series) = all else { return Ok((0, 0.0)) };
    let ended = series.len().saturating_sub(alive);
    let samples = series.iter().map(|series| series.samples.len()).sum::<usize>() + ended;
    let requests =
        series.iter().filter(|series| series.labels.get("__name__").is_some_and(|name| name == REQUESTS_TOTAL));
    Ok((samples as u64, requests.filter_map(|series| series.samples.last()).map(|sample| sample.value).sum()))
}
