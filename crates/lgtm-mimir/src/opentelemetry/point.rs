//! What one data point of the SDK says, in the recorder's terms; points that become one series are added up. The collector's thread;
//! pure functions.

use std::sync::Arc;

use opentelemetry_sdk::metrics::data::{
    ExponentialBucket, ExponentialHistogramDataPoint, GaugeDataPoint, HistogramDataPoint, SumDataPoint,
};

use crate::buckets::Bounds;

use crate::histogram::{Beside, Histogram};
use crate::native::{Buckets, Native, State};
use crate::scalar::{Counter, Gauge};
use crate::value::Value;

/// The numbers of instruments.
pub(super) trait Number: Copy {
    fn float(self) -> f64;
    /// As a count, if it is a whole number.
    fn count(self) -> Option<u64>;
}

impl Number for u64 {
    fn float(self) -> f64 {
        self as f64
    }

    fn count(self) -> Option<u64> {
        Some(self)
    }
}

impl Number for i64 {
    fn float(self) -> f64 {
        self as f64
    }

    fn count(self) -> Option<u64> {
        // A counter that has gone down is none; as if it had begun anew.
        Some(u64::try_from(self).unwrap_or(0))
    }
}

impl Number for f64 {
    fn float(self) -> f64 {
        self
    }

    fn count(self) -> Option<u64> {
        None
    }
}

/// What a series has to say.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Counter(u64),
    FloatCounter(f64),
    /// `adds`: of several that are one series the sum counts, not the last.
    Gauge {
        value: f64,
        adds: bool,
    },
    Histogram {
        bounds: Vec<f64>,
        counts: Vec<u64>,
        sum: f64,
    },
    Native(State),
}

impl Point {
    pub(super) fn sum<T: Number>(point: &SumDataPoint<T>, is_monotonic: bool) -> Self {
        let value = point.value();
        match value.count() {
            Some(count) if is_monotonic => Self::Counter(count),
            None if is_monotonic => Self::FloatCounter(value.float()),
            _ => Self::Gauge { value: value.float(), adds: true },
        }
    }

    pub(super) fn gauge<T: Number>(point: &GaugeDataPoint<T>) -> Self {
        Self::Gauge { value: point.value().float(), adds: false }
    }

    pub(super) fn histogram<T: Number>(point: &HistogramDataPoint<T>) -> Self {
        let mut counts: Vec<_> = point.bucket_counts().collect();
        // Without any bounds there may be no bucket either.
        let bounds: Vec<_> = point.bounds().collect();
        if counts.len() != bounds.len() + 1 {
            counts = vec![point.count()];
        }
        let bounds = if counts.len() == 1 { Vec::new() } else { bounds };
        Self::Histogram { bounds, counts, sum: point.sum().float() }
    }

    /// None if it is coarser than Prometheus knows it.
    pub(super) fn native<T: Number>(point: &ExponentialHistogramDataPoint<T>) -> Option<Self> {
        let [positive, negative] = [point.positive_bucket(), point.negative_bucket()].map(buckets);
        let scale = i32::from(point.scale());
        State::of(scale, point.zero_count(), point.sum().float(), positive, negative).map(Self::Native)
    }

    /// A new series' value, which shows nothing yet.
    pub(super) fn new_value(&self, not_a_number: &Arc<Counter>) -> Value {
        let histogram = |bounds: &[f64], native: Option<usize>| {
            let native = native.map(|buckets| Beside::Native(Native::new(buckets)));
            let bounds = Arc::new(Bounds::of(bounds));
            Value::Histogram(Arc::new(Histogram::new(bounds, native, Arc::clone(not_a_number))))
        };
        match self {
            Self::Counter(_) => Value::Counter(Arc::default()),
            Self::FloatCounter(_) => Value::FloatCounter(Arc::<Gauge>::default()),
            Self::Gauge { .. } => Value::Gauge(Arc::default()),
            Self::Histogram { bounds, .. } => histogram(bounds, None),
            // Text formats have the sum and the count of it.
            Self::Native(_) => histogram(&[], Some(0)),
        }
    }

    /// How many time series it is.
    pub(super) fn time_series(&self) -> usize {
        match self {
            Self::Counter(_) | Self::FloatCounter(_) | Self::Gauge { .. } => 1,
            Self::Histogram { counts, .. } => counts.len() + 2,
            Self::Native(_) => 4,
        }
    }

    /// Adds another one of the same series; false if the two do not fit together.
    pub(super) fn add(&mut self, other: Self) -> bool {
        match (self, other) {
            (Self::Counter(all), Self::Counter(more)) => *all = all.saturating_add(more),
            (Self::FloatCounter(all), Self::FloatCounter(more)) => *all += more,
            (Self::FloatCounter(all), Self::Counter(more)) => *all += more as f64,
            (Self::Gauge { value, adds: true }, Self::Gauge { value: more, adds: true }) => *value += more,
            (Self::Gauge { value, adds }, Self::Gauge { value: last, adds: last_adds }) => {
                (*value, *adds) = (last, last_adds);
            }
            (Self::Histogram { bounds, counts, sum }, Self::Histogram { bounds: others, counts: more, sum: rest })
                if *bounds == others =>
            {
                counts.iter_mut().zip(more).for_each(|(all, more)| *all = all.saturating_add(more));
                *sum += rest;
            }
            (Self::Native(all), Self::Native(more)) => all.add(more),
            _ => return false,
        }
        true
    }

    /// Whether a series with this value can show it.
    pub(super) fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Counter(_), Value::Counter(_) | Value::FloatCounter(_))
            | (Self::FloatCounter(_), Value::FloatCounter(_))
            | (Self::Gauge { .. }, Value::Gauge(_)) => true,
            (Self::Histogram { bounds, .. }, Value::Histogram(histogram)) => {
                histogram.native().is_none() && histogram.bounds().values() == bounds.as_slice()
            }
            (Self::Native(_), Value::Histogram(histogram)) => histogram.native().is_some(),
            _ => false,
        }
    }

    /// Shows it: readers see it from now on.
    pub(super) fn show(self, value: &Value) {
        use metrics::GaugeFn as _;
        match (self, value) {
            (Self::Counter(now), Value::Counter(counter)) => counter.set(now),
            (Self::Counter(now), Value::FloatCounter(counter)) => counter.set(now as f64),
            (Self::FloatCounter(now), Value::FloatCounter(counter)) => counter.set(now),
            (Self::Gauge { value: now, .. }, Value::Gauge(gauge)) => gauge.set(now),
            (Self::Histogram { counts, sum, .. }, Value::Histogram(histogram)) => histogram.set(&counts, sum),
            (Self::Native(state), Value::Histogram(histogram)) => {
                histogram.set(&[state.count()], state.sum);
                if let Some(native) = histogram.native() {
                    native.set(state);
                }
            }
            _ => {}
        }
    }
}

/// OpenTelemetry's bucket i counts what is greater than base^i and at most base^(i+1): one less than Prometheus' index.
fn buckets(bucket: &ExponentialBucket) -> Buckets {
    let counts: Vec<_> = bucket.counts().collect();
    Buckets { first: bucket.offset().saturating_add(1), counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_one_series_are_added_up_and_others_do_not_fit() {
        let mut counter = Point::Counter(3);
        assert!(counter.add(Point::Counter(4)) && matches!(counter, Point::Counter(7)));
        assert!(!counter.add(Point::FloatCounter(0.5)), "it would lose its fraction");
        let mut float = Point::FloatCounter(0.5);
        assert!(float.add(Point::Counter(4)) && matches!(float, Point::FloatCounter(4.5)));
        let mut up_and_down = Point::Gauge { value: 3.0, adds: true };
        assert!(up_and_down.add(Point::Gauge { value: -5.0, adds: true }));
        assert!(matches!(up_and_down, Point::Gauge { value: -2.0, .. }));
        let mut gauge = Point::Gauge { value: 3.0, adds: false };
        assert!(
            gauge.add(Point::Gauge { value: 5.0, adds: false }) && matches!(gauge, Point::Gauge { value: 5.0, .. })
        );
        let classic = |bounds: &[f64]| Point::Histogram { bounds: bounds.to_vec(), counts: vec![1, 2], sum: 3.0 };
        let mut histogram = classic(&[1.0]);
        assert!(histogram.add(classic(&[1.0])) && !histogram.add(classic(&[2.0])));
        assert!(matches!(&histogram, Point::Histogram { counts, sum: 6.0, .. } if *counts == [2, 4]));
    }

    #[test]
    fn exponential_histograms_of_two_scales_are_added_at_the_coarser_one() {
        let buckets = |first, counts: &[u64]| Buckets { first, counts: counts.to_vec() };
        // Factor 2: (1, 2] and (2, 4]; factor 4: (1, 4].
        let mut fine = Point::Native(State::of(0, 1, 5.0, buckets(1, &[1, 1]), Buckets::default()).unwrap());
        let coarse = Point::Native(State::of(-1, 0, 3.0, buckets(1, &[2]), Buckets::default()).unwrap());
        assert!(fine.add(coarse));
        let Point::Native(state) = fine else { panic!() };
        assert_eq!((state.schema, state.zero, state.sum, state.count()), (-1, 1, 8.0, 5));
        assert_eq!((state.positive.first, state.positive.counts), (1, vec![4]));
    }

    #[test]
    fn a_scale_that_prometheus_has_not_is_coarsened_or_left_out() {
        let one = |scale| State::of(scale, 0, 1.0, Buckets { first: 1, counts: vec![1; 4] }, Buckets::default());
        let state = one(10).unwrap();
        assert_eq!((state.schema, state.positive.first, state.positive.counts), (8, 1, vec![4]));
        assert!(one(-4).is_some() && one(-5).is_none());
    }
}
