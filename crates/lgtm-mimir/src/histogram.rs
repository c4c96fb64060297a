//! Histograms with fixed buckets: memory is constant whatever is recorded.
//! Caller threads write with atomics alone; worker and scrape read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{CounterFn, HistogramFn};

use crate::buckets::Bounds;
use crate::exemplar::{self, Exemplar, Exemplars};
use crate::native::Native;
use crate::scalar::{self, Counter};

/// One histogram series. The count is not kept: it is the sum of the buckets, so that `_count` and the `+Inf` bucket
/// are equal in every reading.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    bounds: Arc<Bounds>,
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
    exemplars: Arc<Exemplars>,
    /// The same samples in buckets that fit them, if the program asks for it.
    native: Option<Box<Native>>,
    /// Counts the samples that are not numbers: one of them would make the sum NaN for ever.
    not_a_number: Arc<Counter>,
}

impl Histogram {
    pub(crate) fn new(bounds: Arc<Bounds>, native: Option<usize>, not_a_number: Arc<Counter>) -> Self {
        let counts = (0..bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let exemplars = Exemplars::new(bounds.len());
        Self {
            bounds,
            counts,
            sum: AtomicU64::new(0),
            exemplars,
            native: native.map(|buckets| Box::new(Native::new(buckets))),
            not_a_number,
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    /// Reads the buckets into `counts`, each with all below it; the last is the number of samples.
    pub(crate) fn cumulative(&self, counts: &mut Vec<u64>) -> u64 {
        counts.clear();
        let mut total = 0_u64;
        counts.extend(self.counts.iter().map(|count| {
            total = total.saturating_add(count.load(Ordering::Relaxed));
            total
        }));
        total
    }

    pub(crate) fn native(&self) -> Option<&Native> {
        self.native.as_deref()
    }

    /// The number of samples.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(count.load(Ordering::Relaxed)))
    }

    pub(crate) fn restart(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        self.sum.store(0, Ordering::Relaxed);
        self.exemplars.restart();
        if let Some(native) = &self.native {
            native.restart();
        }
    }

    pub(crate) fn newest_exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.newest(bucket)
    }

    pub(crate) fn unpushed_exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.unpushed(bucket)
    }
}

impl HistogramFn for Histogram {
    #[inline]
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    #[inline]
    fn record_many(&self, value: f64, count: usize) {
        let samples = count as u64;
        if samples == 0 {
            return;
        }
        if value.is_nan() {
            self.not_a_number.increment(samples);
            return;
        }
        let bucket = self.bounds.bucket(value);
        if let Some(cell) = self.counts.get(bucket) {
            cell.fetch_add(samples, Ordering::Relaxed);
        }
        scalar::add(&self.sum, value * samples as f64);
        if let Some(native) = &self.native {
            native.record(value, samples);
        }
        if let Some(trace) = exemplar::current_trace() {
            self.exemplars.sample(bucket, trace, value, exemplar::unix_milliseconds());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(bounds: &[f64]) -> Histogram {
        Histogram::new(Arc::new(Bounds::new("size", bounds).unwrap()), None, Arc::new(Counter::default()))
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_is_the_count() {
        let histogram = histogram(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 99.0] {
            histogram.record(value);
        }
        histogram.record_many(2.0, 3);
        histogram.record_many(2.0, 0);
        let mut counts = Vec::new();
        assert_eq!(histogram.cumulative(&mut counts), 7);
        assert_eq!(counts, [2, 6, 7]);
        assert_eq!(histogram.sum(), 108.0);
    }

    #[test]
    fn a_sample_that_is_no_number_is_counted_and_spoils_nothing() {
        let histogram = histogram(&[1.0]);
        histogram.record(f64::NAN);
        histogram.record(1.0);
        assert_eq!((histogram.sum(), histogram.not_a_number.value()), (1.0, 1));
        assert_eq!(histogram.cumulative(&mut Vec::new()), 1);
    }

    #[test]
    fn no_sample_is_lost_between_threads() {
        const THREADS: usize = 4;
        const SAMPLES: usize = 20_000;
        let histogram = histogram(&[1.0, 2.0, 3.0]);
        let barrier = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for index in 0..SAMPLES {
                        histogram.record((index % 4) as f64 + 0.5);
                    }
                });
            }
        });
        let mut counts = Vec::new();
        let quarter = (THREADS * SAMPLES / 4) as u64;
        assert_eq!(histogram.cumulative(&mut counts), 4 * quarter);
        assert_eq!(counts, [quarter, 2 * quarter, 3 * quarter, 4 * quarter]);
        assert_eq!(histogram.sum(), 8.0 * quarter as f64);
    }
}
