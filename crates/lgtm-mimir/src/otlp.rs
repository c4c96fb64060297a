//! Metrics by OTLP in place of remote write: collect, encode, and what the answers mean. Worker thread.
//! Sources: opentelemetry-proto, `metrics/v1/metrics.proto`; OpenTelemetry, "Prometheus and OpenMetrics Compatibility".
//!
//! Everything is cumulative. A histogram that also is a native one is sent as an exponential histogram, else with its buckets. Names are
//! those of the scrape output; a unit is sent only where the name ends with it, because receivers append it. A histogram with quantiles
//! is sent as a summary.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Batch, Queue, Reply, Signal, Verdict};
use lgtm_core::protobuf::{
    Field, Fields, field_length, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, put_varint, varint_tag,
};
use lgtm_core::{Identity, SignalKind, otlp, unix_nanos};

use crate::collect::{Collected, Reading, collect};
use crate::exemplar::Exemplar;
use crate::expiry::Expired;
use crate::families::{Kind, Series};
use crate::histogram::Histogram;
use crate::native::{Buckets, Native, ZERO_THRESHOLD};
use crate::push::FUTURE;
use crate::registry::Registry;
use crate::remote_write::zigzag;
use crate::summary::Summary;
use crate::unit::Unit;
use crate::value::Value;

pub(crate) const HTTP_PATH: &str = "/v1/metrics";
pub(crate) const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

const RESOURCE_METRICS: u8 = length_tag(1);
const SCOPE_METRICS: u8 = length_tag(2);
const METRICS: u8 = length_tag(2);

const NAME: u8 = length_tag(1);
const DESCRIPTION: u8 = length_tag(2);
const UNIT: u8 = length_tag(3);
const GAUGE: u8 = length_tag(5);
const SUM: u8 = length_tag(7);
const HISTOGRAM: u8 = length_tag(9);
const EXPONENTIAL_HISTOGRAM: u8 = length_tag(10);
const SUMMARY: u8 = length_tag(11);
/// Of each of these five.
const DATA_POINTS: u8 = length_tag(1);
/// `aggregation_temporality: AGGREGATION_TEMPORALITY_CUMULATIVE`, of sums and histograms.
const CUMULATIVE: [u8; 2] = [varint_tag(2), 2];
/// `is_monotonic: true`, of a sum.
const MONOTONIC: [u8; 2] = [varint_tag(3), 1];

/// Of every data point.
const START_TIME: u8 = fixed64_tag(2);
const TIME: u8 = fixed64_tag(3);
/// The flag `FLAG_NO_RECORDED_VALUE`: the series is over.
const NO_RECORDED_VALUE: u64 = 1;

const MILLISECOND: u64 = 1_000_000;

/// The signal of metrics, to an OTLP receiver.
pub(crate) struct Otlp {
    registry: Arc<Registry>,
    interval: Duration,
    /// `ResourceMetrics.resource`, tag and all.
    resource: Vec<u8>,
    /// `ScopeMetrics.scope`, tag and all.
    scope: Vec<u8>,
    /// Nanoseconds since the Unix epoch of the last collection; at first, of the start.
    collected_at: u64,
    /// By the number of a series: when it was still zero.
    starts: HashMap<u32, u64>,
    /// By the name of a family: its number, which is the stream of its items.
    numbers: HashMap<Arc<str>, u32>,
    frames: Vec<Frame>,
}

/// A metric around its data points.
#[derive(Default)]
struct Frame {
    /// The fields of the `Metric` beside its data.
    head: Vec<u8>,
    /// The tag of its data.
    data: u8,
    /// The fields of its data beside the points.
    rest: Vec<u8>,
}

impl Frame {
    fn of(family: &Collected) -> Self {
        let mut head = Vec::new();
        put_bytes(&mut head, NAME, family.name.as_bytes());
        if !family.help.is_empty() {
            put_bytes(&mut head, DESCRIPTION, family.help.as_bytes());
        }
        if let Some(unit) = family.unit.and_then(|unit| unit_of(&family.name, unit)) {
            put_bytes(&mut head, UNIT, unit.as_bytes());
        }
        let is_native = family.listing.series.iter().any(|series| series.native().is_some());
        let (data, rest) = match family.kind {
            Kind::Gauge => (GAUGE, Vec::new()),
            Kind::Counter => (SUM, [CUMULATIVE, MONOTONIC].concat()),
            Kind::Histogram if is_native => (EXPONENTIAL_HISTOGRAM, CUMULATIVE.to_vec()),
            Kind::Histogram => (HISTOGRAM, CUMULATIVE.to_vec()),
            Kind::Summary => (SUMMARY, Vec::new()),
        };
        Self { head, data, rest }
    }

    /// Appends the metric with these points, each with its tag.
    fn put<'p>(&self, buffer: &mut Vec<u8>, points: impl Iterator<Item = &'p [u8]> + Clone) {
        let data = self.rest.len() + points.clone().map(<[u8]>::len).sum::<usize>();
        buffer.push(METRICS);
        put_varint(buffer, (self.head.len() + field_length(data)) as u64);
        buffer.extend_from_slice(&self.head);
        buffer.push(self.data);
        put_varint(buffer, data as u64);
        points.for_each(|point| buffer.extend_from_slice(point));
        buffer.extend_from_slice(&self.rest);
    }
}

/// The unit by UCUM, if the name says it already: receivers for Prometheus append what is missing, and the name would be another one.
fn unit_of(name: &str, unit: Unit) -> Option<&'static str> {
    unit.code().filter(|_| unit.ends(name.strip_suffix("_total").unwrap_or(name)))
}

impl Otlp {
    pub(crate) fn new(registry: Arc<Registry>, interval: Duration, identity: &Identity) -> Self {
        Self {
            registry,
            interval,
            resource: otlp::resource(identity),
            scope: otlp::scope("lgtm-mimir", env!("CARGO_PKG_VERSION")),
            collected_at: unix_nanos(),
            starts: HashMap::new(),
            numbers: HashMap::new(),
            frames: Vec::new(),
        }
    }

    fn number_of(&mut self, family: &Collected) -> u32 {
        let frame = Frame::of(family);
        let new = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(Arc::clone(&family.name)).or_insert(new);
        match self.frames.get_mut(number as usize) {
            Some(known) => *known = frame,
            None => self.frames.push(frame),
        }
        number
    }

    fn collect_at(&mut self, queue: &Queue, now: u64, last: bool) {
        if self.collected_at.saturating_sub(now) > FUTURE.unsigned_abs() * MILLISECOND {
            // The clock was far ahead and has been set right.
            self.collected_at = now.saturating_sub(3 * MILLISECOND);
        }
        // As with remote write: no two points of a series at one time, and between two collections room for the end of a series.
        let before = self.collected_at;
        let time = now.max(before + 3 * MILLISECOND);
        self.registry.renew(Instant::now());
        for Expired { family, series } in self.registry.take_expired() {
            let start = self.starts.remove(&series.number);
            if let (Some(start), Some(number)) = (start, self.numbers.get(&family.name))
                && series.is_pushed.load(Ordering::Relaxed)
            {
                admit(queue, *number, before + MILLISECOND, &over(&series, start, before + MILLISECOND));
            }
        }
        for family in collect(self.registry.families()) {
            let number = self.number_of(&family);
            for series in &family.listing.series {
                let start = *self.starts.entry(series.number).or_insert(before);
                let point = point(series, start, time);
                if admit(queue, number, time, &point) {
                    series.is_pushed.store(true, Ordering::Relaxed);
                }
                if last {
                    admit(queue, number, time + MILLISECOND, &over(series, start, time + MILLISECOND));
                }
            }
        }
        self.collected_at = time + if last { MILLISECOND } else { 0 };
    }

    fn put_request(&self, body: &mut Vec<u8>, metrics: &[u8]) {
        put_request(body, &self.resource, &self.scope, metrics);
    }
}

fn admit(queue: &Queue, family: u32, time: u64, point: &[u8]) -> bool {
    queue.admit(family, time, |buffer| put_bytes(buffer, DATA_POINTS, point))
}

/// Frames metrics; resource and scope with their tags.
fn put_request(body: &mut Vec<u8>, resource: &[u8], scope: &[u8], metrics: &[u8]) {
    let scope_metrics = scope.len() + metrics.len();
    let resource_metrics = resource.len() + field_length(scope_metrics);
    body.reserve(field_length(resource_metrics));
    body.push(RESOURCE_METRICS);
    put_varint(body, resource_metrics as u64);
    body.extend_from_slice(resource);
    body.push(SCOPE_METRICS);
    put_varint(body, scope_metrics as u64);
    body.extend_from_slice(scope);
    body.extend_from_slice(metrics);
}

/// The data point of a series now.
fn point(series: &Series, start: u64, time: u64) -> Vec<u8> {
    let mut counts = Vec::new();
    match series.read(&mut counts) {
        Reading::Counter(value) => {
            let mut point = number_point(series, start, time);
            put_fixed64(&mut point, fixed64_tag(6), value.min(i64::MAX.unsigned_abs()));
            point
        }
        Reading::FloatCounter(value) => {
            let mut point = number_point(series, start, time);
            put_fixed64(&mut point, fixed64_tag(4), value.to_bits());
            point
        }
        Reading::Gauge(value) => {
            let mut point = number_point(series, 0, time);
            put_fixed64(&mut point, fixed64_tag(4), value.to_bits());
            point
        }
        Reading::Histogram(histogram) => match histogram.native() {
            Some(native) => exponential_point(series, histogram, native, start, time),
            None => histogram_point(series, histogram, &counts, start, time),
        },
        Reading::Summary(histogram, summary) => {
            let count = counts.last().copied().unwrap_or_default();
            summary_point(number_point(series, start, time), histogram, summary, count)
        }
    }
}

/// The point that says that the series is over.
fn over(series: &Series, start: u64, time: u64) -> Vec<u8> {
    let (mut point, flags) = match &series.value {
        Value::Counter(_) | Value::FloatCounter(_) => (number_point(series, start, time), varint_tag(8)),
        Value::Gauge(_) => (number_point(series, 0, time), varint_tag(8)),
        Value::Histogram(histogram) => match histogram.summary() {
            Some(summary) => {
                let mut point = number_point(series, start, time);
                // Receivers for Prometheus end the series that they find in it.
                summary.quantiles().values().iter().for_each(|quantile| put_quantile(&mut point, *quantile, 0.0));
                (point, varint_tag(8))
            }
            None => {
                let attributes = if histogram.native().is_some() { length_tag(1) } else { length_tag(9) };
                (times_and_labels(series, attributes, start, time), varint_tag(10))
            }
        },
    };
    put_integer(&mut point, flags, NO_RECORDED_VALUE);
    point
}

fn number_point(series: &Series, start: u64, time: u64) -> Vec<u8> {
    times_and_labels(series, length_tag(7), start, time)
}

fn times_and_labels(series: &Series, attributes: u8, start: u64, time: u64) -> Vec<u8> {
    let mut point = Vec::with_capacity(128);
    for (name, value) in series.labels.iter() {
        otlp::put_attribute(&mut point, attributes, name, value);
    }
    if start > 0 {
        put_fixed64(&mut point, START_TIME, start);
    }
    put_fixed64(&mut point, TIME, time);
    point
}

fn histogram_point(series: &Series, histogram: &Histogram, cumulative: &[u64], start: u64, time: u64) -> Vec<u8> {
    let mut point = times_and_labels(series, length_tag(9), start, time);
    put_fixed64(&mut point, fixed64_tag(4), cumulative.last().copied().unwrap_or_default());
    put_fixed64(&mut point, fixed64_tag(5), histogram.sum().to_bits());
    let mut packed = Vec::with_capacity(8 * cumulative.len());
    let mut below = 0;
    for count in cumulative {
        packed.extend_from_slice(&count.saturating_sub(below).to_le_bytes());
        below = *count;
    }
    put_bytes(&mut point, length_tag(6), &packed);
    packed.clear();
    histogram.bounds().values().iter().for_each(|bound| packed.extend_from_slice(&bound.to_le_bytes()));
    put_bytes(&mut point, length_tag(7), &packed);
    put_exemplars(&mut point, length_tag(8), histogram, cumulative.len());
    point
}

fn exponential_point(series: &Series, histogram: &Histogram, native: &Native, start: u64, time: u64) -> Vec<u8> {
    let state = native.read();
    let mut point = times_and_labels(series, length_tag(1), start, time);
    put_fixed64(&mut point, fixed64_tag(4), state.count());
    put_fixed64(&mut point, fixed64_tag(5), state.sum.to_bits());
    put_integer(&mut point, varint_tag(6), zigzag(state.schema.into()));
    put_fixed64(&mut point, fixed64_tag(7), state.zero);
    put_buckets(&mut point, length_tag(8), &state.positive);
    put_buckets(&mut point, length_tag(9), &state.negative);
    put_exemplars(&mut point, length_tag(11), histogram, histogram.bounds().values().len() + 1);
    put_fixed64(&mut point, fixed64_tag(14), ZERO_THRESHOLD.to_bits());
    point
}

/// Appends to times and labels, which are where a number has them.
fn summary_point(mut point: Vec<u8>, histogram: &Histogram, summary: &Summary, count: u64) -> Vec<u8> {
    put_fixed64(&mut point, fixed64_tag(4), count);
    put_fixed64(&mut point, fixed64_tag(5), histogram.sum().to_bits());
    // A window without samples has no quantiles.
    let known = summary.quantiles().values().iter().zip(summary.read()).filter(|(_, value)| !value.is_nan());
    known.for_each(|(quantile, value)| put_quantile(&mut point, *quantile, value));
    point
}

fn put_quantile(point: &mut Vec<u8>, quantile: f64, value: f64) {
    let mut message = Vec::with_capacity(18);
    put_fixed64(&mut message, fixed64_tag(1), quantile.to_bits());
    put_fixed64(&mut message, fixed64_tag(2), value.to_bits());
    put_bytes(point, length_tag(6), &message);
}

/// OpenTelemetry's bucket i counts what is greater than base^i and at most base^(i+1): one less than Prometheus' index.
fn put_buckets(point: &mut Vec<u8>, tag: u8, buckets: &Buckets) {
    if buckets.counts.is_empty() {
        return;
    }
    let mut message = Vec::with_capacity(2 * buckets.counts.len() + 8);
    put_integer(&mut message, varint_tag(1), zigzag(i64::from(buckets.first) - 1));
    let mut packed = Vec::with_capacity(2 * buckets.counts.len());
    buckets.counts.iter().for_each(|count| put_varint(&mut packed, *count));
    put_bytes(&mut message, length_tag(2), &packed);
    put_bytes(point, tag, &message);
}

fn put_exemplars(point: &mut Vec<u8>, tag: u8, histogram: &Histogram, buckets: usize) {
    for exemplar in (0..buckets).filter_map(|bucket| histogram.unpushed_exemplar(bucket)) {
        let Exemplar { trace_id, span_id, value, timestamp } = exemplar;
        let mut message = Vec::with_capacity(64);
        put_fixed64(&mut message, fixed64_tag(2), timestamp.unsigned_abs().saturating_mul(MILLISECOND));
        put_fixed64(&mut message, fixed64_tag(3), value.to_bits());
        put_bytes(&mut message, length_tag(4), &span_id.to_bytes());
        put_bytes(&mut message, length_tag(5), &trace_id.to_bytes());
        put_bytes(point, tag, &message);
    }
}

impl Signal for Otlp {
    fn kind(&self) -> SignalKind {
        SignalKind::Metrics
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        let mut items: Vec<_> = batch.iter().collect();
        // The sort is stable: the points of a family stay in their order.
        items.sort_by_key(|item| item.stream);
        let mut metrics = Vec::new();
        for group in items.chunk_by(|one, other| one.stream == other.stream) {
            if let Some(frame) = group.first().and_then(|item| self.frames.get(item.stream as usize)) {
                frame.put(&mut metrics, group.iter().map(|item| item.payload));
            }
        }
        self.put_request(body, &metrics);
    }

    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
        halve(body)
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        otlp::classify(reply)
    }

    fn collect_interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn collect(&mut self, queue: &Queue, last: bool) {
        self.collect_at(queue, unix_nanos(), last);
    }
}

/// A request in two, each with the number of its data points; nothing if it has but one.
fn halve(body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
    let resource_metrics = bytes_of(body, 1).next()?;
    let resource = tagged(resource_metrics, 1);
    let scope_metrics = bytes_of(resource_metrics, 2).next()?;
    let scope = tagged(scope_metrics, 1);
    let metrics: Vec<(Frame, Vec<Vec<u8>>)> = bytes_of(scope_metrics, 2).filter_map(opened).collect();
    let all: usize = metrics.iter().map(|(_, points)| points.len()).sum();
    if all < 2 {
        return None;
    }
    let middle = all / 2;
    let half = |take: &dyn Fn(usize) -> bool| {
        let mut place = 0;
        let mut kept = 0;
        let mut encoded = Vec::new();
        for (frame, points) in &metrics {
            let chosen: Vec<&[u8]> = points
                .iter()
                .filter(|_| {
                    place += 1;
                    take(place - 1)
                })
                .map(Vec::as_slice)
                .collect();
            kept += chosen.len();
            if !chosen.is_empty() {
                frame.put(&mut encoded, chosen.iter().copied());
            }
        }
        let mut request = Vec::new();
        put_request(&mut request, &resource, &scope, &encoded);
        (request, kept)
    };
    Some([half(&|place| place < middle), half(&|place| place >= middle)])
}

/// The length-delimited fields of this number.
fn bytes_of(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |field| match field {
        Field::Bytes(known, bytes) if known == number => Some(bytes),
        _ => None,
    })
}

/// The first field of this number, with its tag; empty if there is none.
fn tagged(message: &[u8], number: u32) -> Vec<u8> {
    let mut field = Vec::new();
    if let Some(bytes) = bytes_of(message, number).next() {
        put_bytes(&mut field, length_tag(number), bytes);
    }
    field
}

/// A `Metric` as its frame and its points, each with its tag.
fn opened(metric: &[u8]) -> Option<(Frame, Vec<Vec<u8>>)> {
    let mut frame = Frame::default();
    let mut points = Vec::new();
    for field in Fields(metric) {
        let Field::Bytes(number, bytes) = field else { continue };
        match number {
            1..=3 => put_bytes(&mut frame.head, length_tag(number), bytes),
            5 | 7 | 9..=11 => {
                frame.data = length_tag(number);
                for part in Fields(bytes) {
                    match part {
                        Field::Bytes(1, point) => {
                            let mut tagged = Vec::new();
                            put_bytes(&mut tagged, DATA_POINTS, point);
                            points.push(tagged);
                        }
                        Field::Varint(number, value) => put_integer(&mut frame.rest, varint_tag(number), value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (frame.data != 0).then_some((frame, points))
}
