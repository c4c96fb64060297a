//! The series of a family one after the other, as long as none comes or goes: what a scrape or a push walks through, instead of asking
//! each series for its labels. Worker, and each scrape.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::exposition::put_labels;
use crate::families::Series;
use crate::protobuf::LABEL;
use crate::remote_write::put_label;

/// The series of one family, ordered by their labels.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Distinct in the process, counted from 1; 0: the empty one.
    pub(crate) number: u64,
    pub(crate) series: Vec<Arc<Series>>,
    /// Their labels as an exposition has them, from the first scrape on.
    labels: OnceLock<Rows<String>>,
    /// The same as the protobuf format has them, from the first scrape in it on.
    label_pairs: OnceLock<Rows<Vec<u8>>>,
}

/// Pieces one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rows<T> {
    pub(crate) all: T,
    /// Where each ends.
    pub(crate) ends: Vec<usize>,
}

impl<T> Rows<T> {
    /// The places of the pieces.
    pub(crate) fn places(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.ends.iter().scan(0, |start, end| Some(std::mem::replace(start, *end)..*end))
    }
}

impl Listing {
    pub(crate) fn new(series: Vec<Arc<Series>>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            series,
            labels: OnceLock::new(),
            label_pairs: OnceLock::new(),
        }
    }

    /// The series, each with its labels as they stand between the braces of an exposition.
    pub(crate) fn with_labels(&self) -> impl Iterator<Item = (&Series, &str)> {
        let rows = self.labels.get_or_init(|| {
            let mut rows = Rows { all: String::new(), ends: Vec::with_capacity(self.series.len()) };
            for series in &self.series {
                put_labels(&mut rows.all, &series.labels);
                rows.ends.push(rows.all.len());
            }
            rows.all.shrink_to_fit();
            rows
        });
        let labels = rows.places().map(|place| rows.all.get(place).unwrap_or_default());
        self.series.iter().map(AsRef::as_ref).zip(labels)
    }

    /// The series, each with its labels as fields of a `Metric` of the protobuf format.
    pub(crate) fn with_label_pairs(&self) -> impl Iterator<Item = (&Series, &[u8])> {
        let rows = self.label_pairs.get_or_init(|| {
            let mut rows = Rows { all: Vec::new(), ends: Vec::with_capacity(self.series.len()) };
            for series in &self.series {
                series.labels.iter().for_each(|(name, value)| put_label(&mut rows.all, LABEL, name, value));
                rows.ends.push(rows.all.len());
            }
            rows.all.shrink_to_fit();
            rows
        });
        let labels = rows.places().map(|place| rows.all.get(place).unwrap_or_default());
        self.series.iter().map(AsRef::as_ref).zip(labels)
    }
}
