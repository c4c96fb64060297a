//! Histograms with fixed buckets: memory is constant whatever is recorded; where threads meet, spread over several cells.
//! Caller threads write with atomics alone; worker and scrape read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{CounterFn, HistogramFn};

use crate::buckets::Bounds;
use crate::exemplar::{self, Exemplar, Exemplars};
use crate::native::Native;
use crate::scalar::Counter;
use crate::spread::{self, Row, Spread};
use crate::summary::Summary;

/// What is kept of the samples beside the counts of the buckets, if the program asks for it.
#[derive(Debug)]
pub(crate) enum Beside {
    /// The same samples in buckets that fit them.
    Native(Native),
    /// What quantiles are told from; there is one bucket then.
    Summary(Box<Summary>),
}

/// One histogram series. The count is not kept: it is the sum of the buckets, so that `_count` and the `+Inf` bucket
/// are equal in every reading.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    bounds: Arc<Bounds>,
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
    /// The sum in cell 0, the buckets' counts behind it.
    spread: Spread,
    exemplars: Arc<Exemplars>,
    beside: Option<Box<Beside>>,
    /// Counts the samples that are not numbers: one of them would make the sum NaN for ever.
    not_a_number: Arc<Counter>,
}

impl Histogram {
    pub(crate) fn new(bounds: Arc<Bounds>, beside: Option<Beside>, not_a_number: Arc<Counter>) -> Self {
        let counts = (0..bounds.len()).map(|_| AtomicU64::new(0)).collect();
        // A summary has no place for exemplars in any format.
        let places = if matches!(beside, Some(Beside::Summary(_))) { 0 } else { bounds.len() };
        let exemplars = Exemplars::new(places);
        Self {
            bounds,
            counts,
            sum: AtomicU64::new(0),
            spread: Spread::default(),
            exemplars,
            beside: beside.map(Box::new),
            not_a_number,
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn sum(&self) -> f64 {
        let float = |cell: &AtomicU64| f64::from_bits(cell.load(Ordering::Relaxed));
        self.spread.cells(0).fold(float(&self.sum), |sum, cell| sum + float(cell))
    }

    /// How many samples each bucket has.
    fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().enumerate().map(|(bucket, count)| {
            let in_rows = self.spread.cells(1 + bucket).map(|cell| cell.load(Ordering::Relaxed));
            in_rows.fold(count.load(Ordering::Relaxed), u64::saturating_add)
        })
    }

    /// Reads the buckets into `counts`, each with all below it; the last is the number of samples.
    pub(crate) fn cumulative(&self, counts: &mut Vec<u64>) -> u64 {
        counts.clear();
        let mut total = 0_u64;
        counts.extend(self.counts().map(|count| {
            total = total.saturating_add(count);
            total
        }));
        total
    }

    pub(crate) fn native(&self) -> Option<&Native> {
        match self.beside.as_deref() {
            Some(Beside::Native(native)) => Some(native),
            _ => None,
        }
    }

    pub(crate) fn summary(&self) -> Option<&Summary> {
        match self.beside.as_deref() {
            Some(Beside::Summary(summary)) => Some(summary),
            _ => None,
        }
    }

    /// The number of samples.
    pub(crate) fn total(&self) -> u64 {
        self.counts().fold(0, u64::saturating_add)
    }

    pub(crate) fn restart(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        self.sum.store(0, Ordering::Relaxed);
        self.spread.restart();
        self.exemplars.restart();
        match self.beside.as_deref() {
            Some(Beside::Native(native)) => native.restart(),
            Some(Beside::Summary(summary)) => summary.restart(),
            None => {}
        }
    }

    /// What it is elsewhere, in the same buckets; for a histogram into which nobody records here.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn set(&self, counts: &[u64], sum: f64) {
        for (cell, count) in self.counts.iter().zip(counts) {
            cell.store(*count, Ordering::Relaxed);
        }
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn newest_exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.newest(bucket)
    }

    pub(crate) fn unpushed_exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.unpushed(bucket)
    }
}

impl Histogram {
    /// Takes so many samples, which are `sum` together. Twice in the program, so that one sample needs no multiplication, and no frame.
    #[inline(always)]
    fn count(&self, value: f64, samples: u64, sum: f64) {
        if value.is_nan() {
            return self.refuse(samples);
        }
        let bucket = self.bounds.bucket(value);
        if let Some(row) = self.spread.row() {
            add_in_row(row, bucket, samples, sum);
        } else {
            if let Some(cell) = self.counts.get(bucket) {
                cell.fetch_add(samples, Ordering::Relaxed);
            }
            if !spread::add_float(&self.sum, sum) {
                self.spread.meet(1 + self.counts.len());
            }
        }
        if let Some(beside) = &self.beside {
            record_beside(beside, value, samples);
        }
        if exemplar::current_trace().is_some() {
            self.sample(bucket, value);
        }
    }

    #[cold]
    fn refuse(&self, samples: u64) {
        self.not_a_number.increment(samples);
    }

    /// In a trace that is kept, or may be.
    #[inline(never)]
    fn sample(&self, bucket: usize, value: f64) {
        let now = exemplar::unix_milliseconds();
        // Where threads meet, they need not meet at the exemplar too: of those of one moment any is as good.
        if self.spread.row().is_some() && self.exemplars.has_one_of(bucket, now) {
            return;
        }
        let Some(trace) = lgtm_core::current::trace() else { return };
        if trace.sampled {
            self.exemplars.offer(bucket, &trace, value, now);
        } else {
            self.exemplars.await_decision(bucket, trace, value, now);
        }
    }
}

#[inline(never)]
fn add_in_row(row: Row<'_>, bucket: usize, samples: u64, sum: f64) {
    row.add(1 + bucket, samples);
    row.add_float(0, sum);
}

#[cold]
fn record_beside(beside: &Beside, value: f64, samples: u64) {
    match beside {
        Beside::Native(native) => native.record(value, samples),
        Beside::Summary(summary) => summary.record(value, samples),
    }
}

impl HistogramFn for Histogram {
    #[inline]
    fn record(&self, value: f64) {
        self.count(value, 1, value);
    }

    fn record_many(&self, value: f64, count: usize) {
        if count > 0 {
            self.count(value, count as u64, value * count as f64);
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
    fn what_is_spread_is_read_as_one() {
        let histogram = histogram(&[1.0, 2.0]);
        histogram.record(0.5);
        (0..20).for_each(|_| histogram.spread.meet(4));
        histogram.record(0.5);
        histogram.record_many(7.0, 2);
        let mut counts = Vec::new();
        assert_eq!(histogram.cumulative(&mut counts), 4);
        assert_eq!((counts, histogram.total(), histogram.sum()), (vec![2, 2, 4], 4, 15.0));
        histogram.restart();
        assert_eq!((histogram.total(), histogram.sum()), (0, 0.0));
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
                        // Whatever the machine lets them do at once, there are meetings: the histogram is spread on the way.
                        if index % 1_000 == 0 {
                            histogram.spread.meet(5);
                        }
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
