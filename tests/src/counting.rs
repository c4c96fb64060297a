//! A recorder that counts exactly: the sum of each counter, the number of samples of each histogram. Caller threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// The recorder of this process, which [`Counting::install`] sets.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    counts: Arc<Mutex<HashMap<Key, Arc<Count>>>>,
}

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

impl HistogramFn for Count {
    fn record(&self, value: f64) {
        assert!(value.is_finite() && value >= 0.0, "a sample of {value}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counting {
    /// The recorder of this process; set at the first call.
    ///
    /// # Panics
    /// If the process has another one.
    pub fn install() -> &'static Self {
        static INSTALLED: OnceLock<Counting> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let counting = Self::default();
            metrics::set_global_recorder(counting.clone()).expect("the only recorder of this process");
            counting
        })
    }

    fn count(&self, key: &Key) -> Arc<Count> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.entry(key.clone()).or_default())
    }

    /// The sum over all series of this name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|(key, _)| key.name() == name).map(|(_, count)| count.0.load(Ordering::Relaxed)).sum()
    }

    /// The sum over all series of this name that have this label.
    #[must_use]
    pub fn sum(&self, name: &str, label: (&str, &str)) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |key: &Key| key.name() == name && key.labels().any(|own| (own.key(), own.value()) == label);
        counts.iter().filter(|(key, _)| wanted(key)).map(|(_, count)| count.0.load(Ordering::Relaxed)).sum()
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.count(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.count(key))
    }
}
