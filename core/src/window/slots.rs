//! The keys of one task, each in a numbered slot, and which of them changed since they were last written out.
//!
//! Invariant: the index names every slot in use once, the free list every other; a slot in use that is dirty is listed as
//! such.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// A key with what is kept of it.
#[derive(Debug)]
pub(super) struct Slot<K, E> {
    pub(super) key: K,
    pub(super) entry: E,
    /// When it is due next as far as the deadlines know; never later than it is.
    pub(super) due: i64,
    /// Whether it is listed for early results at the next interval.
    pub(super) early: bool,
    dirty: bool,
    /// Whether it was written out, so that its end has to be, too.
    stored: bool,
    /// What it weighed when it was written out last.
    weight: u32,
}

#[derive(Debug)]
pub(super) struct Slots<K, E> {
    index: HashTable<u32>,
    hasher: RandomState,
    slots: Vec<Option<Slot<K, E>>>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    removed: Vec<K>,
    /// What all slots weigh.
    weight: u64,
}

impl<K: Hash + Eq, E> Slots<K, E> {
    pub(super) fn new() -> Self {
        Self {
            index: HashTable::new(),
            hasher: RandomState::default(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            removed: Vec::new(),
            weight: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        let is_it = |slot: &u32| self.get(*slot).is_some_and(|slot| slot.key == *key);
        self.index.find(self.hasher.hash_one(key), is_it).copied()
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Slot<K, E>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot<K, E>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a key that is not there. `stored` says that it comes from what was written out.
    pub(super) fn insert(&mut self, key: K, entry: E, stored: bool) -> u32 {
        let hash = self.hasher.hash_one(&key);
        let slot = Slot { key, entry, due: i64::MAX, early: false, dirty: false, stored, weight: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = Some(slot);
                number
            }
            None => {
                self.slots.push(Some(slot));
                // Four thousand million keys do not fit into the memory of one task.
                (self.slots.len() - 1) as u32
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |slot: &u32| slots[*slot as usize].as_ref().map_or(0, |slot| hasher.hash_one(&slot.key));
        self.index.insert_unique(hash, number, rehash);
        number
    }

    /// Says that a slot's entry is not as it was written out.
    #[inline]
    pub(super) fn touch(&mut self, slot: u32) {
        if let Some(touched) = self.slots.get_mut(slot as usize).and_then(Option::as_mut)
            && !touched.dirty
        {
            touched.dirty = true;
            self.dirty.push(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(gone) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.weight -= u64::from(gone.weight);
        if let Ok(found) = self.index.find_entry(self.hasher.hash_one(&gone.key), |other| *other == slot) {
            found.remove();
        }
        self.free.push(slot);
        if gone.stored {
            self.removed.push(gone.key);
        }
    }

    /// The slots in use, by number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<K, E> {
        let used: Vec<u32> =
            (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].is_some()).collect();
        used.into_iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<K, E>> {
        self.slots.iter().flatten()
    }

    /// Whether anything is to be written out.
    pub(super) fn changed(&self) -> bool {
        !self.dirty.is_empty() || !self.removed.is_empty()
    }

    /// What all slots weigh, each as it was when it was weighed last.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Takes in what a slot weighs.
    pub(super) fn weigh(&mut self, slot: u32, weight: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) {
            let before = std::mem::replace(&mut slot.weight, weight);
            self.weight = self.weight + u64::from(weight) - u64::from(before);
        }
    }

    /// Names each key that changed since the last call, once: with its entry, or with `None` where it is gone. Has `weigh` weigh
    /// what changed.
    pub(super) fn take_changes(&mut self, mut each: impl FnMut(&K, Option<&E>), weigh: impl Fn(&E) -> u32) {
        let removed = std::mem::take(&mut self.removed);
        for key in &removed {
            // One that came back is dirty, and told of below.
            if self.find(key).is_none() {
                each(key, None);
            }
        }
        for number in std::mem::take(&mut self.dirty) {
            let Some(slot) = self.get_mut(number).filter(|slot| slot.dirty) else { continue };
            (slot.dirty, slot.stored) = (false, true);
            each(&slot.key, Some(&slot.entry));
            let weight = weigh(&slot.entry);
            self.weigh(number, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::entry::Entry;

    #[test]
    fn a_key_costs_what_the_engine_says() {
        assert!(size_of::<Option<Slot<u64, Entry<u64, u64>>>>() <= 152);
    }

    #[test]
    fn a_key_that_goes_and_comes_between_two_flushes_is_told_once() {
        let mut slots = Slots::new();
        let told = |slots: &mut Slots<&'static str, u8>| {
            let mut told = vec![];
            slots.take_changes(|key, entry| told.push((*key, entry.copied())), |entry| u32::from(*entry));
            told
        };
        let one = slots.insert("one", 1, false);
        slots.touch(one);
        slots.remove(one);
        assert_eq!(told(&mut slots), [], "nobody ever heard of it");
        let one = slots.insert("one", 2, false);
        slots.touch(one);
        assert_eq!(told(&mut slots), [("one", Some(2))]);
        slots.remove(one);
        let other = slots.insert("other", 3, false);
        slots.touch(other);
        let one = slots.insert("one", 4, false);
        slots.touch(one);
        assert_eq!(told(&mut slots), [("other", Some(3)), ("one", Some(4))]);
        assert_eq!(slots.weight(), 7);
        slots.remove(one);
        assert_eq!(slots.weight(), 3);
        assert!(slots.changed());
        assert_eq!(told(&mut slots), [("one", None)]);
        assert!(!slots.changed());
    }
}
