//! Estimates of memory, as a usual allocator takes it: a limit in bytes means little if what is held takes twice as much.

use super::Labels;

/// What a piece of the heap takes: its length and the allocator's own, in steps of 16 bytes.
pub(crate) fn heap(length: usize) -> usize {
    if length == 0 { 0 } else { (length + 8).next_multiple_of(16).max(32) }
}

/// A node of a map of texts, with room for eleven pairs.
const NODE: usize = 11 * 48 + 32;

/// What a set of labels takes beside its own place: full nodes, as a map has that is made of sorted pairs.
pub(crate) fn labels_size(labels: &Labels) -> usize {
    let texts: usize = labels.iter().map(|(name, value)| heap(name.len()) + heap(value.len())).sum();
    labels.len().div_ceil(11) * NODE + texts
}
