//! Capture: the recorder of the `metrics` facade. Caller threads.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

use crate::families::Kind;
use crate::registry::Registry;

/// Takes what the macros of `metrics` record. Clones are handles to the same registry.
///
/// A handle that is kept (`let requests = metrics::counter!("requests_total")`) records with atomics alone; a macro that is
/// given labels looks its key up each time, under a lock that is shared by readers.
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

    fn describe(&self, name: &KeyName, kind: Kind, unit: Option<Unit>, help: &str) {
        self.registry.families().describe(name.as_str(), kind, unit, help);
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

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        self.registry.counter(key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        self.registry.gauge(key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        self.registry.histogram(key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}
