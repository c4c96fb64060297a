//! Collect for remote write: once an interval every series becomes an item of the pipeline. Worker thread.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use lgtm_core::pipeline::{Batch, Queue, Reply, Signal, Verdict};
use lgtm_core::protobuf::{count, halve};
use lgtm_core::{Identity, SignalKind, unix_nanos};

use crate::collect::{Collected, Reading, collect};
use crate::encoded_labels::EncodedLabels;
use crate::exemplar::Exemplar;
use crate::expiry::Expired;
use crate::families::{Kind, Series};
use crate::naming::Labels;
use crate::native::Native;
use crate::registry::Registry;
use crate::remote_write::{
    self, IdentityLabels, Points, Sample, SeriesName, Snappy, native_message, put_labels, put_metadata, put_request,
    put_series, target_info_labels,
};
use crate::remote_write2;
use crate::value::Value;

/// How often type, help and unit are sent.
const METADATA_INTERVAL: Duration = Duration::from_secs(60);
/// How far ahead of the backend's clock a sample may be, in milliseconds: Prometheus' bound, and the default of Mimir's
/// `creation_grace_period`. Samples that were further ahead were not taken.
pub(crate) const FUTURE: i64 = 10 * 60 * 1000;
/// The NaN that means "no more samples": Prometheus Remote-Write 1.0, "Stale markers".
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// The NaN that is only a value (`NormalNaN` in Prometheus).
pub(crate) const NOT_A_NUMBER: u64 = 0x7ff8_0000_0000_0001;
/// The metric that carries the resource's attributes.
const TARGET_INFO: &str = "target_info";

/// The version of Prometheus' remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteWrite {
    /// 1.0, which every receiver takes. The default.
    #[default]
    One,
    /// 2.0: smaller requests, with type, help and unit beside every series. Mimir, Cortex and Prometheus from 3.0 take it. To a
    /// receiver that does not, 1.0 is sent from then on, which is told on standard error.
    Two,
}

/// How metrics are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) interval: Duration,
    pub(crate) version: RemoteWrite,
    pub(crate) lanes: u32,
}

/// The signal of metrics.
pub(crate) struct Push {
    registry: Arc<Registry>,
    lanes: u32,
    /// What the receiver understands, as far as is known.
    version: Cell<RemoteWrite>,
    /// What the last request of version 2 had.
    points: remote_write2::Points,
    interval: Duration,
    identity: IdentityLabels,
    target_info: Labels,
    /// Milliseconds since the Unix epoch of the last collection; at first, of the start.
    collected_at: i64,
    metadata_sent: Option<Instant>,
    /// The encoded labels of each family's series.
    labels: HashMap<Arc<str>, EncodedLabels>,
    request: Vec<u8>,
    snappy: Snappy,
}

/// One collection.
struct Round<'a> {
    queue: &'a Queue,
    identity: &'a IdentityLabels,
    timestamp: i64,
    /// When a series that is new was still zero.
    before: i64,
    /// Type, help and unit of the present family, until an item has taken them along.
    metadata: Vec<u8>,
    /// Version 2 has them beside every series.
    keep_metadata: bool,
    lane: u32,
}

impl Push {
    pub(crate) fn new(registry: Arc<Registry>, sending: Sending, identity: &Identity) -> Self {
        Self {
            registry,
            interval: sending.interval,
            lanes: sending.lanes,
            version: Cell::new(sending.version),
            points: remote_write2::Points::default(),
            identity: IdentityLabels::new(identity),
            target_info: target_info_labels(identity),
            collected_at: milliseconds(unix_nanos()),
            metadata_sent: None,
            labels: HashMap::new(),
            request: Vec::new(),
            snappy: Snappy::new(),
        }
    }

    fn encode_as(&mut self, version: RemoteWrite, batch: &Batch, body: &mut Vec<u8>) {
        self.request.clear();
        match version {
            RemoteWrite::One => put_request(batch, &mut self.request),
            RemoteWrite::Two => self.points = remote_write2::put_request(batch, &mut self.request),
        }
        self.snappy.compress(&self.request, body);
    }

    /// Notes that the wall clock was far ahead and has been set right, if it has.
    fn forget_future(&mut self, now: i64) {
        if self.collected_at.saturating_sub(now) > FUTURE {
            self.collected_at = now.saturating_sub(3);
        }
    }

    fn collect_at(&mut self, queue: &Queue, now: i64, last: bool) {
        self.forget_future(now);
        // Two samples of a series never share a timestamp, and none goes back, whatever the clock does, unless those before were of
        // a future that no backend takes; between two collections there is room for the marker of a series that has expired, and
        // for the zero of one that begins again.
        let timestamp = now.max(self.collected_at + 3);
        let keep_metadata = self.version.get() == RemoteWrite::Two;
        let mut round = Round {
            queue,
            identity: &self.identity,
            timestamp,
            before: self.collected_at + 2,
            metadata: Vec::new(),
            keep_metadata,
            lane: 0,
        };
        self.registry.renew(Instant::now());
        for Expired { family, series } in self.registry.take_expired() {
            if series.is_pushed.load(Ordering::Relaxed) {
                round.lane = series.number % self.lanes;
                round.at(self.collected_at + 1).stale(&family.name, &series);
            }
        }
        let with_metadata = keep_metadata || self.metadata_sent.is_none_or(|sent| sent.elapsed() >= METADATA_INTERVAL);
        let mut counts = Vec::new();
        let families = collect(self.registry.families());
        // A family whose last series has expired is not among them.
        if self.labels.len() > families.len() {
            self.labels.retain(|name, _| families.binary_search_by(|family| family.name.cmp(name)).is_ok());
        }
        // The items of a lane stand one after the other.
        for lane in 0..self.lanes {
            round.lane = lane;
            for family in &families {
                round.begin(family, with_metadata);
                let encoded = self.labels.entry(Arc::clone(&family.name)).or_default();
                encoded.renew(family, &self.identity);
                let mut labels = encoded.of_series();
                for series in &family.listing.series {
                    let labels = labels.next_series(series);
                    if series.number % self.lanes != lane {
                        continue;
                    }
                    let known = series.is_pushed.load(Ordering::Relaxed);
                    if round.series(family, series, labels, known, &mut counts) {
                        series.is_pushed.store(true, Ordering::Relaxed);
                    }
                    if last {
                        round.at(timestamp + 1).stale(&family.name, series);
                    }
                }
            }
        }
        round.lane = self.lanes - 1;
        if !families.iter().any(|family| &*family.name == TARGET_INFO) {
            round.target_info(&self.target_info, with_metadata);
            if last {
                round.at(timestamp + 1).stale_one(SeriesName {
                    name: TARGET_INFO,
                    labels: &self.target_info,
                    part: None,
                });
            }
        }
        // The markers of the end are a millisecond later.
        self.collected_at = timestamp + i64::from(last);
        if with_metadata {
            self.metadata_sent = Some(Instant::now());
        }
    }
}

impl Round<'_> {
    fn begin(&mut self, family: &Collected, with_metadata: bool) {
        self.metadata.clear();
        if with_metadata {
            put_metadata(&mut self.metadata, family);
        }
    }

    /// Admits the time series of one label set; whether any was taken. None of it gets a second zero then: the backend would
    /// refuse it beside a sample of the same time.
    fn series<'l>(
        &mut self,
        family: &Collected,
        series: &Series,
        mut labels: impl Iterator<Item = &'l [u8]>,
        known: bool,
        counts: &mut Vec<u64>,
    ) -> bool {
        let mut next = || labels.next().unwrap_or_default();
        match series.read(counts) {
            Reading::Counter(value) => self.grown(next(), value as f64, known, None),
            Reading::FloatCounter(value) => self.grown(next(), value, known, None),
            Reading::Gauge(value) => self.set(next(), value),
            Reading::Summary(histogram, summary) => {
                let mut any = false;
                for value in summary.read() {
                    any |= self.set(next(), value);
                }
                any |= self.grown(next(), histogram.sum(), known, None);
                any | self.grown(next(), counts.last().copied().unwrap_or_default() as f64, known, None)
            }
            Reading::Histogram(histogram) => {
                let mut any = false;
                for (bucket, count) in counts.iter().enumerate() {
                    any |= self.grown(next(), *count as f64, known, histogram.unpushed_exemplar(bucket));
                }
                let count = counts.last().copied().unwrap_or_default();
                any |= self.grown(next(), histogram.sum(), known, None);
                any |= self.grown(next(), count as f64, known, None);
                let name = SeriesName { name: &family.name, labels: &series.labels, part: None };
                any | histogram.native().is_some_and(|native| self.native(name, native, known))
            }
        }
    }

    /// Admits a value that was not zero before.
    fn set(&mut self, labels: &[u8], value: f64) -> bool {
        // A program's NaN must not be the one that ends a series.
        let value = if value.is_nan() { f64::from_bits(NOT_A_NUMBER) } else { value };
        self.admit(labels, Points::Samples(&[Sample { value, timestamp: self.timestamp }]), None)
    }

    /// Admits the native form of a histogram; it too has grown from zero.
    fn native(&mut self, name: SeriesName<'_>, native: &Native, known: bool) -> bool {
        let state = native.read();
        let now = native_message(&state, self.timestamp);
        if known || state.count() == 0 {
            self.admit_named(name, Points::Histograms(&[now]))
        } else {
            let zero = native_message(&Native::new(0).read(), self.before);
            self.admit_named(name, Points::Histograms(&[zero, now]))
        }
    }

    /// At another moment, with nothing else to say: markers never share the time of a sample.
    fn at(&self, timestamp: i64) -> Self {
        Self { timestamp, metadata: if self.keep_metadata { self.metadata.clone() } else { Vec::new() }, ..*self }
    }

    /// Says of every time series of one label set that it is over: queries find it no longer, instead of for five minutes.
    fn stale(&mut self, family: &str, series: &Series) {
        let name = SeriesName { name: family, labels: &series.labels, part: None };
        if let Value::Histogram(histogram) = &series.value {
            if let Some(summary) = histogram.summary() {
                for quantile in summary.quantiles().texts() {
                    self.stale_one(SeriesName { part: Some(("quantile", quantile)), ..name });
                }
            } else {
                let bucket_name = format!("{family}_bucket");
                for le in histogram.bounds().le() {
                    self.stale_one(SeriesName { name: &bucket_name, part: Some(("le", le)), ..name });
                }
            }
            for suffix in ["_sum", "_count"] {
                self.stale_one(SeriesName { name: &format!("{family}{suffix}"), ..name });
            }
            if histogram.native().is_some() {
                // The marker of a native histogram is its sum.
                let mut over = Native::new(0).read();
                over.sum = f64::from_bits(STALE);
                let marker = native_message(&over, self.timestamp);
                self.admit_named(name, Points::Histograms(&[marker]));
            }
        } else {
            self.stale_one(name);
        }
    }

    fn stale_one(&mut self, name: SeriesName<'_>) {
        let marker = Sample { value: f64::from_bits(STALE), timestamp: self.timestamp };
        self.admit_named(name, Points::Samples(&[marker]));
    }

    /// Admits a value that has grown from zero. `rate()` sees the growth only if the zero is there too.
    fn grown(&mut self, labels: &[u8], value: f64, known: bool, exemplar: Option<Exemplar>) -> bool {
        let now = Sample { value, timestamp: self.timestamp };
        if known || value == 0.0 {
            self.admit(labels, Points::Samples(&[now]), exemplar)
        } else {
            self.admit(labels, Points::Samples(&[Sample { value: 0.0, timestamp: self.before }, now]), exemplar)
        }
    }

    fn admit_named(&mut self, name: SeriesName<'_>, points: Points<'_>) -> bool {
        let mut labels = Vec::with_capacity(256);
        put_labels(&mut labels, self.identity, name);
        self.admit(&labels, points, None)
    }

    /// Admits a series with these encoded labels.
    fn admit(&mut self, labels: &[u8], points: Points<'_>, exemplar: Option<Exemplar>) -> bool {
        let nanoseconds = self.timestamp.unsigned_abs().saturating_mul(1_000_000);
        let admitted = self.queue.admit(self.lane, nanoseconds, |buffer| {
            put_series(buffer, labels, points, exemplar);
            buffer.extend_from_slice(&self.metadata);
        });
        if admitted && !self.keep_metadata {
            self.metadata.clear();
        }
        admitted
    }

    fn target_info(&mut self, labels: &Labels, with_metadata: bool) {
        let family = Collected {
            name: TARGET_INFO.into(),
            kind: Kind::Gauge,
            unit: None,
            help: "The attributes of the resource that sends these metrics".to_owned(),
            listing: Arc::default(),
        };
        self.begin(&family, with_metadata);
        let name = SeriesName { name: TARGET_INFO, labels, part: None };
        self.admit_named(name, Points::Samples(&[Sample { value: 1.0, timestamp: self.timestamp }]));
    }
}

impl Signal for Push {
    fn kind(&self) -> SignalKind {
        SignalKind::Metrics
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        self.encode_as(self.version.get(), batch, body);
    }

    /// As version 1, which every receiver takes.
    fn encode_to_store(&mut self, batch: &Batch, body: &mut Vec<u8>) -> Vec<(HeaderName, HeaderValue)> {
        self.encode_as(RemoteWrite::One, batch, body);
        remote_write::headers()
    }

    fn can_be_stored(&self, headers: &[(HeaderName, HeaderValue)]) -> bool {
        headers == remote_write::headers()
    }

    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
        let request = snap::raw::Decoder::new().decompress_vec(body).ok()?;
        // The series of version 1, or those of version 2: no request has both.
        let path = [&[1_u32], &[5]].into_iter().find(|path| count(&request, *path) > 0)?;
        let (one, other) = halve(&request, path)?;
        Some([one, other].map(|half| {
            let mut body = Vec::new();
            self.snappy.compress(&half, &mut body);
            (body, count(&half, path))
        }))
    }

    fn lanes(&self) -> u32 {
        self.lanes
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self.version.get() {
            RemoteWrite::One => remote_write::headers(),
            RemoteWrite::Two => remote_write2::headers(),
        }
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        remote_write::classify(reply)
    }

    fn classify_answer_to(&self, sent: &[(HeaderName, HeaderValue)], reply: &Reply) -> Verdict {
        // Requests of other lanes may have been under way when it turned out that the receiver does not take them.
        if sent == remote_write2::headers()
            && let Reply::Http { status: status @ (200..=299 | 415), headers, .. } = reply
        {
            match remote_write2::Points::written(headers) {
                // A receiver of version 1 finds nothing in such a request, and says that it is fine.
                None => {
                    let is_new = self.version.replace(RemoteWrite::One) == RemoteWrite::Two;
                    let message = format!("it does not take remote write 2 ({status}): 1 is sent from now on");
                    return Verdict::Reencode { message: if is_new { message } else { String::new() } };
                }
                // With several lanes the last request's points are not those of this answer.
                Some(written) if self.lanes == 1 && self.points.lost(written) > 0 => {
                    let lost = self.points.lost(written);
                    return Verdict::Delivered { rejected: lost, message: format!("{lost} samples were not written") };
                }
                Some(_) => {}
            }
        }
        self.classify(reply)
    }

    fn collect_interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn collect(&mut self, queue: &Queue, last: bool) {
        self.collect_at(queue, milliseconds(unix_nanos()), last);
    }
}

fn milliseconds(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}
