//! Admit: from a key to the series that its samples belong to. Caller threads; a known key is one lookup under a shared lock,
//! and a sample through a handle is atomics alone. There is no queue: the worker reads the series once a tick.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::Key;
use metrics_util::registry::{self, Storage};
use parking_lot::Mutex;

use crate::expiry::{Expired, Idle};
#[cfg(feature = "opentelemetry")]
use crate::families::Owner;
use crate::families::{Families, Family, Kind, Place, Series};
use crate::histogram::Histogram;
#[cfg(feature = "opentelemetry")]
use crate::opentelemetry::Collector;
use crate::scalar::{Counter, Gauge};
use crate::value::Value;

/// All keys that were used, and all families.
pub(crate) struct Registry {
    /// Distinct in the process, counted from 1.
    number: u64,
    keys: registry::Registry<Key, Known>,
    /// Most keys that are remembered. Several keys may be one series, so the bound on series does not bound them.
    max_keys: usize,
    idle: Option<Mutex<Idle>>,
    /// What has expired and the push has not heard of. Empty without push.
    expired: Mutex<Vec<Expired>>,
    pushes: bool,
    /// Of the last exposition.
    exposition_bytes: AtomicUsize,
    /// What else has metrics, and puts them beside those of the facade.
    #[cfg(feature = "opentelemetry")]
    sources: Mutex<Vec<Arc<Collector>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.storage().keys.load(Ordering::Relaxed);
        formatter.debug_struct("Registry").field("keys", &keys).finish_non_exhaustive()
    }
}

/// Gives the registry its handles. Keys get here once they have a series of their own.
struct Known {
    families: Families,
    keys: AtomicUsize,
}

impl Known {
    fn handle<T: Default>(&self, key: &Key, kind: Kind, pick: fn(&Value) -> Option<Arc<T>>) -> Arc<T> {
        self.keys.fetch_add(1, Ordering::Relaxed);
        // The default is exposed nowhere; it would take a name that changes its type.
        self.families.place_again(key, kind).and_then(|place| pick(&place.series.value)).unwrap_or_default()
    }
}

impl Storage<Key> for Known {
    type Counter = Arc<Counter>;
    type Gauge = Arc<Gauge>;
    type Histogram = Arc<Histogram>;

    fn counter(&self, key: &Key) -> Self::Counter {
        self.handle(key, Kind::Counter, Value::counter)
    }

    fn gauge(&self, key: &Key) -> Self::Gauge {
        self.handle(key, Kind::Gauge, Value::gauge)
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        self.handle(key, Kind::Histogram, Value::histogram)
    }
}

impl Registry {
    pub(crate) fn new(families: Families, max_keys: usize) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            keys: registry::Registry::new(Known { families, keys: AtomicUsize::new(0) }),
            max_keys,
            idle: None,
            expired: Mutex::default(),
            pushes: false,
            exposition_bytes: AtomicUsize::new(0),
            #[cfg(feature = "opentelemetry")]
            sources: Mutex::default(),
        }
    }

    /// Series that are idle for this long go; `pushes`: the backend is told.
    pub(crate) fn with_expiry(mut self, after: Option<Duration>, pushes: bool) -> Self {
        self.idle = after.map(|after| Mutex::new(Idle::new(after)));
        self.pushes = pushes;
        self
    }

    /// Tells it from all others of the process.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether series that are idle go.
    pub(crate) fn expires(&self) -> bool {
        self.idle.is_some()
    }

    /// About how many bytes the next exposition has: a little more than the last.
    pub(crate) fn exposition_bytes(&self) -> usize {
        let last = self.exposition_bytes.load(Ordering::Relaxed);
        last + last / 16
    }

    pub(crate) fn note_exposition_bytes(&self, bytes: usize) {
        self.exposition_bytes.store(bytes, Ordering::Relaxed);
    }

    /// As if nothing had been recorded; the series and the program's handles to them stay.
    pub(crate) fn restart(&self) {
        #[cfg(feature = "opentelemetry")]
        self.forget_sources();
        self.expired.lock().clear();
        for family in self.families().all() {
            family.listing().series.iter().for_each(|series| series.restart());
        }
    }

    /// What has expired since this was asked last.
    pub(crate) fn take_expired(&self) -> Vec<Expired> {
        std::mem::take(&mut *self.expired.lock())
    }

    /// Brings the series up to date, before they are read: what other sources say now, without what is idle at this time.
    pub(crate) fn renew(&self, now: Instant) {
        #[cfg(feature = "opentelemetry")]
        self.collect_sources();
        self.expire(now);
    }

    /// Takes out what is idle at this time.
    fn expire(&self, now: Instant) {
        let Some(idle) = &self.idle else { return };
        let mut idle = idle.lock();
        let mut candidates: HashMap<usize, (Arc<Family>, Arc<Series>)> = HashMap::new();
        for family in self.families().all() {
            let mut any = false;
            for series in family.listing().series.iter().filter(|series| idle.is_idle(series, now)) {
                candidates.insert(series.value.address(), (Arc::clone(&family), Arc::clone(series)));
                any = true;
            }
            if any {
                family.forget_listing();
            }
        }
        if candidates.is_empty() {
            return;
        }
        self.forget_keys(&candidates);
        for (_, (family, series)) in candidates {
            let labels = Arc::clone(&series.labels);
            let expired = Expired { family, series };
            // The series itself is kept for the push; the map holds the only other one.
            let Expired { family, series } = &expired;
            if self.families().remove_unused(family, &labels, 2) {
                idle.forget(series);
                if self.pushes {
                    self.expired.lock().push(expired);
                }
            }
        }
    }

    /// Takes the keys out that lead to these series, unless a handle is held beside them.
    fn forget_keys(&self, candidates: &HashMap<usize, (Arc<Family>, Arc<Series>)>) {
        // How many keys lead to each.
        let mut keys: HashMap<usize, usize> = HashMap::new();
        let mut count = |address: usize| {
            if candidates.contains_key(&address) {
                *keys.entry(address).or_default() += 1;
            }
        };
        self.keys.visit_counters(|_, value| count(Arc::as_ptr(value).addr()));
        self.keys.visit_gauges(|_, value| count(Arc::as_ptr(value).addr()));
        self.keys.visit_histograms(|_, value| count(Arc::as_ptr(value).addr()));
        let mut stays = |address: usize, holders: usize| {
            let Some(left) = keys.get_mut(&address) else { return true };
            // The series, and the keys that are left: more are handles of the program.
            if holders > 1 + *left {
                return true;
            }
            *left -= 1;
            self.keys.storage().keys.fetch_sub(1, Ordering::Relaxed);
            false
        };
        self.keys.retain_counters(|_, value| stays(Arc::as_ptr(value).addr(), Arc::strong_count(value)));
        self.keys.retain_gauges(|_, value| stays(Arc::as_ptr(value).addr(), Arc::strong_count(value)));
        self.keys.retain_histograms(|_, value| stays(Arc::as_ptr(value).addr(), Arc::strong_count(value)));
    }

    pub(crate) fn families(&self) -> &Families {
        &self.keys.storage().families
    }

    /// The counter of this key, and whether the key is remembered; none if it cannot be exposed.
    pub(crate) fn find_counter(&self, key: &Key) -> Option<(Arc<Counter>, bool)> {
        if let Some(known) = self.keys.get_counter(key) {
            return Some((known, true));
        }
        let place = self.families().place(key, Kind::Counter)?;
        if self.remembers(&place) {
            return Some((self.keys.get_or_create_counter(key, Arc::clone), true));
        }
        Some((place.series.value.counter()?, false))
    }

    /// The gauge of this key, and whether the key is remembered; none if it cannot be exposed.
    pub(crate) fn find_gauge(&self, key: &Key) -> Option<(Arc<Gauge>, bool)> {
        if let Some(known) = self.keys.get_gauge(key) {
            return Some((known, true));
        }
        let place = self.families().place(key, Kind::Gauge)?;
        if self.remembers(&place) {
            return Some((self.keys.get_or_create_gauge(key, Arc::clone), true));
        }
        Some((place.series.value.gauge()?, false))
    }

    /// The histogram of this key, and whether the key is remembered; none if it cannot be exposed.
    pub(crate) fn find_histogram(&self, key: &Key) -> Option<(Arc<Histogram>, bool)> {
        if let Some(known) = self.keys.get_histogram(key) {
            return Some((known, true));
        }
        let place = self.families().place(key, Kind::Histogram)?;
        if self.remembers(&place) {
            return Some((self.keys.get_or_create_histogram(key, Arc::clone), true));
        }
        Some((place.series.value.histogram()?, false))
    }

    /// Keys beyond a limit are looked up anew each time: what they could fill has no end.
    fn remembers(&self, place: &Place) -> bool {
        !place.is_overflow && self.keys.storage().keys.load(Ordering::Relaxed) < self.max_keys
    }
}

#[cfg(feature = "opentelemetry")]
impl Registry {
    /// From here on the source is asked whenever the series are read. Series of sources that have ended make room.
    pub(crate) fn add_source(&self, source: Arc<Collector>) {
        let mut sources = self.sources.lock();
        sources.retain(|source| !source.is_closed());
        let known: Vec<_> = sources.iter().map(|source| source.owner()).chain([Owner::FACADE]).collect();
        sources.push(source);
        drop(sources);
        self.end_series(|series| !known.contains(&series.owner));
    }

    /// Ends the series for which this holds.
    pub(crate) fn end_series(&self, is_over: impl Fn(&Series) -> bool) {
        for family in self.families().all() {
            self.end_series_of(&family, &is_over);
        }
    }

    /// As [`Registry::end_series`], of one family.
    pub(crate) fn end_series_of(&self, family: &Arc<Family>, is_over: impl Fn(&Series) -> bool) {
        for series in self.families().remove(family, is_over) {
            if self.pushes {
                self.expired.lock().push(Expired { family: Arc::clone(family), series });
            }
        }
    }

    fn collect_sources(&self) {
        // None is asked under the lock: it may run code of the program.
        let sources = self.sources.lock().clone();
        sources.iter().for_each(|source| source.collect());
    }

    /// In a child that was forked: they are the parent's.
    fn forget_sources(&self) {
        self.sources.lock().clear();
        self.end_series(|series| series.owner != Owner::FACADE);
    }
}

#[cfg(feature = "opentelemetry")]
impl Drop for Registry {
    fn drop(&mut self) {
        self.sources.get_mut().iter().for_each(|source| source.close());
    }
}

#[cfg(test)]
mod tests {
    use metrics::{CounterFn as _, HistogramFn as _, Label};

    use super::*;
    use crate::buckets::{BucketRules, DEFAULT_BUCKETS};
    use crate::families::Limits;
    use crate::naming::OVERFLOW_LABEL;
    use crate::refusal::Refusal;

    fn registry(series: usize, series_of_name: usize) -> Registry {
        let rules = BucketRules::new(&DEFAULT_BUCKETS, &[]).unwrap();
        Registry::new(Families::new(rules, Limits { series, series_of_name }), series)
    }

    fn counter(registry: &Registry, key: &Key) -> Option<Arc<Counter>> {
        registry.find_counter(key).map(|(counter, _)| counter)
    }

    fn gauge(registry: &Registry, key: &Key) -> Option<Arc<Gauge>> {
        registry.find_gauge(key).map(|(gauge, _)| gauge)
    }

    fn histogram(registry: &Registry, key: &Key) -> Option<Arc<Histogram>> {
        registry.find_histogram(key).map(|(histogram, _)| histogram)
    }

    fn key(name: &'static str, value: usize) -> Key {
        Key::from_parts(name, vec![Label::new("n", value.to_string())])
    }

    fn counters(registry: &Registry, name: &str) -> Vec<(String, u64)> {
        let families = registry.families().all();
        let family = families.iter().find(|family| &*family.name == name).unwrap();
        let listing = family.listing();
        listing
            .series
            .iter()
            .map(|series| {
                let labels = series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
                (labels.join(","), series.value.counter().unwrap().value())
            })
            .collect()
    }

    fn refused(registry: &Registry, refusal: Refusal) -> u64 {
        let all = counters(registry, lgtm_core::catalogue::METRICS_SERIES_REFUSED_TOTAL);
        all.iter().find(|(labels, _)| *labels == format!("reason={}", refusal.as_str())).unwrap().1
    }

    #[test]
    fn keys_that_become_equal_are_one_series() {
        let registry = registry(100, 100);
        let dotted = Key::from_parts("http.requests", vec![Label::new("http.route", "/a")]);
        let plain = Key::from_parts("http_requests", vec![Label::new("http_route", "/a")]);
        counter(&registry, &dotted).unwrap().increment(2);
        counter(&registry, &plain).unwrap().increment(3);
        counter(&registry, &dotted).unwrap().increment(5);
        assert_eq!(counters(&registry, "http_requests"), [("http_route=/a".to_owned(), 10)]);
    }

    #[test]
    fn beyond_the_limit_of_a_name_everything_counts_in_one_series() {
        let registry = registry(100, 3);
        for value in 0..10 {
            counter(&registry, &key("requests", value)).unwrap().increment(1);
            counter(&registry, &key("requests", 9)).unwrap().increment(1);
        }
        let overflow = format!("{OVERFLOW_LABEL}=true");
        let expected = [("n=0".to_owned(), 1), ("n=1".to_owned(), 1), ("n=9".to_owned(), 11), (overflow, 7)];
        assert_eq!(counters(&registry, "requests"), expected);
        assert_eq!(refused(&registry, Refusal::NameSeriesLimit), 7);
        counter(&registry, &key("others", 0)).unwrap().increment(1);
        assert_eq!(counters(&registry, "others"), [("n=0".to_owned(), 1)]);
    }

    #[test]
    fn the_limit_of_all_series_counts_each_bucket() {
        // A default histogram: 11 buckets, +Inf, sum and count.
        let registry = registry(15, 100);
        histogram(&registry, &key("seconds", 0)).unwrap().record(1.0);
        counter(&registry, &key("requests", 0)).unwrap().increment(1);
        counter(&registry, &key("requests", 1)).unwrap().increment(1);
        assert_eq!(counters(&registry, "requests").len(), 2);
        assert_eq!(refused(&registry, Refusal::SeriesLimit), 1);
    }

    #[test]
    fn the_first_type_of_a_name_wins() {
        let registry = registry(100, 100);
        assert!(histogram(&registry, &key("seconds", 0)).is_some());
        assert!(counter(&registry, &key("seconds", 0)).is_none());
        assert!(gauge(&registry, &key("seconds_count", 0)).is_none(), "the histogram has samples of this name");
        assert!(gauge(&registry, &key("size_bucket", 0)).is_some());
        assert!(histogram(&registry, &key("size", 0)).is_none(), "its buckets would have the gauge's name");
        assert!(counter(&registry, &key("size_sum", 0)).is_some(), "a histogram that was refused takes no names");
        assert_eq!(refused(&registry, Refusal::TypeConflict), 3);
    }

    #[test]
    fn a_series_that_a_reader_walks_through_goes_when_it_is_done() {
        let registry = registry(100, 100).with_expiry(Some(Duration::from_secs(1)), true);
        counter(&registry, &key("requests", 0)).unwrap().increment(1);
        let family = |registry: &Registry| {
            let all = registry.families().all();
            Arc::clone(all.iter().find(|family| &*family.name == "requests").unwrap())
        };
        let now = Instant::now();
        registry.expire(now);
        let later = now + Duration::from_secs(2);
        let reader = family(&registry).listing();
        registry.expire(later);
        assert_eq!((family(&registry).listing().series.len(), registry.take_expired().len()), (1, 0));
        assert_eq!(reader.series.len(), 1);
        drop(reader);
        registry.expire(later);
        assert_eq!((family(&registry).listing().series.len(), registry.take_expired().len()), (0, 1));
        counter(&registry, &key("requests", 0)).unwrap().increment(1);
        assert_eq!(counters(&registry, "requests"), [("n=0".to_owned(), 1)]);
    }

    #[test]
    fn keys_without_end_that_are_one_series_are_not_remembered() {
        let registry = registry(10, 10);
        for number in 0..1000 {
            let value = format!("{}{number}", "v".repeat(2000));
            let key = Key::from_parts("requests", vec![Label::new("n", value)]);
            counter(&registry, &key).unwrap().increment(1);
        }
        assert_eq!(counters(&registry, "requests")[0].1, 1000);
        assert!(registry.keys.storage().keys.load(Ordering::Relaxed) <= 10);
    }
}
