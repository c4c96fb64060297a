//! Counters and gauges: one atomic each. Caller threads write, worker and scrape read; no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::{CounterFn, GaugeFn};

/// A counter: a `u64` that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counter {
    pub(crate) fn restart(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl CounterFn for Counter {
    #[inline]
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
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
        add(&self.bits, value);
        self.touch();
    }

    #[inline]
    fn decrement(&self, value: f64) {
        add(&self.bits, -value);
        self.touch();
    }

    #[inline]
    fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
        self.touch();
    }
}

/// Adds to a float kept as bits.
#[inline]
pub(crate) fn add(bits: &AtomicU64, value: f64) {
    let mut current = bits.load(Ordering::Relaxed);
    loop {
        let sum = (f64::from_bits(current) + value).to_bits();
        match bits.compare_exchange_weak(current, sum, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(changed) => current = changed,
        }
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
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::default();
        gauge.set(2.5);
        gauge.increment(1.0);
        gauge.decrement(4.0);
        assert_eq!(gauge.value(), -0.5);
    }
}
