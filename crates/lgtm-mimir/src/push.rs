//! Collect for remote write: once an interval every series becomes an item of the pipeline. Worker thread.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Batch, Queue, Reply, Signal, Verdict};
use lgtm_core::{Identity, SignalKind, unix_nanos};

use crate::collect::{Collected, Reading, collect};
use crate::exemplar::Exemplar;
use crate::expiry::Expired;
use crate::families::{Kind, Series, Value};
use crate::naming::Labels;
use crate::native::Native;
use crate::registry::Registry;
use crate::remote_write::{
    self, IdentityLabels, Points, Sample, SeriesName, native_message, put_metadata, put_request, put_series,
    target_info_labels,
};

/// How often type, help and unit are sent.
const METADATA_INTERVAL: Duration = Duration::from_secs(60);
/// The NaN that means "no more samples": Prometheus Remote-Write 1.0, "Stale markers".
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// The metric that carries the resource's attributes.
const TARGET_INFO: &str = "target_info";

/// The signal of metrics.
pub(crate) struct Push {
    registry: Arc<Registry>,
    interval: Duration,
    identity: IdentityLabels,
    target_info: Labels,
    /// Milliseconds since the Unix epoch of the last collection; at first, of the start.
    collected_at: i64,
    metadata_sent: Option<Instant>,
    /// The numbers of the series that were collected before.
    known: HashSet<u32>,
    request: Vec<u8>,
    snappy: snap::raw::Encoder,
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
}

impl Push {
    pub(crate) fn new(registry: Arc<Registry>, interval: Duration, identity: &Identity) -> Self {
        Self {
            registry,
            interval,
            identity: IdentityLabels::new(identity),
            target_info: target_info_labels(identity),
            collected_at: milliseconds(unix_nanos()),
            metadata_sent: None,
            known: HashSet::new(),
            request: Vec::new(),
            snappy: snap::raw::Encoder::new(),
        }
    }

    fn collect_at(&mut self, queue: &Queue, now: i64, last: bool) {
        // Two samples of a series never share a timestamp, and none goes back, whatever the clock does; between two collections
        // there is room for the marker of a series that has expired, and for the zero of one that begins again.
        let timestamp = now.max(self.collected_at + 3);
        let mut round =
            Round { queue, identity: &self.identity, timestamp, before: self.collected_at + 2, metadata: Vec::new() };
        self.registry.expire(Instant::now());
        for Expired { family, series } in self.registry.take_expired() {
            if self.known.remove(&series.number) {
                round.at(self.collected_at + 1).stale(&family.name, &series);
            }
        }
        let with_metadata = self.metadata_sent.is_none_or(|sent| sent.elapsed() >= METADATA_INTERVAL);
        let mut counts = Vec::new();
        let mut has_target_info = false;
        for family in collect(self.registry.families()) {
            has_target_info |= &*family.name == TARGET_INFO;
            round.begin(&family, with_metadata);
            for series in &family.series {
                let known = self.known.contains(&series.number);
                if round.series(&family, series, known, &mut counts) {
                    self.known.insert(series.number);
                }
                if last {
                    round.at(timestamp + 1).stale(&family.name, series);
                }
            }
        }
        if !has_target_info {
            round.target_info(&self.target_info, with_metadata);
            if last {
                round.at(timestamp + 1).stale_one(SeriesName {
                    name: TARGET_INFO,
                    labels: &self.target_info,
                    le: None,
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
    fn series(&mut self, family: &Collected, series: &Series, known: bool, counts: &mut Vec<u64>) -> bool {
        let name = SeriesName { name: &family.name, labels: &series.labels, le: None };
        match series.read(counts) {
            Reading::Counter(value) => self.grown(name, value as f64, known, None),
            Reading::Gauge(value) => {
                self.admit(name, Points::Samples(&[Sample { value, timestamp: self.timestamp }]), None)
            }
            Reading::Histogram(histogram) => {
                let bucket_name = format!("{}_bucket", family.name);
                let mut any = false;
                for (bucket, (le, count)) in histogram.bounds().le().zip(&*counts).enumerate() {
                    let name = SeriesName { name: &bucket_name, le: Some(le), ..name };
                    any |= self.grown(name, *count as f64, known, histogram.unpushed_exemplar(bucket));
                }
                let count = counts.last().copied().unwrap_or_default();
                any |= self.grown(
                    SeriesName { name: &format!("{}_sum", family.name), ..name },
                    histogram.sum(),
                    known,
                    None,
                );
                any |= self.grown(
                    SeriesName { name: &format!("{}_count", family.name), ..name },
                    count as f64,
                    known,
                    None,
                );
                any | histogram.native().is_some_and(|native| self.native(name, native, known))
            }
        }
    }

    /// Admits the native form of a histogram; it too has grown from zero.
    fn native(&mut self, name: SeriesName<'_>, native: &Native, known: bool) -> bool {
        let state = native.read();
        let now = native_message(&state, self.timestamp);
        if known || state.count() == 0 {
            self.admit(name, Points::Histograms(&[now]), None)
        } else {
            let zero = native_message(&Native::new(0).read(), self.before);
            self.admit(name, Points::Histograms(&[zero, now]), None)
        }
    }

    /// At another moment, with nothing else to say: markers never share the time of a sample.
    fn at(&self, timestamp: i64) -> Self {
        Self { timestamp, metadata: Vec::new(), ..*self }
    }

    /// Says of every time series of one label set that it is over: queries find it no longer, instead of for five minutes.
    fn stale(&mut self, family: &str, series: &Series) {
        let name = SeriesName { name: family, labels: &series.labels, le: None };
        if let Value::Histogram(histogram) = &series.value {
            let bucket_name = format!("{family}_bucket");
            for le in histogram.bounds().le() {
                self.stale_one(SeriesName { name: &bucket_name, le: Some(le), ..name });
            }
            for suffix in ["_sum", "_count"] {
                self.stale_one(SeriesName { name: &format!("{family}{suffix}"), ..name });
            }
            if histogram.native().is_some() {
                // The marker of a native histogram is its sum.
                let mut over = Native::new(0).read();
                over.sum = f64::from_bits(STALE);
                let marker = native_message(&over, self.timestamp);
                self.admit(name, Points::Histograms(&[marker]), None);
            }
        } else {
            self.stale_one(name);
        }
    }

    fn stale_one(&mut self, name: SeriesName<'_>) {
        let marker = Sample { value: f64::from_bits(STALE), timestamp: self.timestamp };
        self.admit(name, Points::Samples(&[marker]), None);
    }

    /// Admits a value that has grown from zero. `rate()` sees the growth only if the zero is there too.
    fn grown(&mut self, name: SeriesName<'_>, value: f64, known: bool, exemplar: Option<Exemplar>) -> bool {
        let now = Sample { value, timestamp: self.timestamp };
        if known || value == 0.0 {
            self.admit(name, Points::Samples(&[now]), exemplar)
        } else {
            self.admit(name, Points::Samples(&[Sample { value: 0.0, timestamp: self.before }, now]), exemplar)
        }
    }

    fn admit(&mut self, name: SeriesName<'_>, points: Points<'_>, exemplar: Option<Exemplar>) -> bool {
        let nanoseconds = self.timestamp.unsigned_abs().saturating_mul(1_000_000);
        let admitted = self.queue.admit(0, nanoseconds, |buffer| {
            put_series(buffer, self.identity, name, points, exemplar);
            buffer.extend_from_slice(&self.metadata);
        });
        if admitted {
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
            series: Vec::new(),
        };
        self.begin(&family, with_metadata);
        let name = SeriesName { name: TARGET_INFO, labels, le: None };
        self.admit(name, Points::Samples(&[Sample { value: 1.0, timestamp: self.timestamp }]), None);
    }
}

impl Signal for Push {
    fn kind(&self) -> SignalKind {
        SignalKind::Metrics
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        put_request(batch, &mut self.snappy, &mut self.request, body);
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        remote_write::classify(reply)
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
