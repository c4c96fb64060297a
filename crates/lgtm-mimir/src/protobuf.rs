//! Encode: the answer to a scrape in Prometheus' protobuf format, the only one that has native histograms. Worker thread, or the caller
//! of `render_protobuf`.
//! Sources: Prometheus, "Exposition formats" and `io/prometheus/client/metrics.proto`; "Native Histograms".
//!
//! A histogram that is also a native one has both forms in one message; its exemplars are at the classic buckets, where every version of
//! Prometheus finds them.

use lgtm_core::protobuf::{
    field_length, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, put_varint, varint_tag,
};

use crate::collect::{Collected, Reading, exemplar_labels};
use crate::exemplar::Exemplar;
use crate::families::{Kind, Series};
use crate::histogram::Histogram;
use crate::native::{State, ZERO_THRESHOLD};
use crate::push::NOT_A_NUMBER;
use crate::remote_write::{put_buckets, put_label, zigzag};
use crate::summary::Summary;

/// The value of `Content-Type`.
pub(crate) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const NAME: u8 = length_tag(1);
const HELP: u8 = length_tag(2);
const TYPE: u8 = varint_tag(3);
const METRIC: u8 = length_tag(4);
const UNIT: u8 = length_tag(5);

/// Of a metric, and of an exemplar.
pub(crate) const LABEL: u8 = length_tag(1);
const GAUGE: u8 = length_tag(2);
const COUNTER: u8 = length_tag(3);
const SUMMARY: u8 = length_tag(4);
const HISTOGRAM: u8 = length_tag(7);

/// Of a gauge, and of a counter.
const VALUE: u8 = fixed64_tag(1);
const COUNTER_CREATED: u8 = length_tag(3);

/// Of a summary, and of a histogram.
const SAMPLE_COUNT: u8 = varint_tag(1);
const SAMPLE_SUM: u8 = fixed64_tag(2);
const QUANTILE: u8 = length_tag(3);
const SUMMARY_CREATED: u8 = length_tag(4);
const QUANTILE_QUANTILE: u8 = fixed64_tag(1);
const QUANTILE_VALUE: u8 = fixed64_tag(2);

const BUCKET: u8 = length_tag(3);
const BUCKET_COUNT: u8 = varint_tag(1);
const BUCKET_BOUND: u8 = fixed64_tag(2);
const BUCKET_EXEMPLAR: u8 = length_tag(3);
const SCHEMA: u8 = varint_tag(5);
const THRESHOLD: u8 = fixed64_tag(6);
const ZERO_COUNT: u8 = varint_tag(7);
/// The counts are the field behind it.
const NEGATIVE_SPANS: u8 = length_tag(9);
const POSITIVE_SPANS: u8 = length_tag(12);
const HISTOGRAM_CREATED: u8 = length_tag(15);

const EXEMPLAR_VALUE: u8 = fixed64_tag(2);
const EXEMPLAR_TIME: u8 = length_tag(3);
const SECONDS: u8 = varint_tag(1);
const NANOSECONDS: u8 = varint_tag(2);

/// The messages of these families, each behind its length; `capacity`: about how long they may be, in bytes.
pub(crate) fn render(families: &[Collected], capacity: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(capacity);
    let mut encoder = Encoder::default();
    for family in families {
        let message = encoder.family(family);
        put_varint(&mut all, message.len() as u64);
        all.extend_from_slice(message);
    }
    all
}

/// What is encoded at the moment, from the outside in. The buffers serve for all families.
#[derive(Default)]
struct Encoder {
    family: Vec<u8>,
    value: Vec<u8>,
    part: Vec<u8>,
    counts: Vec<u64>,
}

impl Encoder {
    fn family(&mut self, family: &Collected) -> &[u8] {
        self.family.clear();
        put_bytes(&mut self.family, NAME, family.name.as_bytes());
        if !family.help.is_empty() {
            put_bytes(&mut self.family, HELP, family.help.as_bytes());
        }
        let kind = match family.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Summary => 2,
            Kind::Histogram => 4,
        };
        put_integer(&mut self.family, TYPE, kind);
        let name = match family.kind {
            Kind::Counter => family.name.strip_suffix("_total").unwrap_or(&family.name),
            _ => &family.name,
        };
        for (series, labels) in family.listing.with_label_pairs() {
            let tag = self.read(series);
            self.family.push(METRIC);
            put_varint(&mut self.family, (labels.len() + field_length(self.value.len())) as u64);
            self.family.extend_from_slice(labels);
            put_bytes(&mut self.family, tag, &self.value);
        }
        if let Some(unit) = family.unit_at_the_end_of(name) {
            put_bytes(&mut self.family, UNIT, unit.as_bytes());
        }
        &self.family
    }

    /// Encodes what a series says; the tag of it.
    fn read(&mut self, series: &Series) -> u8 {
        self.value.clear();
        // Read before the classic buckets, which count a sample first: they have all that it has.
        let native = series.native().map(|native| native.read());
        match series.read(&mut self.counts) {
            Reading::Counter(value) => {
                put_fixed64(&mut self.value, VALUE, (value as f64).to_bits());
                put_time(&mut self.value, COUNTER_CREATED, series.created());
                COUNTER
            }
            Reading::FloatCounter(value) => {
                put_fixed64(&mut self.value, VALUE, value.to_bits());
                put_time(&mut self.value, COUNTER_CREATED, series.created());
                COUNTER
            }
            Reading::Gauge(value) => {
                // A program's NaN must not be the one that ends a series.
                let bits = if value.is_nan() { NOT_A_NUMBER } else { value.to_bits() };
                put_fixed64(&mut self.value, VALUE, bits);
                GAUGE
            }
            Reading::Summary(histogram, summary) => {
                self.summary(histogram, summary);
                put_time(&mut self.value, SUMMARY_CREATED, series.created());
                SUMMARY
            }
            Reading::Histogram(histogram) => {
                self.histogram(histogram, native.as_ref());
                put_time(&mut self.value, HISTOGRAM_CREATED, series.created());
                HISTOGRAM
            }
        }
    }

    fn summary(&mut self, histogram: &Histogram, summary: &Summary) {
        put_integer(&mut self.value, SAMPLE_COUNT, self.counts.last().copied().unwrap_or_default());
        put_fixed64(&mut self.value, SAMPLE_SUM, histogram.sum().to_bits());
        for (quantile, value) in summary.quantiles().values().iter().zip(summary.read()) {
            let bits = if value.is_nan() { NOT_A_NUMBER } else { value.to_bits() };
            self.part.clear();
            put_fixed64(&mut self.part, QUANTILE_QUANTILE, quantile.to_bits());
            put_fixed64(&mut self.part, QUANTILE_VALUE, bits);
            put_bytes(&mut self.value, QUANTILE, &self.part);
        }
    }

    fn histogram(&mut self, histogram: &Histogram, native: Option<&State>) {
        let classic = self.counts.last().copied().unwrap_or_default();
        // The two forms are one message: the classic buckets have no sample that the native ones have not.
        let (count, sum) = native.map_or_else(|| (classic, histogram.sum()), |native| (native.count(), native.sum));
        put_integer(&mut self.value, SAMPLE_COUNT, count);
        put_fixed64(&mut self.value, SAMPLE_SUM, sum.to_bits());
        let bounds = histogram.bounds().values().iter().copied().chain([f64::INFINITY]);
        for (bucket, (bound, below)) in bounds.zip(&self.counts).enumerate() {
            self.part.clear();
            put_integer(&mut self.part, BUCKET_COUNT, (*below).min(count));
            put_fixed64(&mut self.part, BUCKET_BOUND, bound.to_bits());
            if let Some(exemplar) = histogram.newest_exemplar(bucket) {
                put_bytes(&mut self.part, BUCKET_EXEMPLAR, &exemplar_message(&exemplar));
            }
            put_bytes(&mut self.value, BUCKET, &self.part);
        }
        if let Some(native) = native {
            put_integer(&mut self.value, SCHEMA, zigzag(native.schema.into()));
            put_fixed64(&mut self.value, THRESHOLD, ZERO_THRESHOLD.to_bits());
            put_integer(&mut self.value, ZERO_COUNT, native.zero);
            put_buckets(&mut self.value, NEGATIVE_SPANS, &native.negative);
            put_buckets(&mut self.value, POSITIVE_SPANS, &native.positive);
        }
    }
}

fn exemplar_message(exemplar: &Exemplar) -> Vec<u8> {
    let mut message = Vec::with_capacity(112);
    for (name, value) in exemplar_labels(exemplar) {
        put_label(&mut message, LABEL, name, &value);
    }
    put_fixed64(&mut message, EXEMPLAR_VALUE, exemplar.value.to_bits());
    put_time(&mut message, EXEMPLAR_TIME, exemplar.timestamp);
    message
}

/// Appends a `google.protobuf.Timestamp`, from milliseconds since the Unix epoch.
fn put_time(buffer: &mut Vec<u8>, tag: u8, milliseconds: i64) {
    let milliseconds = milliseconds.max(0).unsigned_abs();
    let mut message = Vec::with_capacity(12);
    put_integer(&mut message, SECONDS, milliseconds / 1000);
    put_integer(&mut message, NANOSECONDS, milliseconds % 1000 * 1_000_000);
    put_bytes(buffer, tag, &message);
}
