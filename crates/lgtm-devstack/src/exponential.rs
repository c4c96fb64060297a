//! OpenTelemetry's exponential histograms as sums of observations: read from their points, added up, made coarser, written as native histograms.
//! Pure; under the lock of the [store](crate::store) where they are added up.
//!
//! Source: OpenTelemetry, "Metrics Data Model", "ExponentialHistogram"; Prometheus, `prometheusremotewrite/histograms.go`.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

use crate::native_histogram::{MAX_SCHEMA, MIN_SCHEMA, bound, coarsened, written};
use crate::wire::prometheus::Histogram;

/// The zero threshold where none is told: Prometheus' own.
const ZERO_THRESHOLD: f64 = 1e-128;
/// The most buckets that a sum has, as long as it can be made coarser: twice what SDKs keep.
const MAX_BUCKETS: usize = 320;

/// Buckets by their numbers in Prometheus, which are greater by one than in OpenTelemetry; empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exponential {
    scale: i32,
    count: u64,
    sum: Option<f64>,
    zero_threshold: f64,
    zero_count: u64,
    positive: BTreeMap<i32, u64>,
    negative: BTreeMap<i32, u64>,
}

impl Exponential {
    /// Of a point. A finer scale than Prometheus has becomes its finest.
    ///
    /// # Errors
    /// If the scale is too coarse for Prometheus or a bucket has a number that no number has.
    pub(crate) fn of(point: &ExponentialHistogramDataPoint) -> Result<Self, String> {
        if point.scale < MIN_SCHEMA {
            return Err(format!(
                "cannot convert exponential to native histogram. Scale must be >= {MIN_SCHEMA}, was {}",
                point.scale
            ));
        }
        let mut histogram = Self {
            scale: point.scale,
            count: point.count,
            sum: point.sum,
            zero_threshold: point.zero_threshold,
            zero_count: point.zero_count,
            positive: numbered(point.positive.as_ref())?,
            negative: numbered(point.negative.as_ref())?,
        };
        histogram.coarsen(MAX_SCHEMA);
        Ok(histogram)
    }

    /// One of the same form that has seen nothing.
    pub(crate) fn zero(&self) -> Self {
        Self { scale: self.scale, zero_threshold: self.zero_threshold, sum: self.sum.map(|_| 0.0), ..Self::default() }
    }

    /// Adds what another has seen, at the coarser scale and the wider zero bucket of both.
    pub(crate) fn add(&mut self, mut other: Self) {
        let scale = self.scale.min(other.scale);
        self.coarsen(scale);
        other.coarsen(scale);
        let threshold = self.zero_threshold.max(other.zero_threshold);
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(sum, more)| sum + more);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        for (own, more) in [(&mut self.positive, other.positive), (&mut self.negative, other.negative)] {
            for (number, count) in more {
                let own = own.entry(number).or_default();
                *own = own.saturating_add(count);
            }
        }
        self.widen_zero(threshold);
        while self.buckets() > MAX_BUCKETS && self.scale > MIN_SCHEMA {
            self.coarsen(self.scale - 1);
        }
    }

    /// How many buckets are not empty.
    pub(crate) fn buckets(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn coarsen(&mut self, scale: i32) {
        let Some(times) = u32::try_from(self.scale - scale).ok().filter(|times| *times > 0) else { return };
        for buckets in [&mut self.positive, &mut self.negative] {
            let mut joined: BTreeMap<i32, u64> = BTreeMap::new();
            for (number, count) in std::mem::take(buckets) {
                let sum = joined.entry(coarsened(number, times)).or_default();
                *sum = sum.saturating_add(count);
            }
            *buckets = joined;
        }
        self.scale = scale;
    }

    /// Buckets that the wider zero bucket reaches into become part of it, whole.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        self.zero_threshold = threshold;
        for buckets in [&mut self.positive, &mut self.negative] {
            while let Some(first) = buckets.first_entry()
                && bound(first.key().saturating_sub(1), self.scale) < self.zero_threshold
            {
                let (number, count) = first.remove_entry();
                self.zero_threshold = self.zero_threshold.max(bound(number, self.scale));
                self.zero_count = self.zero_count.saturating_add(count);
            }
        }
    }

    /// As a native histogram of a time in milliseconds since 1970.
    pub(crate) fn native(&self, timestamp: i64) -> Histogram {
        let side = |buckets: &BTreeMap<i32, u64>| {
            let (spans, deltas, _) =
                written(false, buckets.iter().map(|(number, count)| (*number, *count as f64)).collect());
            (spans, deltas)
        };
        let (positive_spans, positive_deltas) = side(&self.positive);
        let (negative_spans, negative_deltas) = side(&self.negative);
        Histogram {
            count: self.count,
            sum: self.sum.unwrap_or_default(),
            schema: self.scale,
            zero_threshold: if self.zero_threshold > 0.0 { self.zero_threshold } else { ZERO_THRESHOLD },
            zero_count: self.zero_count,
            negative_spans,
            negative_deltas,
            positive_spans,
            positive_deltas,
            timestamp,
            ..Histogram::default()
        }
    }
}

fn numbered(buckets: Option<&Buckets>) -> Result<BTreeMap<i32, u64>, String> {
    let Some(buckets) = buckets else { return Ok(BTreeMap::new()) };
    let first = i64::from(buckets.offset) + 1;
    let counts = (first..).zip(&buckets.bucket_counts).filter(|(_, count)| **count > 0);
    let number = |(number, count): (i64, &u64)| Some((i32::try_from(number).ok()?, *count));
    counts.map(number).collect::<Option<_>>().ok_or_else(|| {
        format!(
            "{} buckets from offset {} on are more than there are numbers",
            buckets.bucket_counts.len(),
            buckets.offset
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            sum: Some(1.0),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    #[test]
    fn a_scale_over_8_is_joined_to_8_and_one_below_minus_4_is_refused() {
        // Scale 10: four buckets become one. Numbers 0 to 3 of OpenTelemetry are bucket 1 of Prometheus.
        let fine = Exponential::of(&point(10, 0, &[1, 2, 3, 4, 5])).unwrap().native(0);
        assert_eq!((fine.schema, fine.positive_deltas.as_slice()), (8, &[10, -5][..]));
        assert_eq!(fine.positive_spans.first().map(|span| span.offset), Some(1));
        assert!(fine.validated().is_ok());
        let negative = Exponential::of(&point(9, -3, &[1, 1, 1])).unwrap().native(0);
        assert_eq!((negative.positive_deltas.as_slice(), negative.positive_spans[0].offset), (&[1, 1][..], -1));
        assert!(Exponential::of(&point(-5, 0, &[1])).unwrap_err().contains("Scale must be >= -4, was -5"));
    }

    #[test]
    fn the_coarser_scale_and_the_wider_zero_bucket_win_and_nothing_is_lost() {
        let mut sum = Exponential::of(&point(3, -40, &[1; 80])).unwrap();
        let mut other = point(1, -2, &[5, 6, 7]);
        (other.zero_threshold, other.zero_count, other.count) = (0.3, 4, 22);
        sum.add(Exponential::of(&other).unwrap());
        let native = sum.native(0).validated().unwrap();
        assert_eq!((native.schema, native.count), (1, 102));
        assert!(native.zero_threshold >= 0.3 && native.zero_count > 4, "{native:?}");
        let in_buckets: f64 = native.buckets().iter().map(|bucket| bucket.count).sum();
        assert!((in_buckets - 102.0).abs() < 1e-9);
    }

    #[test]
    fn buckets_far_apart_cost_what_is_in_them() {
        let mut sum = Exponential::of(&point(8, i32::MIN, &[1])).unwrap();
        sum.add(Exponential::of(&point(8, i32::MAX - 1, &[1])).unwrap());
        assert_eq!(sum.buckets(), 2);
        assert!(Exponential::of(&point(8, i32::MAX, &[1])).is_err());
        assert!(sum.native(0).validated().is_ok() || sum.native(0).validated().is_err());
    }
}
