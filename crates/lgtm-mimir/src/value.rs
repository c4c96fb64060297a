//! What one series holds, of whichever type. Caller threads record into it; worker and scrape read.

use std::sync::Arc;

use crate::buckets::Bounds;
use crate::histogram::Histogram;
use crate::quantiles::Quantiles;
use crate::scalar::{Counter, Gauge};

/// The state of one series.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Counter(Arc<Counter>),
    /// A counter with fractions, which is kept elsewhere: here is how far it is.
    #[cfg_attr(not(feature = "opentelemetry"), expect(dead_code, reason = "the facade's counters have none"))]
    FloatCounter(Arc<Gauge>),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
}

impl Value {
    pub(crate) fn counter(&self) -> Option<Arc<Counter>> {
        if let Self::Counter(counter) = self { Some(Arc::clone(counter)) } else { None }
    }

    pub(crate) fn gauge(&self) -> Option<Arc<Gauge>> {
        if let Self::Gauge(gauge) = self { Some(Arc::clone(gauge)) } else { None }
    }

    pub(crate) fn histogram(&self) -> Option<Arc<Histogram>> {
        if let Self::Histogram(histogram) = self { Some(Arc::clone(histogram)) } else { None }
    }

    /// As if nothing had been recorded.
    pub(crate) fn restart(&self) {
        match self {
            Self::Counter(counter) => counter.restart(),
            Self::FloatCounter(gauge) | Self::Gauge(gauge) => gauge.restart(),
            Self::Histogram(histogram) => histogram.restart(),
        }
    }

    /// How many hold the value: the series itself, keys that lead to it, handles of the program.
    pub(crate) fn holders(&self) -> usize {
        match self {
            Self::Counter(counter) => Arc::strong_count(counter),
            Self::FloatCounter(gauge) | Self::Gauge(gauge) => Arc::strong_count(gauge),
            Self::Histogram(histogram) => Arc::strong_count(histogram),
        }
    }

    /// The address of the value, which tells it from all others while somebody holds it.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Counter(counter) => Arc::as_ptr(counter).addr(),
            Self::FloatCounter(gauge) | Self::Gauge(gauge) => Arc::as_ptr(gauge).addr(),
            Self::Histogram(histogram) => Arc::as_ptr(histogram).addr(),
        }
    }

    /// Whether anything was recorded since the last time that this was asked with this `last`.
    pub(crate) fn has_changed(&self, last: &mut u64) -> bool {
        let now = match self {
            Self::Counter(counter) => counter.value(),
            // A gauge may be set to the value that it has.
            Self::FloatCounter(gauge) | Self::Gauge(gauge) if gauge.take_touched() => last.wrapping_add(1),
            Self::FloatCounter(_) | Self::Gauge(_) => *last,
            Self::Histogram(histogram) => histogram.total(),
        };
        now != std::mem::replace(last, now)
    }

    /// How many time series it is.
    pub(crate) fn time_series(&self) -> usize {
        match self {
            Self::Counter(_) | Self::FloatCounter(_) | Self::Gauge(_) => 1,
            Self::Histogram(histogram) => match histogram.summary() {
                Some(summary) => summary_time_series(summary.quantiles()),
                None => time_series(histogram.bounds(), histogram.native().is_some()),
            },
        }
    }
}

/// A histogram is one for each bucket, the sum, the count, and its native form.
pub(crate) fn time_series(bounds: &Bounds, is_native: bool) -> usize {
    bounds.len() + 2 + usize::from(is_native)
}

/// A summary is one for each quantile, the sum and the count.
pub(crate) fn summary_time_series(quantiles: &Quantiles) -> usize {
    quantiles.values().len() + 2
}
