//! Counters and gauges. Caller threads write with atomics alone, worker and scrape read; no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::{CounterFn, GaugeFn};

use crate::spread::{self, Spread};

/// A counter: a `u64` that only grows. Spread over several cells where threads meet.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    value: AtomicU64,
    spread: Spread,
}

impl Counter {
    pub(crate) fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed).wrapping_add(self.in_rows())
    }

    fn in_rows(&self) -> u64 {
        self.spread.cells(0).fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    pub(crate) fn restart(&self) {
        self.value.store(0, Ordering::Relaxed);
        self.spread.restart();
    }

    /// What it is elsewhere; for a counter that nobody increments here.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn set(&self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }
}

impl CounterFn for Counter {
    #[inline]
    fn increment(&self, value: u64) {
        match self.spread.row() {
            None if spread::add(&self.value, value) => {}
            None => self.spread.meet(1),
            Some(row) => row.add(0, value),
        }
    }

    fn absolute(&self, value: u64) {
        // What the rows have is added to it.
        self.value.fetch_max(value.saturating_sub(self.in_rows()), Ordering::Relaxed);
    }
}

/// A gauge: the bits of an `f64`. All bits zero are the value 0.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    bits: AtomicU64,
    /// Whether it was written to since this was asked last: its value may stay the same.
    touched: AtomicBool,
}

impl Gauge {
    pub(crate) fn value(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }

    pub(crate) fn restart(&self) {
        self.bits.store(0, Ordering::Relaxed);
    }

    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    #[inline]
    fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }
}

impl GaugeFn for Gauge {
    #[inline]
    fn increment(&self, value: f64) {
        spread::add_float(&self.bits, value);
        self.touch();
    }

    #[inline]
    fn decrement(&self, value: f64) {
        spread::add_float(&self.bits, -value);
        self.touch();
    }

    #[inline]
    fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
        self.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_value_never_takes_a_counter_back() {
        let counter = Counter::default();
        counter.absolute(7);
        counter.absolute(3);
        counter.increment(1);
        assert_eq!(counter.value(), 8);
    }

    #[test]
    fn an_absolute_value_counts_what_is_spread() {
        let counter = Counter::default();
        (0..20).for_each(|_| counter.spread.meet(1));
        counter.increment(10);
        counter.absolute(7);
        assert_eq!(counter.value(), 10);
        counter.absolute(12);
        counter.increment(1);
        assert_eq!(counter.value(), 13);
        counter.restart();
        assert_eq!(counter.value(), 0);
    }

    #[test]
    fn no_increment_is_lost_while_a_counter_is_spread() {
        const THREADS: u64 = 4;
        const EACH: u64 = 50_000;
        let counter = Counter::default();
        let barrier = std::sync::Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (counter, barrier) = (&counter, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for number in 0..EACH {
                        // Whatever the machine lets them do at once, there are meetings.
                        if thread == 0 && number % 5_000 == 0 {
                            counter.spread.meet(1);
                        }
                        counter.increment(1);
                    }
                });
            }
        });
        assert!(counter.spread.row().is_some());
        assert_eq!(counter.value(), THREADS * EACH);
    }

    #[test]
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::default();
        gauge.set(2.5);
        gauge.increment(1.0);
        gauge.decrement(4.0);
        assert_eq!(gauge.value(), -0.5);
    }
}
