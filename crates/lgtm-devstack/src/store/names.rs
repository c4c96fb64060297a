//! Names that many items share, as small numbers to compare and count by. A name goes when its last item does.

use std::collections::HashMap;
use std::sync::Arc;

use super::size::heap;

/// A name of one [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(u32);

struct Slot {
    name: Arc<str>,
    uses: u64,
}

#[derive(Default)]
pub(crate) struct Names {
    by_name: HashMap<Arc<str>, Name>,
    slots: Vec<Slot>,
    free: Vec<Name>,
    bytes: u64,
}

impl Names {
    /// Counts one more use of a name.
    pub(super) fn take(&mut self, name: &str) -> Name {
        if let Some(known) = self.by_name.get(name).copied() {
            if let Some(slot) = self.slots.get_mut(known.0 as usize) {
                slot.uses += 1;
            }
            return known;
        }
        let shared: Arc<str> = Arc::from(name);
        self.bytes += bytes_of(name);
        let slot = Slot { name: Arc::clone(&shared), uses: 1 };
        let number = match self.free.pop() {
            Some(number) => number,
            // There are fewer names than items, and these fill memory first.
            None => Name(u32::try_from(self.slots.len()).unwrap_or(u32::MAX)),
        };
        match self.slots.get_mut(number.0 as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.by_name.insert(shared, number);
        number
    }

    /// Counts one use less.
    pub(super) fn give_back(&mut self, name: Name) {
        let Some(slot) = self.slots.get_mut(name.0 as usize) else { return };
        slot.uses = slot.uses.saturating_sub(1);
        if slot.uses == 0 && self.by_name.remove(&slot.name).is_some() {
            self.bytes -= bytes_of(&slot.name);
            slot.name = Arc::from("");
            self.free.push(name);
        }
    }

    /// Estimated memory of all names.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn get(&self, name: Name) -> &str {
        self.slots.get(name.0 as usize).map_or("", |slot| &slot.name)
    }

    /// The names in use, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Name, &str)> {
        self.by_name.iter().map(|(name, number)| (*number, name.as_ref()))
    }
}

/// The text, and its places in the two tables.
fn bytes_of(name: &str) -> u64 {
    heap(name.len() + 16) as u64 + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_while_it_is_used_and_leaves_nothing_behind() {
        let mut names = Names::default();
        let (shop, other) = (names.take("shop"), names.take("other"));
        assert_eq!((names.take("shop"), names.get(shop), names.get(other)), (shop, "shop", "other"));
        names.give_back(shop);
        assert_eq!(names.get(shop), "shop", "one use is left");
        names.give_back(shop);
        assert_eq!(names.iter().map(|(_, name)| name).collect::<Vec<_>>(), ["other"]);
        assert_eq!(names.take("third"), shop, "its place is taken again");
        names.give_back(shop);
        names.give_back(other);
        assert_eq!((names.iter().count(), names.bytes()), (0, 0));
    }
}
