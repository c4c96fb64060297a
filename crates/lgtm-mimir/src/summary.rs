//! Summaries: what the quantiles of a sliding window are told from. Caller threads write under a lock that is held for the length of
//! one sample; worker and scrape read.
//!
//! The window is a ring of slices, each a sketch (DDSketch) of its own: time goes on slice by slice, and what is read is all slices
//! together. A sketch counts samples in bins that grow by 2 %, so that a quantile is right within 1 % of its value, whatever the number
//! of samples.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sketches_ddsketch::{Config, DDSketch};

use crate::quantiles::Quantiles;

/// Label sets of one name: each is far larger than a histogram.
pub(crate) const MAX_SUMMARIES_OF_NAME: usize = 1_000;
/// Slices of a window. The oldest goes when a new one begins.
const SLICES: u32 = 4;
/// How far a quantile may be from the truth, as a part of it.
const ERROR: f64 = 0.01;
/// Values nearer to zero are zero.
const SMALLEST: f64 = 1e-9;
/// Values further from zero are infinite.
const LARGEST: f64 = 1e26;
/// What stands for them in a sketch: a few bins beyond the largest.
const BEYOND: f64 = 1.1 * LARGEST;
/// Bins from the smallest value to that, so that a sketch never has to throw bins together: 32 KiB, for each sign. Only the range that
/// samples are in takes memory, 1 KiB for every factor of 13.
const MAX_BINS: u32 = 4096;

/// One summary.
#[derive(Debug)]
pub(crate) struct Summary {
    quantiles: Arc<Quantiles>,
    began: Instant,
    slice: Duration,
    ring: Mutex<Ring>,
}

struct Ring {
    /// The number of the newest slice, counted from 0; the others are those before it.
    newest: u64,
    /// By their number modulo [`SLICES`]. None: no samples.
    slices: [Option<DDSketch>; SLICES as usize],
    /// Whether any sample ever was below zero: then the sum is no counter.
    went_below_zero: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let samples: Vec<_> = self.slices.iter().map(|slice| slice.as_ref().map_or(0, DDSketch::count)).collect();
        formatter.debug_struct("Ring").field("newest", &self.newest).field("samples", &samples).finish_non_exhaustive()
    }
}

impl Summary {
    pub(crate) fn new(quantiles: Arc<Quantiles>) -> Self {
        let slice = quantiles.window() / SLICES;
        let ring = Ring { newest: 0, slices: [const { None }; SLICES as usize], went_below_zero: false };
        Self { quantiles, began: Instant::now(), slice, ring: Mutex::new(ring) }
    }

    pub(crate) fn quantiles(&self) -> &Quantiles {
        &self.quantiles
    }

    /// Counts a sample that is a number.
    pub(crate) fn record(&self, value: f64, samples: u64) {
        self.record_at(value, samples, Instant::now());
    }

    /// The values of the quantiles, in order; NaN if the window has no samples.
    pub(crate) fn read(&self) -> Vec<f64> {
        self.read_at(Instant::now())
    }

    pub(crate) fn went_below_zero(&self) -> bool {
        self.ring.lock().went_below_zero
    }

    pub(crate) fn restart(&self) {
        let mut ring = self.ring.lock();
        ring.slices.fill(None);
        ring.went_below_zero = false;
    }

    fn record_at(&self, value: f64, samples: u64, now: Instant) {
        let number = self.number_at(now);
        let mut ring = self.ring.lock();
        ring.advance(number);
        ring.went_below_zero |= value < 0.0;
        let value = if value.abs() > LARGEST { BEYOND.copysign(value) } else { value };
        if let Some(slice) = ring.slice() {
            add(slice.get_or_insert_with(sketch), value, samples);
        }
    }

    fn read_at(&self, now: Instant) -> Vec<f64> {
        let number = self.number_at(now);
        let all = {
            let mut ring = self.ring.lock();
            ring.advance(number);
            let mut all = sketch();
            for slice in ring.slices.iter().flatten() {
                // All have one configuration.
                let _ = all.merge(slice);
            }
            all
        };
        let value = |quantile: &f64| match all.quantile(*quantile) {
            Ok(Some(value)) if value.abs() > (LARGEST + BEYOND) / 2.0 => f64::INFINITY.copysign(value),
            Ok(Some(value)) => value,
            _ => f64::NAN,
        };
        self.quantiles.values().iter().map(value).collect()
    }

    /// The number of the slice that a moment belongs to.
    fn number_at(&self, now: Instant) -> u64 {
        let slices = now.saturating_duration_since(self.began).as_nanos() / self.slice.as_nanos().max(1);
        u64::try_from(slices).unwrap_or(u64::MAX)
    }
}

impl Ring {
    /// Forgets what is older than the window that ends with this slice. Moments may come a little out of order.
    fn advance(&mut self, number: u64) {
        if number <= self.newest {
            return;
        }
        for begun in (self.newest + 1..=number).take(SLICES as usize) {
            if let Some(slice) = self.slices.get_mut((begun % u64::from(SLICES)) as usize) {
                *slice = None;
            }
        }
        self.newest = number;
    }

    /// The newest slice.
    fn slice(&mut self) -> Option<&mut Option<DDSketch>> {
        self.slices.get_mut((self.newest % u64::from(SLICES)) as usize)
    }
}

fn sketch() -> DDSketch {
    DDSketch::new(Config::new(ERROR, MAX_BINS, SMALLEST))
}

/// Adds a value so many times. Many of them by doubling: nobody waits for a million additions under the lock.
fn add(sketch: &mut DDSketch, value: f64, samples: u64) {
    if samples < 16 {
        (0..samples).for_each(|_| sketch.add(value));
        return;
    }
    let mut power = self::sketch();
    power.add(value);
    let mut rest = samples;
    while rest > 0 {
        if rest & 1 == 1 {
            let _ = sketch.merge(&power);
        }
        rest >>= 1;
        if rest > 0 {
            let same = power.clone();
            let _ = power.merge(&same);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn summary(given: &[f64]) -> Summary {
        Summary::new(Arc::new(Quantiles::new("size", given, Duration::from_secs(60)).unwrap()))
    }

    #[test]
    fn quantiles_are_those_of_the_window_and_what_is_older_is_gone() {
        let summary = summary(&[0.0, 0.5, 1.0]);
        let at = |seconds: u64| summary.began + Duration::from_secs(seconds);
        assert!(summary.read_at(at(0)).iter().all(|value| value.is_nan()));
        summary.record_at(1.0, 1, at(1));
        summary.record_at(9.0, 1, at(20));
        let near = |found: &[f64], expected: [f64; 3]| {
            let close =
                found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= expected * ERROR);
            assert!(close, "{found:?}, not {expected:?}");
        };
        near(&summary.read_at(at(59)), [1.0, 1.0, 9.0]);
        near(&summary.read_at(at(60)), [9.0, 9.0, 9.0]);
        near(&summary.read_at(at(74)), [9.0, 9.0, 9.0]);
        assert!(summary.read_at(at(75)).iter().all(|value| value.is_nan()));
        // After a long pause, and a moment that comes late.
        summary.record_at(3.0, 1, at(1_000_000));
        summary.record_at(3.0, 1, at(999_999));
        near(&summary.read_at(at(1_000_000)), [3.0, 3.0, 3.0]);
        summary.restart();
        assert!(summary.read_at(at(1_000_000)).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn many_samples_at_once_count_as_many() {
        let summary = summary(&[0.25, 0.75]);
        summary.record_at(1.0, 1_000_003, summary.began);
        summary.record_at(2.0, 1_000_000_000, summary.began);
        assert_eq!(summary.ring.lock().slices[0].as_ref().unwrap().count(), 1_001_000_003);
        let [low, high] = summary.read_at(summary.began)[..] else { panic!("two quantiles") };
        assert!((low - 2.0).abs() < 0.02 && (high - 2.0).abs() < 0.02, "{low} {high}");
    }

    #[test]
    fn what_is_infinite_or_too_large_is_infinite_and_spoils_no_other_quantile() {
        let summary = summary(&[0.1, 0.5, 0.9]);
        let began = summary.began;
        for value in [f64::NEG_INFINITY, 0.25, 0.25, 0.25, 0.25, f64::MAX] {
            summary.record_at(value, 1, began);
        }
        summary.record_at(f64::INFINITY, 1, began);
        let [low, middle, high] = summary.read_at(began)[..] else { panic!("three quantiles") };
        assert_eq!((low, high), (f64::NEG_INFINITY, f64::INFINITY));
        assert!((middle - 0.25).abs() <= 0.25 * ERROR, "{middle}");
        assert!(summary.went_below_zero());
    }

    #[test]
    fn memory_is_bounded_whatever_is_recorded() {
        let summary = summary(&[0.5]);
        for exponent in -320..=308 {
            for sign in [1.0, -1.0] {
                summary.record_at(sign * 10_f64.powi(exponent), 1, summary.began);
            }
        }
        let ring = summary.ring.lock();
        assert!(ring.slices.iter().flatten().all(|slice| slice.length() <= 2 * MAX_BINS as usize));
        assert_eq!(ring.slices.iter().flatten().map(DDSketch::count).sum::<usize>(), 2 * 629);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent_of_the_truth(
            mut values in prop::collection::vec(prop_oneof![-1e20..1e20_f64, -1.0..1.0_f64, 1e-8..1e-3_f64], 1..400),
            quantile in 0.0..=1.0_f64,
        ) {
            let summary = summary(&[quantile]);
            // Over all slices.
            for (number, value) in (0..).zip(&values) {
                summary.record_at(*value, 1, summary.began + Duration::from_millis(100 * number));
            }
            let found = summary.read_at(summary.began + Duration::from_secs(40))[0];
            values.sort_by(f64::total_cmp);
            let truth = values[(quantile * (values.len() as f64 - 1.0)) as usize];
            prop_assert!((found - truth).abs() <= truth.abs() * ERROR * 1.001 + SMALLEST, "{found}, in truth {truth}");
        }
    }
}
