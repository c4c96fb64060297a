//! Captured metrics: a recorder of the thread's own. Caller threads.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, SharedString, Unit};
use metrics_util::registry::{AtomicStorage, Registry};
use parking_lot::Mutex;

/// Keeps all samples.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Registry<Key, AtomicStorage>>);

impl Default for Recorder {
    fn default() -> Self {
        Self(Arc::new(Registry::atomic()))
    }
}

/// A thread's recorder, which must live for ever while it is one. It is used again.
#[derive(Default)]
struct Place(Mutex<Recorder>);

static FREE: Mutex<Vec<&'static Place>> = Mutex::new(Vec::new());

/// The thread records here until this is dropped.
pub(super) struct Entered {
    guard: Option<LocalRecorderGuard<'static>>,
    place: &'static Place,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.guard = None;
        *self.place.0.lock() = Recorder::default();
        FREE.lock().push(self.place);
    }
}

impl Recorder {
    pub(super) fn enter(&self) -> Entered {
        let free = FREE.lock().pop();
        let place = free.unwrap_or_else(|| Box::leak(Box::default()));
        *place.0.lock() = self.clone();
        Entered { guard: Some(metrics::set_default_local_recorder(place)), place }
    }

    pub(super) fn metrics(&self) -> Metrics {
        let mut series = Vec::new();
        let mut add = |key: &Key, sample| {
            let mut labels: Vec<_> =
                key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
            labels.sort();
            series.push(Series { name: key.name().to_owned(), labels, sample });
        };
        for (key, counter) in self.0.get_counter_handles() {
            add(&key, Sample::Counter(counter.load(Ordering::Acquire)));
        }
        for (key, gauge) in self.0.get_gauge_handles() {
            add(&key, Sample::Gauge(f64::from_bits(gauge.load(Ordering::Acquire))));
        }
        for (key, histogram) in self.0.get_histogram_handles() {
            add(&key, Sample::Histogram(histogram.data()));
        }
        series.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        Metrics(series)
    }
}

/// Names, units and descriptions are not kept.
impl metrics::Recorder for Place {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let recorder = self.0.lock().clone();
        recorder.0.get_or_create_counter(&key.to_retained(), |counter| Counter::from_arc(Arc::clone(counter)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let recorder = self.0.lock().clone();
        recorder.0.get_or_create_gauge(&key.to_retained(), |gauge| Gauge::from_arc(Arc::clone(gauge)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let recorder = self.0.lock().clone();
        recorder.0.get_or_create_histogram(&key.to_retained(), |samples| Histogram::from_arc(Arc::clone(samples)))
    }
}

/// What a series has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sample {
    /// A counter's value.
    Counter(u64),
    /// A gauge's value.
    Gauge(f64),
    /// Every sample of a histogram; the order is not that in which they came.
    Histogram(Vec<f64>),
}

/// A name with labels, and its value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its labels, ordered by their names.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub sample: Sample,
}

impl Series {
    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has = |wanted: &(&str, &str)| self.labels.iter().any(|(name, value)| (&**name, &**value) == *wanted);
        self.name == name && labels.iter().all(has)
    }
}

/// `name{label="value"} 3`; a histogram shows how many samples it has and their sum.
impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        for (place, (name, value)) in self.labels.iter().enumerate() {
            write!(formatter, "{}{name}={value:?}", if place == 0 { "{" } else { "," })?;
        }
        if !self.labels.is_empty() {
            formatter.write_str("}")?;
        }
        match &self.sample {
            Sample::Counter(value) => write!(formatter, " {value}"),
            Sample::Gauge(value) => write!(formatter, " {value}"),
            Sample::Histogram(samples) => {
                write!(formatter, " count={} sum={}", samples.len(), samples.iter().sum::<f64>())
            }
        }
    }
}

/// All series, ordered by name and labels. A slice of [`Series`]; as text a line each.
///
/// Series are asked for by their name and some of their labels: what others they have does not matter.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<Series>);

impl Deref for Metrics {
    type Target = [Series];

    fn deref(&self) -> &[Series] {
        &self.0
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|series| writeln!(formatter, "{series}"))
    }
}

impl Metrics {
    fn of(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |series| series.is(name, labels)).map(|series| &series.sample)
    }

    /// The sum of the counters of this name with these labels; 0 if there is none.
    #[must_use]
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.of(name, labels).map(|sample| if let Sample::Counter(value) = sample { *value } else { 0 }).sum()
    }

    /// The sum of the gauges of this name with these labels; `None` if there is none.
    #[must_use]
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let value = |sample: &Sample| if let Sample::Gauge(value) = sample { Some(*value) } else { None };
        self.of(name, labels).filter_map(value).reduce(|a, b| a + b)
    }

    /// The samples of all histograms of this name with these labels, the smallest first.
    #[must_use]
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let samples =
            |sample: &Sample| if let Sample::Histogram(samples) = sample { samples.clone() } else { Vec::new() };
        let mut samples: Vec<_> = self.of(name, labels).flat_map(samples).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }

    /// Asserts what [`Metrics::counter`] gives.
    #[track_caller]
    pub fn assert_counter(&self, name: &str, labels: &[(&str, &str)], expected: u64) {
        let value = self.counter(name, labels);
        assert!(value == expected, "the counter `{name}` {labels:?} is {value}, not {expected}:\n{self}");
    }

    /// Asserts what [`Metrics::gauge`] gives.
    #[track_caller]
    #[expect(clippy::float_cmp, reason = "a gauge has what it was set to")]
    pub fn assert_gauge(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        match self.gauge(name, labels) {
            Some(value) if value == expected => {}
            Some(value) => panic!("the gauge `{name}` {labels:?} is {value}, not {expected}:\n{self}"),
            None => panic!("no gauge `{name}` {labels:?}:\n{self}"),
        }
    }

    /// Asserts how many samples [`Metrics::histogram`] gives.
    #[track_caller]
    pub fn assert_histogram_count(&self, name: &str, labels: &[(&str, &str)], expected: usize) {
        let count = self.histogram(name, labels).len();
        assert!(count == expected, "the histogram `{name}` {labels:?} has {count} samples, not {expected}:\n{self}");
    }
}
