//! Capture: the recorder of the `metrics` facade. Caller threads.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

use crate::families::Kind;
use crate::recent::{self, Handle};
use crate::registry::Registry;

/// Takes what the macros of `metrics` record. Clones are handles to the same registry.
///
/// A handle that is kept (`let requests = metrics::counter!("requests_total")`) records with atomics alone; so does a macro whose
/// name and labels are constants, once its thread has come by, unless series expire. A macro that is given other labels looks its key up
/// each time, under a lock that is shared by readers.
#[derive(Clone, Debug)]
pub struct Recorder {
    registry: Arc<Registry>,
}

impl Recorder {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// The registry, with nothing recorded.
    pub(crate) fn restarted(&self) -> Arc<Registry> {
        self.registry.restart();
        Arc::clone(&self.registry)
    }

    /// Remembers a handle for the calling thread. Where series expire nobody may hold one: it would live for ever.
    #[cold]
    fn keep(&self, key: &Key, metadata: &Metadata<'_>, make: impl FnOnce() -> Handle) {
        if !self.registry.expires() {
            recent::keep(self.registry.number(), key, metadata, make);
        }
    }

    fn describe(&self, name: &KeyName, kind: Kind, unit: Option<Unit>, help: &str) {
        self.registry.families().describe(name.as_str(), kind, unit.and_then(crate::unit::Unit::new), help);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, Kind::Counter, unit, &description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, Kind::Gauge, unit, &description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, Kind::Histogram, unit, &description);
    }

    #[inline]
    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let pick = |handle: &Handle| if let Handle::Counter(counter) = handle { Some(counter.clone()) } else { None };
        recent::find(self.registry.number(), key, metadata, pick).unwrap_or_else(|| {
            let Some((counter, is_known)) = self.registry.find_counter(key) else { return Counter::noop() };
            if is_known {
                // An `Arc` around it: other threads count their references elsewhere.
                let own = || Handle::Counter(Counter::from_arc(Arc::new(Arc::clone(&counter))));
                self.keep(key, metadata, own);
            }
            Counter::from_arc(counter)
        })
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let pick = |handle: &Handle| if let Handle::Gauge(gauge) = handle { Some(gauge.clone()) } else { None };
        recent::find(self.registry.number(), key, metadata, pick).unwrap_or_else(|| {
            let Some((gauge, is_known)) = self.registry.find_gauge(key) else { return Gauge::noop() };
            if is_known {
                self.keep(key, metadata, || Handle::Gauge(Gauge::from_arc(Arc::new(Arc::clone(&gauge)))));
            }
            Gauge::from_arc(gauge)
        })
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let pick = |handle: &Handle| if let Handle::Histogram(all) = handle { Some(all.clone()) } else { None };
        recent::find(self.registry.number(), key, metadata, pick).unwrap_or_else(|| {
            let Some((histogram, is_known)) = self.registry.find_histogram(key) else { return Histogram::noop() };
            if is_known {
                let own = || Handle::Histogram(Histogram::from_arc(Arc::new(Arc::clone(&histogram))));
                self.keep(key, metadata, own);
            }
            Histogram::from_arc(histogram)
        })
    }
}
