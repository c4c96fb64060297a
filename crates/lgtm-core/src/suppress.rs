//! Immunity from self-feeding loops: a flag on the threads that export, which makes every layer ignore them.

use std::cell::Cell;

thread_local! {
    static SUPPRESSED: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as one that exports telemetry: spans and events on it are ignored by every lgtm layer.
pub fn suppress_this_thread() {
    SUPPRESSED.with(|flag| flag.set(true));
}

/// Whether spans and events of the calling thread are ignored.
#[must_use]
#[inline]
pub fn is_suppressed() -> bool {
    SUPPRESSED.with(Cell::get)
}

/// Runs `work` with the calling thread marked as in [`suppress_this_thread`], and takes the mark back.
pub fn suppressed<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SUPPRESSED.with(|flag| flag.set(self.0));
        }
    }
    let _restore = Restore(SUPPRESSED.with(|flag| flag.replace(true)));
    work()
}
