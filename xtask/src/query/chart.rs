//! Series as charts of block characters: a tall one each for few, one line each for many.
//!
//! Each column shows the largest value of its time, so that a peak stays one. Where there is no value the column is empty; NaN is
//! `·` and the infinities are arrows, which crates that draw lines between all points would hide.

use lgtm_query::{Sample, TimeRange};

/// Eighths of a character, from the lowest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values of one column of the screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell {
    Gap,
    NaN,
    PositiveInfinity,
    NegativeInfinity,
    Value(f64),
}

/// Points of time, laid into columns.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    cells: Vec<Cell>,
    low: f64,
    high: f64,
}

impl Columns {
    /// Lays samples that are `step_nanos` apart into at most `width` columns of equal length over `range`.
    pub(crate) fn new(samples: &[Sample], range: TimeRange, step_nanos: u64, width: usize) -> Self {
        let step = step_nanos.max(1);
        let length = range.end_unix_nanos.saturating_sub(range.start_unix_nanos);
        let points = usize::try_from(length / step).unwrap_or(usize::MAX).saturating_add(1);
        let width = width.max(1);
        // As many columns for each point, or as many points for each column.
        let widened = (width / points).max(1);
        let gathered = points.div_ceil(width).max(1);
        let count = points.div_ceil(gathered) * widened;
        let mut cells = vec![Cell::Gap; count];
        for sample in samples {
            let offset = sample.timestamp_unix_nanos.saturating_sub(range.start_unix_nanos);
            // Servers that align to the step give points up to one step beside the range.
            let point = usize::try_from(offset.saturating_add(step / 2) / step).unwrap_or(usize::MAX).min(points - 1);
            let first = point / gathered * widened;
            for cell in cells.iter_mut().skip(first).take(widened) {
                *cell = cell.larger(Cell::of(sample.value));
            }
        }
        let values = || cells.iter().filter_map(|cell| cell.value());
        let (low, high) = bounds(values());
        Self { cells, low, high }
    }

    /// One line of eighths.
    pub(crate) fn line(&self) -> String {
        self.rows(1).concat()
    }

    /// Lines from the top, all of one width.
    pub(crate) fn rows(&self, height: usize) -> Vec<String> {
        let row = |from_bottom: usize| self.cells.iter().map(|cell| self.part(*cell, from_bottom, height)).collect();
        (0..height).rev().map(row).collect()
    }

    /// The values at the lower and the upper edge.
    pub(crate) fn edges(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    pub(crate) fn width(&self) -> usize {
        self.cells.len()
    }

    fn part(&self, cell: Cell, from_bottom: usize, height: usize) -> char {
        let value = match cell {
            Cell::Gap => return ' ',
            Cell::NaN => return if from_bottom == 0 { '·' } else { ' ' },
            Cell::PositiveInfinity => return if from_bottom + 1 == height { '↑' } else { '│' },
            Cell::NegativeInfinity => return if from_bottom == 0 { '↓' } else { ' ' },
            Cell::Value(value) => value,
        };
        let span = self.high - self.low;
        let share = if span > 0.0 { (value - self.low) / span } else { 0.0 };
        // The lowest value is one eighth high: it is a value, not a gap. The conversion saturates.
        let eighths = ((share * (8 * height) as f64).round() as usize).clamp(1, 8 * height);
        match eighths.saturating_sub(8 * from_bottom) {
            0 => ' ',
            here => BLOCKS.get(here - 1).copied().unwrap_or('█'),
        }
    }
}

impl Cell {
    fn of(value: f64) -> Self {
        match value {
            value if value.is_nan() => Self::NaN,
            f64::INFINITY => Self::PositiveInfinity,
            f64::NEG_INFINITY => Self::NegativeInfinity,
            value => Self::Value(value),
        }
    }

    fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    fn larger(self, other: Self) -> Self {
        let rank = |cell: Self| match cell {
            Self::Gap => 0,
            Self::NaN => 1,
            Self::NegativeInfinity => 2,
            Self::Value(_) => 3,
            Self::PositiveInfinity => 4,
        };
        match (self, other) {
            (Self::Value(one), Self::Value(another)) => Self::Value(one.max(another)),
            (one, another) if rank(another) > rank(one) => another,
            (one, _) => one,
        }
    }
}

/// The lower and the upper edge. Zero is the lower one, so that twice as much is twice as high, unless that would flatten what is to
/// be seen.
fn bounds(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return (0.0, 0.0);
    }
    if low >= 0.0 && (low <= 0.8 * high || low == high) {
        return (0.0, high);
    }
    if high <= 0.0 && low == high {
        return (low, 0.0);
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = 1_000_000_000;

    fn columns(values: &[f64], width: usize) -> Columns {
        let sample =
            |(index, value): (usize, &f64)| Sample { timestamp_unix_nanos: index as u64 * STEP, value: *value };
        let samples: Vec<_> = values.iter().enumerate().map(sample).collect();
        Columns::new(&samples, TimeRange::new(0, (values.len() as u64 - 1) * STEP), STEP, width)
    }

    #[test]
    fn a_line_shows_values_from_zero() {
        assert_eq!(columns(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 9).line(), "▁▁▂▃▄▅▆▇█");
        assert_eq!(columns(&[5.0, 5.0], 2).line(), "██");
        assert_eq!(columns(&[0.0, 0.0], 2).line(), "▁▁");
        // Far from zero the differences count.
        assert_eq!(columns(&[1000.0, 1001.0], 2).line(), "▁█");
        assert_eq!(columns(&[-1.0, 1.0], 2).line(), "▁█");
    }

    #[test]
    fn gaps_and_numbers_that_are_none_do_not_look_like_values() {
        assert_eq!(columns(&[1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0], 5).line(), "█·↑↓█");
        let with_gap =
            [Sample { timestamp_unix_nanos: 0, value: 1.0 }, Sample { timestamp_unix_nanos: 3 * STEP, value: 1.0 }];
        assert_eq!(Columns::new(&with_gap, TimeRange::new(0, 3 * STEP), STEP, 4).line(), "█  █");
        assert_eq!(Columns::new(&[], TimeRange::new(0, 3 * STEP), STEP, 4).line(), "    ");
    }

    #[test]
    fn few_points_are_widened_and_many_keep_their_peaks() {
        assert_eq!(columns(&[1.0, 0.0], 6).line(), "███▁▁▁");
        let mut many = vec![0.0; 100];
        many[57] = 8.0;
        assert_eq!(columns(&many, 10).line(), "▁▁▁▁▁█▁▁▁▁");
        assert_eq!(columns(&many, 33).width(), 25);
    }

    #[test]
    fn points_beside_the_range_count_to_its_ends() {
        let samples = [Sample { timestamp_unix_nanos: 9 * STEP, value: 1.0 }];
        assert_eq!(Columns::new(&samples, TimeRange::new(0, 2 * STEP), STEP, 3).line(), "  █");
        // A range that is no multiple of the step, and one of no length.
        assert_eq!(Columns::new(&samples, TimeRange::new(0, 0), STEP, 3).line(), "███");
        assert_eq!(Columns::new(&samples, TimeRange::new(0, 5), 0, 3).width(), 3);
    }

    #[test]
    fn a_tall_chart_stacks_its_rows() {
        assert_eq!(columns(&[0.0, 1.0, 2.0, 3.0, 4.0], 5).rows(2), ["   ▄█", "▁▄███"]);
        assert_eq!(columns(&[4.0, f64::INFINITY, f64::NAN], 3).rows(2), ["█↑ ", "█│·"]);
    }
}
