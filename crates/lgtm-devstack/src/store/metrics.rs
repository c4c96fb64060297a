//! Series with samples and exemplars; one queue over all of them tells the oldest arrival.

#[cfg(feature = "window")]
mod any_order;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::size::labels_size;
use super::{Labels, SignalCounts};
use crate::wire::prometheus::Histogram;
pub use crate::wire::prometheus::MetricType;

/// Estimated memory of one sample with its place in the arrival queue.
const SAMPLE_BYTES: u64 = 48;

/// The most metric families whose type and help are kept.
const MAX_FAMILIES: usize = 10_000;

/// The longest name, help or unit of a family, in bytes: Mimir's limit.
const MAX_METADATA_BYTES: usize = 1024;

/// One series.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// Labels, `__name__` among them.
    pub labels: Labels,
    /// Samples in time order.
    pub samples: Vec<Sample>,
    /// Exemplars in time order.
    pub exemplars: Vec<Exemplar>,
    /// Native histograms in time order.
    pub histograms: Vec<Histogram>,
}

impl Series {
    /// The metric name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("__name__").map(String::as_str).unwrap_or_default()
    }

    /// The newest sample that is not a stale marker.
    #[must_use]
    pub fn last_value(&self) -> Option<f64> {
        self.samples.iter().rev().find(|sample| !sample.is_stale_marker()).map(|sample| sample.value)
    }

    /// True if the newest sample is a stale marker.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.samples.last().is_some_and(Sample::is_stale_marker)
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Value.
    pub value: f64,
}

impl Sample {
    /// True for the NaN by which Prometheus marks the end of a series.
    #[must_use]
    pub fn is_stale_marker(&self) -> bool {
        self.value.to_bits() == 0x7ff0_0000_0000_0002
    }
}

/// One exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Labels, `trace_id` and `span_id` among them.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Exemplar {
    /// The label `trace_id`, or `traceID` as Tempo and older clients of Prometheus call it.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        labelled(&self.labels, ["trace_id", "traceID", "traceId"])
    }

    /// The label `span_id`, or `spanID`.
    #[must_use]
    pub fn span_id(&self) -> Option<&str> {
        labelled(&self.labels, ["span_id", "spanID", "spanId"])
    }

    fn size(&self) -> u64 {
        72 + labels_size(&self.labels) as u64
    }
}

fn labelled<'a>(labels: &'a Labels, names: [&str; 3]) -> Option<&'a str> {
    names.into_iter().find_map(|name| labels.get(name)).map(String::as_str)
}

/// What is known of a metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricMetadata {
    /// The type.
    pub metric_type: MetricType,
    /// Help text.
    pub help: String,
    /// Unit; empty if not told.
    pub unit: String,
}

/// Why a sample or an exemplar was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleError {
    /// Older than the newest of its series.
    OutOfOrder,
    /// Another value at the time of the newest of its series.
    DuplicateTimestamp,
}

#[derive(Default)]
struct SeriesData {
    id: u64,
    samples: VecDeque<Sample>,
    exemplars: VecDeque<Exemplar>,
    histograms: VecDeque<Histogram>,
}

/// A series as the store has it, without a copy.
#[cfg(feature = "window")]
pub(crate) struct SeriesInPlace<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) samples: &'a VecDeque<Sample>,
    pub(crate) exemplars: &'a VecDeque<Exemplar>,
    pub(crate) histograms: &'a VecDeque<Histogram>,
}

#[cfg(feature = "window")]
impl<'a> SeriesInPlace<'a> {
    /// The metric name.
    pub(crate) fn name(&self) -> &'a str {
        self.labels.get("__name__").map(String::as_str).unwrap_or_default()
    }

    /// The newest sample that is not a stale marker.
    pub(crate) fn newest_value(&self) -> Option<Sample> {
        self.samples.iter().rev().find(|sample| !sample.is_stale_marker()).copied()
    }

    /// True if the newest sample is a stale marker.
    pub(crate) fn is_ended(&self) -> bool {
        self.samples.back().is_some_and(Sample::is_stale_marker)
    }
}

enum Arrival {
    Sample(u64),
    Exemplar(u64),
    Histogram(u64),
}

pub(crate) struct MetricStore {
    limit_bytes: usize,
    series: HashMap<Arc<Labels>, SeriesData>,
    labels_by_id: HashMap<u64, Arc<Labels>>,
    next_id: u64,
    arrivals: VecDeque<Arrival>,
    metadata: BTreeMap<String, MetricMetadata>,
    samples: SignalCounts,
    exemplars: SignalCounts,
    histograms: SignalCounts,
    held_bytes: u64,
    /// Whether what is older than the newest of its series is taken, as an import wants it.
    #[cfg(feature = "window")]
    pub(super) any_order: bool,
}

impl MetricStore {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            series: HashMap::new(),
            labels_by_id: HashMap::new(),
            next_id: 0,
            arrivals: VecDeque::new(),
            metadata: BTreeMap::new(),
            samples: SignalCounts::default(),
            exemplars: SignalCounts::default(),
            histograms: SignalCounts::default(),
            held_bytes: 0,
            #[cfg(feature = "window")]
            any_order: false,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit_bytes);
    }

    pub(super) fn samples_counts(&self) -> SignalCounts {
        SignalCounts { held_bytes: self.held_bytes, ..self.samples }
    }

    pub(super) fn exemplars_counts(&self) -> SignalCounts {
        self.exemplars
    }

    pub(super) fn histograms_counts(&self) -> SignalCounts {
        self.histograms
    }

    pub(super) fn series_len(&self) -> u64 {
        self.series.len() as u64
    }

    pub(crate) fn metadata(&self) -> &BTreeMap<String, MetricMetadata> {
        &self.metadata
    }

    /// Remembers type and help of a family. Long help is cut, as Mimir cuts it; false if there are too many
    /// families or the name or unit is too long.
    #[must_use]
    pub(crate) fn describe(&mut self, family: String, mut metadata: MetricMetadata) -> bool {
        let fits = family.len() <= MAX_METADATA_BYTES
            && metadata.unit.len() <= MAX_METADATA_BYTES
            && (self.metadata.len() < MAX_FAMILIES || self.metadata.contains_key(&family));
        if fits {
            metadata.help.truncate(metadata.help.floor_char_boundary(MAX_METADATA_BYTES));
            self.metadata.insert(family, metadata);
        }
        fits
    }

    pub(super) fn series(&self) -> Vec<Series> {
        self.series_where(|_| true)
    }

    pub(crate) fn series_where(&self, mut wanted: impl FnMut(&Labels) -> bool) -> Vec<Series> {
        let mut found: Vec<Series> = self
            .series
            .iter()
            .filter(|(labels, _)| wanted(labels))
            .map(|(labels, data)| Series {
                labels: Labels::clone(labels),
                samples: data.samples.iter().copied().collect(),
                exemplars: data.exemplars.iter().cloned().collect(),
                histograms: data.histograms.iter().cloned().collect(),
            })
            .collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Shows each series in place, in no order.
    #[cfg(feature = "window")]
    pub(crate) fn for_each<'a>(&'a self, mut show: impl FnMut(SeriesInPlace<'a>)) {
        for (labels, data) in &self.series {
            let SeriesData { samples, exemplars, histograms, .. } = data;
            show(SeriesInPlace { labels, samples, exemplars, histograms });
        }
    }

    pub(crate) fn reject_samples(&mut self, number: u64) {
        self.samples.rejected += number;
    }

    pub(crate) fn reject_exemplars(&mut self, number: u64) {
        self.exemplars.rejected += number;
    }

    pub(crate) fn reject_histograms(&mut self, number: u64) {
        self.histograms.rejected += number;
    }

    /// Time of the newest sample or native histogram of a series, in milliseconds since 1970.
    pub(crate) fn newest_ms(&self, labels: &Labels) -> Option<i64> {
        let data = self.series.get(labels)?;
        let sample = data.samples.back().map(|sample| sample.timestamp_ms);
        sample.max(data.histograms.back().map(|histogram| histogram.timestamp))
    }

    /// Adds a native histogram; one equal to the newest is a repetition, ignored and counted.
    pub(crate) fn push_histogram(&mut self, labels: &Labels, histogram: Histogram) -> Result<(), SampleError> {
        if let Some(newest) = self.series.get(labels).and_then(|data| data.histograms.back()) {
            if histogram.timestamp < newest.timestamp {
                #[cfg(feature = "window")]
                if self.any_order {
                    return self.insert_histogram(labels, histogram);
                }
                self.histograms.rejected += 1;
                return Err(SampleError::OutOfOrder);
            }
            if histogram.timestamp == newest.timestamp {
                // A marker's sum is a NaN: it equals nothing.
                if prost::Message::encode_to_vec(&histogram) == prost::Message::encode_to_vec(newest) {
                    self.histograms.duplicates += 1;
                    return Ok(());
                }
                self.histograms.rejected += 1;
                return Err(SampleError::DuplicateTimestamp);
            }
        }
        let bytes = histogram_size(&histogram);
        let data = self.series_data(labels);
        let id = data.id;
        data.histograms.push_back(histogram);
        self.histograms.received += 1;
        self.histograms.held += 1;
        self.held_bytes += bytes;
        self.arrivals.push_back(Arrival::Histogram(id));
        self.evict();
        Ok(())
    }

    /// Adds a sample; one equal to the newest is a repetition, ignored and counted.
    pub(crate) fn push_sample(&mut self, labels: &Labels, sample: Sample) -> Result<(), SampleError> {
        if let Some(newest) = self.series.get(labels).and_then(|data| data.samples.back()) {
            if sample.timestamp_ms < newest.timestamp_ms {
                #[cfg(feature = "window")]
                if self.any_order {
                    return self.insert_sample(labels, sample);
                }
                self.samples.rejected += 1;
                return Err(SampleError::OutOfOrder);
            }
            if sample.timestamp_ms == newest.timestamp_ms {
                if sample.value.to_bits() == newest.value.to_bits() {
                    self.samples.duplicates += 1;
                    return Ok(());
                }
                self.samples.rejected += 1;
                return Err(SampleError::DuplicateTimestamp);
            }
        }
        let data = self.series_data(labels);
        let id = data.id;
        data.samples.push_back(sample);
        self.samples.received += 1;
        self.samples.held += 1;
        self.held_bytes += SAMPLE_BYTES;
        self.arrivals.push_back(Arrival::Sample(id));
        self.evict();
        Ok(())
    }

    pub(crate) fn newest_exemplar(&self, labels: &Labels) -> Option<&Exemplar> {
        self.series.get(labels)?.exemplars.back()
    }

    /// Adds an exemplar; one equal to the newest is a repetition, ignored and counted.
    pub(crate) fn push_exemplar(&mut self, labels: &Labels, exemplar: Exemplar) -> Result<(), SampleError> {
        if let Some(newest) = self.series.get(labels).and_then(|data| data.exemplars.back()) {
            if exemplar == *newest {
                self.exemplars.duplicates += 1;
                return Ok(());
            }
            #[cfg(feature = "window")]
            if self.any_order && exemplar.timestamp_ms <= newest.timestamp_ms {
                self.insert_exemplar(labels, exemplar);
                return Ok(());
            }
            if exemplar.timestamp_ms < newest.timestamp_ms {
                self.exemplars.rejected += 1;
                return Err(SampleError::OutOfOrder);
            }
        }
        let bytes = exemplar.size();
        let data = self.series_data(labels);
        let id = data.id;
        data.exemplars.push_back(exemplar);
        self.exemplars.received += 1;
        self.exemplars.held += 1;
        self.held_bytes += bytes;
        self.arrivals.push_back(Arrival::Exemplar(id));
        self.evict();
        Ok(())
    }

    fn series_data(&mut self, labels: &Labels) -> &mut SeriesData {
        let shared = match self.series.get_key_value(labels) {
            Some((shared, _)) => Arc::clone(shared),
            None => {
                self.next_id += 1;
                self.held_bytes += series_size(labels);
                let shared = Arc::new(labels.clone());
                self.labels_by_id.insert(self.next_id, Arc::clone(&shared));
                shared
            }
        };
        let id = self.next_id;
        self.series.entry(shared).or_insert_with(|| SeriesData { id, ..SeriesData::default() })
    }

    fn evict(&mut self) {
        while self.held_bytes > self.limit_bytes as u64 {
            let Some(oldest) = self.arrivals.pop_front() else {
                return;
            };
            let (Arrival::Sample(id) | Arrival::Exemplar(id) | Arrival::Histogram(id)) = oldest;
            let Some(labels) = self.labels_by_id.get(&id).cloned() else {
                continue;
            };
            let Some(data) = self.series.get_mut(&labels) else {
                continue;
            };
            match oldest {
                Arrival::Sample(_) => {
                    if data.samples.pop_front().is_some() {
                        self.samples.held -= 1;
                        self.samples.evicted += 1;
                        self.held_bytes -= SAMPLE_BYTES;
                    }
                }
                Arrival::Histogram(_) => {
                    if let Some(histogram) = data.histograms.pop_front() {
                        self.histograms.held -= 1;
                        self.histograms.evicted += 1;
                        self.held_bytes -= histogram_size(&histogram);
                    }
                }
                Arrival::Exemplar(_) => {
                    if let Some(exemplar) = data.exemplars.pop_front() {
                        self.exemplars.held -= 1;
                        self.exemplars.evicted += 1;
                        self.held_bytes -= exemplar.size();
                    }
                }
            }
            if data.samples.is_empty() && data.exemplars.is_empty() && data.histograms.is_empty() {
                self.series.remove(&labels);
                self.labels_by_id.remove(&id);
                self.held_bytes -= series_size(&labels);
            }
        }
    }
}

fn histogram_size(histogram: &Histogram) -> u64 {
    128 + prost::Message::encoded_len(histogram) as u64
}

fn series_size(labels: &Labels) -> u64 {
    // With its places in the tables of series.
    320 + labels_size(labels) as u64
}
