//! A handle of the store for what was saved earlier: it takes items of any time in any order, and counts what became of them.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{SignalCounts, Store};

/// What became of the items of one import, by kind: taken (`received`), there already, refused; and what had to go meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Imported {
    pub(crate) logs: SignalCounts,
    pub(crate) spans: SignalCounts,
    pub(crate) samples: SignalCounts,
    pub(crate) exemplars: SignalCounts,
    pub(crate) histograms: SignalCounts,
}

#[derive(Debug, Default)]
pub(crate) struct Import(Mutex<Imported>);

impl Import {
    pub(crate) fn counts(&self) -> Imported {
        *self.0.lock()
    }

    /// Adds what a change, made under the lock of its signal, has done.
    pub(super) fn add(&self, of: fn(&mut Imported) -> &mut SignalCounts, before: SignalCounts, after: SignalCounts) {
        let mut imported = self.0.lock();
        let counts = of(&mut imported);
        counts.received += after.received.saturating_sub(before.received);
        counts.duplicates += after.duplicates.saturating_sub(before.duplicates);
        counts.rejected += after.rejected.saturating_sub(before.rejected);
        counts.evicted += after.evicted.saturating_sub(before.evicted);
    }
}

impl Store {
    /// A handle to the same contents that takes what is old, with what will be counted of all that is stored through it.
    pub(crate) fn for_import(&self) -> (Self, Arc<Import>) {
        let import = Arc::new(Import::default());
        (Self { inner: Arc::clone(&self.inner), import: Some(Arc::clone(&import)) }, import)
    }
}
