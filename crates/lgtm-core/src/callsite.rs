//! What is the same for every use of a callsite: bytes, made once a thread, and whether its fields repeat a name. Caller
//! threads.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tracing_core::Metadata;

/// Whether any callsite repeats a name: hardly any program has one.
static ANY_REPEATS: AtomicBool = AtomicBool::new(false);
/// Their metadata's addresses.
static REPEATING: RwLock<Option<HashSet<usize>>> = RwLock::new(None);

/// A callsite comes into use.
pub(crate) fn register(callsite: &'static Metadata<'static>) {
    let mut names = HashSet::new();
    if callsite.fields().iter().all(|field| names.insert(field.name())) {
        return;
    }
    REPEATING.write().get_or_insert_default().insert(std::ptr::from_ref(callsite).addr());
    ANY_REPEATS.store(true, Ordering::Release);
}

/// Whether two fields of this callsite have one name.
#[inline]
pub(crate) fn repeats_a_name(callsite: &Metadata<'_>) -> bool {
    ANY_REPEATS.load(Ordering::Relaxed) && is_registered(std::ptr::from_ref(callsite).addr())
}

#[cold]
fn is_registered(callsite: usize) -> bool {
    REPEATING.read().as_ref().is_some_and(|known| known.contains(&callsite))
}

/// Callsites remembered by a thread; others that fall on the same place take turns.
const PLACES: usize = 256;

#[derive(Default)]
struct Remembered {
    /// The address of the callsite's metadata, which lives for ever; 0: none.
    callsite: usize,
    what: u8,
    bytes: Vec<u8>,
}

thread_local! {
    static REMEMBERED: RefCell<Vec<Remembered>> = const { RefCell::new(Vec::new()) };
}

/// Shows what `make` writes for this callsite, remembered from the last time. `what` tells apart the users of one callsite.
/// `show` must not call user code.
#[inline]
pub fn remembered<R>(
    callsite: &'static Metadata<'static>,
    what: u8,
    make: impl FnOnce(&mut Vec<u8>),
    show: impl FnOnce(&[u8]) -> R,
) -> R {
    let address = std::ptr::from_ref(callsite).addr();
    let mut todo = Some((make, show));
    let shown = REMEMBERED.try_with(|places| {
        let mut places = places.try_borrow_mut().ok()?;
        if places.is_empty() {
            places.resize_with(PLACES, Remembered::default);
        }
        // Metadata is larger than 64 bytes: the lowest bits say nothing.
        let place = ((address >> 4) ^ (address >> 12) ^ (usize::from(what) << 5)) % PLACES;
        let place = places.get_mut(place)?;
        let (make, show) = todo.take()?;
        if place.callsite != address || place.what != what {
            place.bytes.clear();
            make(&mut place.bytes);
            place.callsite = address;
            place.what = what;
        }
        Some(show(&place.bytes))
    });
    match (shown, todo) {
        (Ok(Some(shown)), _) => shown,
        // The thread is ending, or is inside `show`.
        (_, Some((make, show))) => {
            let mut bytes = Vec::new();
            make(&mut bytes);
            show(&bytes)
        }
        (_, None) => unreachable!("the closures are taken only where a value is returned"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_belongs_to_callsite_and_user() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let (one, other) = (tracing::info_span!("one"), tracing::info_span!("other"));
            let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
            assert!(one.callsite() != other.callsite());
            for _ in 0..2 {
                for (callsite, what) in [(one, 0), (one, 1), (other, 0)] {
                    let expected = format!("{}{what}", callsite.name()).into_bytes();
                    remembered(
                        callsite,
                        what,
                        |bytes| bytes.extend_from_slice(&expected),
                        |bytes| assert_eq!(bytes, expected),
                    );
                }
            }
            remembered(one, 0, |_| panic!("made twice"), |bytes| assert_eq!(bytes, b"one0"));
        });
    }
}
