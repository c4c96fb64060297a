//! What is the same for every use of a callsite: bytes, made once a thread; whether its fields repeat a name, and whether one
//! has a name that stands for a secret, or that a line cannot have. Caller threads.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use tracing_core::Metadata;

use crate::{json, redaction};

/// What sets a callsite apart from most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Special {
    /// Two fields have one name.
    pub(crate) repeats: bool,
    /// A field has a name that stands for a secret.
    pub(crate) redacts: bool,
    /// A field has a name that cannot stand in a line as it is.
    pub(crate) renames: bool,
}

/// Whether any callsite is special: many programs have none.
static ANY_SPECIAL: AtomicBool = AtomicBool::new(false);
/// A bit for each special callsite, by its address; others may share it.
static MAY_BE_SPECIAL: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// By their metadata's addresses.
static SPECIAL: RwLock<Option<HashMap<usize, Special>>> = RwLock::new(None);
/// Counted on when callsites are to be judged anew.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

const WORDS: usize = 64;

/// A callsite comes into use, or is judged anew.
pub(crate) fn register(callsite: &Metadata<'_>) {
    let mut names = HashSet::new();
    let mut special = Special::default();
    for field in callsite.fields() {
        special.repeats |= !names.insert(field.name());
        special.redacts |= redaction::is_redacted(field.name());
        // An event's message is the line's own, no field.
        let is_message = callsite.is_event() && field.name() == "message";
        special.renames |= !is_message && !json::is_plain_name(field.name());
    }
    let address = std::ptr::from_ref(callsite).addr();
    if special == Special::default() {
        if ANY_SPECIAL.load(Ordering::Relaxed)
            && let Some(known) = SPECIAL.write().as_mut()
        {
            known.remove(&address);
        }
        return;
    }
    SPECIAL.write().get_or_insert_default().insert(address, special);
    let (word, bit) = place_of(address);
    if let Some(word) = MAY_BE_SPECIAL.get(word) {
        word.fetch_or(bit, Ordering::Release);
    }
    ANY_SPECIAL.store(true, Ordering::Release);
}

/// Metadata is larger than 64 bytes: the lowest bits say little.
#[inline]
fn place_of(address: usize) -> (usize, u64) {
    let mixed = (address >> 4) ^ (address >> 16);
    ((mixed >> 6) % WORDS, 1 << (mixed & 63))
}

/// What sets this callsite apart; `None`: nothing.
#[inline]
pub(crate) fn special(callsite: &Metadata<'_>) -> Option<Special> {
    if !ANY_SPECIAL.load(Ordering::Relaxed) {
        return None;
    }
    let address = std::ptr::from_ref(callsite).addr();
    let (word, bit) = place_of(address);
    if MAY_BE_SPECIAL.get(word)?.load(Ordering::Relaxed) & bit == 0 {
        return None;
    }
    look_up(address)
}

#[cold]
fn look_up(callsite: usize) -> Option<Special> {
    SPECIAL.read().as_ref()?.get(&callsite).copied()
}

/// A bit for each callsite of spans that have lines, by its address; others may share it.
static HAS_LINES: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// A span of this callsite has lines: others probably have, too.
#[cold]
pub(crate) fn expect_lines(callsite: &Metadata<'_>) {
    let (word, bit) = place_of(std::ptr::from_ref(callsite).addr());
    if let Some(word) = HAS_LINES.get(word) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Whether a span of this callsite will probably have lines.
#[inline]
pub(crate) fn expects_lines(callsite: &Metadata<'_>) -> bool {
    let (word, bit) = place_of(std::ptr::from_ref(callsite).addr());
    HAS_LINES.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
}

/// What threads have seen of callsites counts no more.
pub(crate) fn forget() {
    GENERATION.fetch_add(1, Ordering::Release);
}

const SEEN: usize = 128;

thread_local! {
    /// Callsites that this thread knows to be judged, and of which generation.
    static SEEN_CALLSITES: [Cell<(usize, usize)>; SEEN] = const { [const { Cell::new((0, 0)) }; SEEN] };
}

/// Judges a callsite that may be in use before it is registered: that happens while another thread registers it. Such uses ask
/// whether the callsite is enabled.
#[inline]
pub(crate) fn ensure_registered(callsite: &Metadata<'_>) {
    let seen = (std::ptr::from_ref(callsite).addr(), GENERATION.load(Ordering::Acquire));
    let known = SEEN_CALLSITES.try_with(|places| {
        let place = places.get(((seen.0 >> 4) ^ (seen.0 >> 12)) % SEEN)?;
        (place.replace(seen) == seen).then_some(())
    });
    if !matches!(known, Ok(Some(()))) {
        register(callsite);
    }
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
        // As above.
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
