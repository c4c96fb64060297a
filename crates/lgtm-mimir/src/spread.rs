//! Sums that several threads add to. A sum is one cell until threads have met there a few times; from then on it is a row of cells for
//! each of a few threads, on cache lines that no other has, and what is read is the sum of all rows. So a series that one thread
//! writes, or many threads seldom, costs no more memory than before. Caller threads write with atomics alone; worker and scrape read.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// Meetings after which a sum is spread: that of two threads by chance is none.
const MEETINGS: u32 = 8;
/// Cells of one or two cache lines.
const LINE: usize = 16;
/// Most cells of all rows of one sum: more would be too much memory for a series.
const MOST_CELLS: usize = 2048;
/// Most sums of the process that are spread at a time, of up to 16 KiB each.
const MOST: usize = 4096;

static SPREAD: AtomicUsize = AtomicUsize::new(0);

/// Where the rows of a sum are, once there are any.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    rows: OnceLock<Option<Box<Rows>>>,
    meetings: AtomicU32,
}

#[derive(Debug)]
struct Rows {
    lines: Box<[CachePadded<[AtomicU64; LINE]>]>,
    lines_of_row: usize,
    /// One less than the number of rows, a power of two.
    mask: usize,
}

impl Drop for Rows {
    fn drop(&mut self) {
        SPREAD.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Rows {
    /// None if that would be too many.
    fn new(cells: usize) -> Option<Box<Self>> {
        let rows = (2 * std::thread::available_parallelism().map_or(2, usize::from)).next_power_of_two().clamp(4, 16);
        let lines_of_row = cells.div_ceil(LINE);
        if rows * lines_of_row * LINE > MOST_CELLS {
            return None;
        }
        SPREAD.try_update(Ordering::Relaxed, Ordering::Relaxed, |spread| (spread < MOST).then_some(spread + 1)).ok()?;
        let lines = (0..rows * lines_of_row).map(|_| CachePadded::default()).collect();
        Some(Box::new(Self { lines, lines_of_row, mask: rows - 1 }))
    }

    #[inline]
    fn cell(&self, row: usize, cell: usize) -> Option<&AtomicU64> {
        self.lines.get((row & self.mask) * self.lines_of_row + cell / LINE)?.get(cell % LINE)
    }
}

/// The row of the calling thread.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    rows: &'a Rows,
    row: usize,
}

impl<'a> Row<'a> {
    #[inline]
    pub(crate) fn cell(self, cell: usize) -> Option<&'a AtomicU64> {
        self.rows.cell(self.row, cell)
    }
}

impl Spread {
    /// The calling thread's row, if there are any.
    #[inline]
    pub(crate) fn row(&self) -> Option<Row<'_>> {
        let rows = self.rows.get()?.as_deref()?;
        Some(Row { rows, row: PLACE.with(Cell::get) })
    }

    /// The calling thread has met another one at the one cell; `cells`: how many a row has.
    #[cold]
    pub(crate) fn meet(&self, cells: usize) {
        if self.meetings.fetch_add(1, Ordering::Relaxed) == MEETINGS {
            self.rows.get_or_init(|| Rows::new(cells));
        }
    }

    /// This cell of every row.
    pub(crate) fn cells(&self, cell: usize) -> impl Iterator<Item = &AtomicU64> {
        let rows = self.rows.get().and_then(Option::as_deref);
        rows.into_iter().flat_map(move |rows| (0..=rows.mask).filter_map(move |row| rows.cell(row, cell)))
    }

    /// All cells are zero.
    pub(crate) fn restart(&self) {
        for line in self.rows.get().and_then(Option::as_deref).into_iter().flat_map(|rows| &rows.lines) {
            line.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
        }
    }
}

thread_local! {
    /// Which row the thread writes to.
    static PLACE: Cell<usize> = Cell::new(next_place());
}

fn next_place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The calling thread has met another one in its row: it takes another.
#[cold]
fn move_on() {
    PLACE.with(|place| place.set(next_place()));
}

/// Changes a cell; false if another thread was in between at first.
#[inline]
fn change(cell: &AtomicU64, to: impl Fn(u64) -> u64) -> bool {
    let current = cell.load(Ordering::Relaxed);
    match cell.compare_exchange(current, to(current), Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => true,
        Err(_) => {
            cell.update(Ordering::Relaxed, Ordering::Relaxed, to);
            false
        }
    }
}

/// Adds to one cell of a sum that is not spread; false if another thread was in between.
#[inline]
pub(crate) fn add(cell: &AtomicU64, value: u64) -> bool {
    change(cell, |current| current.wrapping_add(value))
}

/// As [`add`], for the bits of an `f64`.
#[inline]
pub(crate) fn add_float(cell: &AtomicU64, value: f64) -> bool {
    change(cell, |current| (f64::from_bits(current) + value).to_bits())
}

impl Row<'_> {
    #[inline]
    pub(crate) fn add(self, cell: usize, value: u64) {
        if self.cell(cell).is_some_and(|cell| !add(cell, value)) {
            move_on();
        }
    }

    #[inline]
    pub(crate) fn add_float(self, cell: usize, value: f64) {
        if self.cell(cell).is_some_and(|cell| !add_float(cell, value)) {
            move_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_spread_only_where_threads_meet_again_and_again() {
        let spread = Spread::default();
        for _ in 0..MEETINGS {
            assert!(spread.row().is_none());
            spread.meet(3);
        }
        assert!(spread.row().is_none());
        spread.meet(3);
        let row = spread.row().unwrap();
        row.add(0, 7);
        row.add_float(2, 0.5);
        assert_eq!(spread.cells(0).map(|cell| cell.load(Ordering::Relaxed)).sum::<u64>(), 7);
        assert_eq!(spread.cells(2).map(|cell| f64::from_bits(cell.load(Ordering::Relaxed))).sum::<f64>(), 0.5);
        spread.restart();
        assert!(spread.cells(0).all(|cell| cell.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn threads_that_meet_in_a_row_move_on_and_no_cell_is_in_two_rows() {
        let rows = Rows::new(LINE + 1).unwrap();
        let mut addresses: Vec<_> = (0..=rows.mask)
            .flat_map(|row| [0, LINE].map(|cell| std::ptr::from_ref(rows.cell(row, cell).unwrap()).addr()))
            .collect();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= 64), "{addresses:?}");
        let before = PLACE.with(Cell::get);
        move_on();
        assert_ne!(before, PLACE.with(Cell::get));
    }

    #[test]
    fn memory_is_bounded() {
        assert!(Rows::new(MOST_CELLS).is_none(), "a histogram of very many buckets stays as it is");
    }
}
