//! The last offset of each key, in bounded memory.
//!
//! Keys are known by 128 bits of a keyed hash, so that nobody can choose keys that are taken for each other.
//! Invariant: at most four fifths of the slots are taken, so that a search ends; an offset never falls.

use std::hash::{BuildHasher, RandomState};

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: [u64; 2],
    /// The key's last offset and one more; 0 where there is no key.
    end: i64,
}

#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    keys: usize,
    hashers: [RandomState; 2],
}

impl OffsetMap {
    /// Room for so many keys, or for as many as `max_bytes` hold.
    pub(super) fn new(keys: usize, max_bytes: usize) -> Self {
        let most = (max_bytes / size_of::<Slot>()).max(8);
        let slots = vec![Slot::default(); (keys.saturating_add(1).saturating_mul(5) / 4).clamp(8, most)];
        Self { slots, keys: 0, hashers: [RandomState::new(), RandomState::new()] }
    }

    /// How many more keys there is room for.
    pub(super) fn room(&self) -> usize {
        (self.slots.len() / 5 * 4).saturating_sub(self.keys)
    }

    /// Makes room for so many more keys, whatever the bound was.
    pub(super) fn reserve(&mut self, keys: usize) {
        if self.room() >= keys {
            return;
        }
        let wanted = (self.keys + keys + 1) / 4 * 5 + 10;
        let before = std::mem::replace(&mut self.slots, vec![Slot::default(); wanted]);
        for slot in before.into_iter().filter(|slot| slot.end > 0) {
            let at = self.search(slot.hash);
            self.slots[at] = slot;
        }
    }

    /// Notes a record of `key`; there must be room.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) {
        let hash = self.hash(key);
        let at = self.search(hash);
        self.keys += usize::from(self.slots[at].end == 0);
        self.slots[at] = Slot { hash, end: self.slots[at].end.max(offset + 1) };
    }

    /// The last offset noted of `key`.
    pub(super) fn last(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots[self.search(self.hash(key))];
        (slot.end > 0).then_some(slot.end - 1)
    }

    /// The slot that holds a hash, or the free one where it belongs.
    fn search(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        let mut at = ((u128::from(hash[0]) * slots as u128) >> 64) as usize;
        while self.slots[at].end > 0 && self.slots[at].hash != hash {
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
        at
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_is_a_map_up_to_its_bound_and_beyond_where_that_is_asked_for() {
        let mut map = OffsetMap::new(usize::MAX, 24 * 1_000);
        assert_eq!((map.slots.len(), map.room()), (1_000, 800));
        let mut model = HashMap::new();
        let mut offset = 0;
        for round in 0..3 {
            for number in (0..800_u32).filter(|number| number % (round + 1) == 0) {
                let key = number.to_be_bytes();
                assert!(model.contains_key(&key) || map.room() > 0);
                map.put(&key, offset);
                model.insert(key, offset);
                offset += 1;
            }
        }
        assert_eq!(map.room(), 0);
        map.reserve(5_000);
        for number in 800..5_800_u32 {
            map.put(&number.to_be_bytes(), 7);
            model.insert(number.to_be_bytes(), 7);
        }
        assert!((0..5_800_u32).all(|n| map.last(&n.to_be_bytes()) == model.get(&n.to_be_bytes()).copied()));
        assert_eq!(map.last(b"another"), None);
        map.put(&0_u32.to_be_bytes(), 1);
        assert_eq!(map.last(&0_u32.to_be_bytes()), model.get(&[0; 4]).copied(), "an offset never falls");
    }

    #[test]
    fn few_keys_take_little() {
        assert_eq!(OffsetMap::new(3, usize::MAX).slots.len(), 8);
        assert!(OffsetMap::new(0, 0).room() > 0);
    }
}
