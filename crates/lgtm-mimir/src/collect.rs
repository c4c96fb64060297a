//! Gather: the series of every family as they are now. Worker, once a tick, and each scrape.

use std::sync::Arc;

use crate::exemplar::Exemplar;
use crate::families::{Families, Family, Kind, Series, Value};
use crate::histogram::Histogram;
use crate::listing::Listing;
use crate::unit::Unit;

/// A family that has series.
pub(crate) struct Collected {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<Unit>,
    pub(crate) help: String,
    /// The series are read when they are encoded.
    pub(crate) listing: Arc<Listing>,
}

/// What one series says.
pub(crate) enum Reading<'a> {
    Counter(u64),
    /// A counter with fractions.
    FloatCounter(f64),
    Gauge(f64),
    /// The counts were read; sum and bounds are the histogram's.
    Histogram(&'a Histogram),
}

/// The families with their series, ordered by name.
pub(crate) fn collect(families: &Families) -> Vec<Collected> {
    let all = families.all();
    all.iter()
        .map(|family| collected(families, family))
        .filter(|collected| !collected.listing.series.is_empty())
        .collect()
}

fn collected(families: &Families, family: &Family) -> Collected {
    let description = families.description(family);
    let (unit, help) = description.map_or_else(Default::default, |known| (known.unit, known.help));
    Collected { name: Arc::clone(&family.name), kind: family.kind, unit, help, listing: family.listing() }
}

impl Series {
    /// Reads the series; a histogram's buckets, each with all below it, into `counts`.
    pub(crate) fn read<'a>(&'a self, counts: &mut Vec<u64>) -> Reading<'a> {
        match &self.value {
            Value::Counter(counter) => Reading::Counter(counter.value()),
            Value::FloatCounter(counter) => Reading::FloatCounter(counter.value()),
            Value::Gauge(gauge) => Reading::Gauge(gauge.value()),
            Value::Histogram(histogram) => {
                histogram.cumulative(counts);
                Reading::Histogram(histogram)
            }
        }
    }
}

/// The labels of an exemplar, sorted by name: name and value.
pub(crate) fn exemplar_labels(exemplar: &Exemplar) -> [(&'static str, String); 2] {
    let text = |hex: &[u8]| String::from_utf8_lossy(hex).into_owned();
    [("span_id", text(&exemplar.span_id.to_hex())), ("trace_id", text(&exemplar.trace_id.to_hex()))]
}
