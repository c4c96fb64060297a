//! The labels of a family's time series as remote write sends them, encoded once for as long as no series comes or goes. Worker thread.
//!
//! They are the greater part of what a push writes, and the same at every push: 100,000 time series with 100 bytes of labels keep 10 MB.

use crate::collect::Collected;
use crate::families::Series;
use crate::listing::Rows;
use crate::remote_write::{IdentityLabels, SeriesName, put_labels};
use crate::value::Value;

/// Of one family.
#[derive(Default)]
pub(crate) struct EncodedLabels {
    /// The number of the listing that they are of.
    listing: u64,
    /// A counter or gauge has one row; a histogram has one for each bucket or quantile, the sum and the count.
    rows: Rows<Vec<u8>>,
}

impl EncodedLabels {
    /// Encodes them anew if the family has another listing.
    pub(crate) fn renew(&mut self, family: &Collected, identity: &IdentityLabels) {
        let listing = &family.listing;
        if std::mem::replace(&mut self.listing, listing.number) == listing.number {
            return;
        }
        let Rows { all, ends } = &mut self.rows;
        all.clear();
        ends.clear();
        let mut put = |name: SeriesName<'_>| {
            put_labels(all, identity, name);
            ends.push(all.len());
        };
        let [bucket, sum, count] = ["bucket", "sum", "count"].map(|suffix| format!("{}_{suffix}", family.name));
        for series in &listing.series {
            let name = SeriesName { name: &family.name, labels: &series.labels, part: None };
            if let Value::Histogram(histogram) = &series.value {
                match histogram.summary() {
                    Some(summary) => {
                        for quantile in summary.quantiles().texts() {
                            put(SeriesName { part: Some(("quantile", quantile)), ..name });
                        }
                    }
                    None => {
                        for le in histogram.bounds().le() {
                            put(SeriesName { name: &bucket, part: Some(("le", le)), ..name });
                        }
                    }
                }
                put(SeriesName { name: &sum, ..name });
                put(SeriesName { name: &count, ..name });
            } else {
                put(name);
            }
        }
        self.rows.all.shrink_to_fit();
        self.rows.ends.shrink_to_fit();
    }

    /// From the first series of the listing on.
    pub(crate) fn of_series(&self) -> OfSeries<'_> {
        OfSeries { rows: &self.rows, next: 0 }
    }
}

/// Walks through the labels as one walks through the listing.
pub(crate) struct OfSeries<'a> {
    rows: &'a Rows<Vec<u8>>,
    next: usize,
}

impl<'a> OfSeries<'a> {
    /// Those of the next series of the listing.
    pub(crate) fn next_series(&mut self, series: &Series) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let first = self.next;
        self.next += match &series.value {
            Value::Histogram(histogram) => {
                let quantiles = histogram.summary().map(|summary| summary.quantiles().values().len());
                quantiles.unwrap_or_else(|| histogram.bounds().len()) + 2
            }
            Value::Counter(_) | Value::FloatCounter(_) | Value::Gauge(_) => 1,
        };
        let rows = self.rows;
        let end_of = |row: usize| rows.ends.get(row).copied().unwrap_or_default();
        (first..self.next).map(move |row| {
            let start = if row == 0 { 0 } else { end_of(row - 1) };
            rows.all.get(start..end_of(row)).unwrap_or_default()
        })
    }
}
