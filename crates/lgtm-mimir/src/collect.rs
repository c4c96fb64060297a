//! Gather: the series of every family as they are now. Worker, once a tick, and each scrape.

use std::sync::Arc;

use crate::exemplar::Exemplar;
use crate::families::{Families, Family, Kind, Series};
use crate::histogram::Histogram;
use crate::listing::Listing;
use crate::native::Native;
use crate::summary::Summary;
use crate::unit::Unit;
use crate::value::Value;

/// A family that has series.
pub(crate) struct Collected {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<Unit>,
    pub(crate) help: String,
    /// The series are read when they are encoded.
    pub(crate) listing: Arc<Listing>,
}

impl Collected {
    /// The unit, if this name ends with it, as OpenMetrics and the protobuf format demand it; a count is no unit.
    pub(crate) fn unit_at_the_end_of(&self, name: &str) -> Option<&'static str> {
        let unit = self.unit?.as_str();
        name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')).then_some(unit)
    }
}

/// What one series says.
pub(crate) enum Reading<'a> {
    Counter(u64),
    /// A counter with fractions.
    FloatCounter(f64),
    Gauge(f64),
    /// The counts were read; sum and bounds are the histogram's.
    Histogram(&'a Histogram),
    /// The count was read, as the only bucket's; the sum is the histogram's.
    Summary(&'a Histogram, &'a Summary),
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
    Collected { name: Arc::clone(&family.name), kind: family.exposed_kind(), unit, help, listing: family.listing() }
}

impl Series {
    /// The native form of a histogram that has one.
    pub(crate) fn native(&self) -> Option<&Native> {
        match &self.value {
            Value::Histogram(histogram) => histogram.native(),
            _ => None,
        }
    }

    /// Reads the series; a histogram's buckets, each with all below it, into `counts`.
    pub(crate) fn read<'a>(&'a self, counts: &mut Vec<u64>) -> Reading<'a> {
        match &self.value {
            Value::Counter(counter) => Reading::Counter(counter.value()),
            Value::FloatCounter(counter) => Reading::FloatCounter(counter.value()),
            Value::Gauge(gauge) => Reading::Gauge(gauge.value()),
            Value::Histogram(histogram) => {
                histogram.cumulative(counts);
                match histogram.summary() {
                    Some(summary) => Reading::Summary(histogram, summary),
                    None => Reading::Histogram(histogram),
                }
            }
        }
    }
}

/// The labels of an exemplar, sorted by name: name and value.
pub(crate) fn exemplar_labels(exemplar: &Exemplar) -> [(&'static str, String); 2] {
    let text = |hex: &[u8]| String::from_utf8_lossy(hex).into_owned();
    [("span_id", text(&exemplar.span_id.to_hex())), ("trace_id", text(&exemplar.trace_id.to_hex()))]
}
