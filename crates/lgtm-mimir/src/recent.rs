//! The handles that the calling thread's macros got last. Caller threads, each its own: a macro whose name and labels are constants
//! finds its series here, under no lock, and shares no count of references with other threads.
//!
//! A handle is found by its callsite, which is where the macro's metadata is, and given only for the very name and labels it was
//! kept for: the same memory, which the kept key holds, so that nothing else can lie there. A callsite whose labels are made anew each
//! time is marked, and looked up in the registry.

use std::cell::RefCell;
use std::ptr;

use metrics::{Counter, Gauge, Histogram, Key, Metadata};

/// Callsites that a thread remembers, a power of two. One whose slot is taken looks its key up each time.
const SLOTS: usize = 64;

#[derive(Clone)]
pub(crate) enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

struct Slot {
    /// The callsite: the address of its metadata; 0: none.
    callsite: usize,
    /// The registry's number.
    registry: u64,
    /// None if the callsite makes its keys anew.
    kept: Option<(Key, Handle)>,
}

thread_local! {
    /// Empty until the thread's first macro.
    static RECENT: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

fn index(callsite: usize) -> usize {
    (callsite as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> (usize::BITS - SLOTS.trailing_zeros())
}

/// Whether the two are the same memory.
#[inline]
fn is_same(one: &Key, other: &Key) -> bool {
    ptr::eq(one.name(), other.name()) && ptr::eq(one.labels().as_slice(), other.labels().as_slice())
}

/// What `pick` makes of the handle that this callsite got for this key; none if it is not remembered.
#[inline]
pub(crate) fn find<T>(
    registry: u64,
    key: &Key,
    metadata: &Metadata<'_>,
    pick: impl FnOnce(&Handle) -> Option<T>,
) -> Option<T> {
    let callsite = ptr::from_ref(metadata).addr();
    RECENT
        .try_with(|recent| {
            let recent = recent.try_borrow().ok()?;
            let slot =
                recent.get(index(callsite)).filter(|slot| slot.callsite == callsite && slot.registry == registry)?;
            let (kept, handle) = slot.kept.as_ref()?;
            is_same(kept, key).then(|| pick(handle))?
        })
        .ok()
        .flatten()
}

/// Remembers the handle that this callsite got, unless its slot is taken; `make` gives one that only this thread uses.
#[cold]
pub(crate) fn keep(registry: u64, key: &Key, metadata: &Metadata<'_>, make: impl FnOnce() -> Handle) {
    let callsite = ptr::from_ref(metadata).addr();
    let _ = RECENT.try_with(|recent| {
        let Ok(mut recent) = recent.try_borrow_mut() else { return };
        if recent.is_empty() {
            recent.resize_with(SLOTS, || Slot { callsite: 0, registry: 0, kept: None });
        }
        let Some(slot) = recent.get_mut(index(callsite)) else { return };
        // A registry that was made later takes the place of an earlier one.
        if slot.registry < registry {
            let kept = key.clone();
            let kept = is_same(&kept, key).then(|| (kept, make()));
            *slot = Slot { callsite, registry, kept };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{Label, Level};

    fn found(registry: u64, key: &Key, metadata: &Metadata<'_>) -> bool {
        find(registry, key, metadata, |_| Some(())).is_some()
    }

    fn handle() -> Handle {
        Handle::Counter(Counter::noop())
    }

    #[test]
    fn a_handle_is_given_for_the_very_key_it_was_kept_for() {
        static LABELS: [Label; 1] = [Label::from_static_parts("kind", "web")];
        static OTHER: [Label; 1] = [Label::from_static_parts("kind", "app")];
        let metadata = Metadata::new("here", Level::INFO, None);
        let key = Key::from_static_parts("orders_total", &LABELS);
        assert!(!found(1, &key, &metadata));
        keep(1, &key, &metadata, handle);
        assert!(found(1, &key, &metadata));
        assert!(found(1, &Key::from_static_parts("orders_total", &LABELS), &metadata), "the same constants");
        assert!(!found(1, &Key::from_static_parts("orders_total", &OTHER), &metadata));
        assert!(!found(1, &Key::from_static_name("orders_total"), &metadata));
        assert!(!found(2, &key, &metadata), "another registry");
        assert!(!found(1, &key, &Metadata::new("here", Level::INFO, None)), "another callsite");
        keep(2, &key, &metadata, handle);
        assert!(found(2, &key, &metadata) && !found(1, &key, &metadata));
    }

    #[test]
    fn keys_that_are_made_anew_are_not_kept() {
        let metadata = Metadata::new("here", Level::INFO, None);
        let key = |value: &str| Key::from_parts("orders_total", vec![Label::new("kind", value.to_owned())]);
        keep(1, &key("a"), &metadata, || panic!("no handle is made"));
        assert!(!found(1, &key("a"), &metadata));
        // Nor is it tried again at this callsite.
        keep(1, &key("b"), &metadata, || panic!("no handle is made"));
        let slot = RECENT.with_borrow(|recent| recent[index(ptr::from_ref(&metadata).addr())].kept.is_none());
        assert!(slot);
    }
}
