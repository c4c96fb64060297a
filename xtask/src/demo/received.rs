//! What the backends hold of one run of the services, by instance: log entries, spans, samples. The development stack's store is
//! asked directly; real servers are asked over HTTP, in their query languages.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lgtm_devstack::wire::prometheus::WriteRequest;
use lgtm_devstack::{Devstack, Endpoint, Series, Store};
use lgtm_query::{
    Direction, Labels, LogQuery, Loki, MetricData, Prometheus, Sample, SpanId, Tempo, TimeRange, TraceId, TraceSearch,
};
use prost::Message as _;

use super::shops::Instance;
use crate::servers::Readers;

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
    /// Samples and stale markers, each series' at each collection once: at least and at most so many. The zero before a new series' first value
    /// comes along with that value and is no sample of its own, but a query cannot tell it from one that is.
    pub(super) samples: (u64, u64),
    /// The sum of the last values of [`REQUESTS_TOTAL`].
    pub(super) requests: f64,
}

/// What the development stack holds of these instances.
pub(super) fn in_devstack(stack: &Devstack, instances: &[Instance]) -> Vec<Received> {
    let store = stack.store();
    let (logs, spans, series) = (store.logs(), store.spans(), store.series_named(REQUESTS_TOTAL));
    let samples = written_samples(store);
    let of = |instance: &Instance| {
        let id = Some(instance.id.as_str());
        let own_spans = spans.iter().filter(|span| span.resource.text("service.instance.id") == id);
        let own_series = series.iter().filter(|series| series.labels.get("instance").map(String::as_str) == id);
        let samples = samples.get(&instance.id).map_or(0, |samples| samples.len() as u64);
        Received {
            logs: count(logs.iter().filter(|entry| entry.label("service_instance_id") == id)),
            spans: count(own_spans.map(|span| (&span.trace_id, &span.span_id)).collect::<HashSet<_>>()),
            samples: (samples, samples),
            requests: own_series.filter_map(Series::last_value).sum(),
        }
    };
    instances.iter().map(of).collect()
}

/// The samples of the accepted remote write requests by instance: each as its series and time.
fn written_samples(store: &Store) -> HashMap<String, HashSet<(String, i64)>> {
    let requests = store.requests_to(Endpoint::RemoteWrite);
    let accepted = requests.iter().filter(|request| request.status().is_some_and(|status| status / 100 == 2));
    let decoded = accepted.filter_map(|request| WriteRequest::decode(request.decoded_body()?.as_slice()).ok());
    let mut samples: HashMap<String, HashSet<(String, i64)>> = HashMap::new();
    for series in decoded.flat_map(|request| request.timeseries) {
        let instance = series.labels.iter().find(|label| label.name == "instance").map(|label| label.value.clone());
        if let (Some(instance), Some(newest)) = (instance, series.samples.last()) {
            samples.entry(instance).or_default().insert((format!("{:?}", series.labels), newest.timestamp));
        }
    }
    samples
}

fn count<T>(items: impl IntoIterator<Item = T>) -> u64 {
    items.into_iter().count() as u64
}

/// Writes to `held` what real servers hold of these instances since `since`. A server that cannot be read leaves its part of `held`
/// as it is, and its error in the answer.
pub(super) async fn in_servers(
    readers: &Readers,
    instances: &[Instance],
    created_spans: &[u64],
    since: SystemTime,
    held: &mut [Received],
) -> Vec<lgtm_query::Error> {
    let range = TimeRange::between(since - MARGIN, SystemTime::now() + MARGIN);
    let mut errors = Vec::new();
    let mut traces = BTreeSet::new();
    for (instance, held) in instances.iter().zip(&mut *held) {
        match log_entries(&readers.loki, instance, range, &mut traces).await {
            Ok(logs) => held.logs = logs,
            Err(error) => errors.push(error),
        }
        match samples(&readers.prometheus, instance, range).await {
            Ok((samples, requests)) => (held.samples, held.requests) = (samples, requests),
            Err(error) => errors.push(error),
        }
    }
    match spans_of(&readers.tempo, instances, created_spans, range, traces).await {
        Ok(spans) => held.iter_mut().zip(spans).for_each(|(held, spans)| held.spans = spans),
        Err(error) => errors.push(error),
    }
    errors
}

/// Counts the spans of each instance in these traces and, where that is not all that was created, in those that a search finds:
/// each request has a log line, so the lines know the traces, and by its id a trace is there at once; search shows it only later.
async fn spans_of(
    tempo: &Tempo,
    instances: &[Instance],
    created: &[u64],
    range: TimeRange,
    mut traces: BTreeSet<TraceId>,
) -> Result<Vec<u64>, lgtm_query::Error> {
    let count = |spans: &Spans| -> Vec<u64> {
        instances.iter().map(|instance| spans.get(&instance.id).map_or(0, |spans| spans.len() as u64)).collect()
    };
    let counted = count(&spans(tempo, &traces).await?);
    if counted.iter().zip(created).all(|(counted, created)| counted >= created) {
        return Ok(counted);
    }
    for instance in instances {
        let traceql = format!(r#"{{ resource.service.instance.id = "{}" }}"#, instance.id);
        let found = tempo.search(&TraceSearch::new(traceql).range(range).limit(MAX_TRACES)).await?;
        traces.extend(found.iter().map(|trace| trace.trace_id));
    }
    Ok(count(&spans(tempo, &traces).await?))
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

/// The number of samples of an instance, at least and at most, and what it counted as requests.
async fn samples(
    prometheus: &Prometheus,
    instance: &Instance,
    range: TimeRange,
) -> Result<((u64, u64), f64), lgtm_query::Error> {
    // What rules record and alerts say of the instance is not the program's own.
    let selector = format!(r#"{{instance="{}", __name__!~"ALERTS|ALERTS_FOR_STATE|.*:.*"}}"#, instance.id);
    let promql = format!("{selector}[{}s]", range.duration().as_secs());
    let MetricData::Matrix(series) = prometheus.query(&promql, Some(range.end_unix_nanos)).await?.data else {
        return Ok(((0, 0), 0.0));
    };
    // A range holds no stale markers; what is not found at its end any more has got one.
    let live = match prometheus.query(&selector, Some(range.end_unix_nanos)).await?.data {
        MetricData::Vector(series) => series.len(),
        _ => 0,
    };
    let markers = series.len().saturating_sub(live) as u64;
    let all = markers + series.iter().map(|series| series.samples.len() as u64).sum::<u64>();
    let begins_with_zero =
        |samples: &[Sample]| matches!(samples, [zero, next, ..] if zero.value == 0.0 && next.value > 0.0);
    let zeros = count(series.iter().filter(|series| begins_with_zero(&series.samples)));
    let is_requests = |labels: &Labels| labels.get("__name__").is_some_and(|name| name == REQUESTS_TOTAL);
    let requests = series.iter().filter(|series| is_requests(&series.labels));
    let requests = requests.filter_map(|series| series.samples.last()).map(|sample| sample.value).sum();
    Ok(((all - zeros, all), requests))
}
