//! One task's part of one keyed state: its values, what was changed since the last flush, and what was before that.
//!
//! In memory it is a map. On disk the map is a cache: what is not in it is looked for there. Either way a change touches the
//! map alone; only a flush serializes, and only what was changed.
//!
//! Invariants: a key is in `changed` once exactly while its slot is dirty, and in `flushing` once exactly while its slot is
//! flushing; the disk holds what was flushed, and nothing that was not.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;
use serde::Serialize;

use super::cache::{Cache, SLOT_BYTES};
use super::changelog::key_form;
use super::disk::DiskTable;
use super::error::StateError;
use super::expiry::Expiry;
use super::flush::Flushing;
use super::key_group::key_group;
use super::place::Place;
use super::slot::{Change, Slot};
use crate::runtime::serialized_bytes;
use crate::tuple::Tuple;

/// What values are found by. Every tuple type that can be hashed and compared is a key; there is nothing to implement.
///
/// Keys that are equal must serialize alike, so a key holds no `HashMap` and no `HashSet`.
pub trait Key: Tuple + Hash + Eq {}

impl<T: Tuple + Hash + Eq> Key for T {}

/// One task's values by key, as [`State::lock`](super::State::lock) gives them.
pub struct Store<K, V> {
    pub(super) place: Arc<Place>,
    pub(super) slots: HashMap<K, Slot<V>, FixedState>,
    pub(super) changed: Vec<Change<K, V>>,
    pub(super) flushing: Vec<Flushing<K, V>>,
    pub(super) ttl_ms: Option<i64>,
    pub(super) expiry: Expiry<K>,
    pub(super) disk: Option<(DiskTable, Cache<K>)>,
    pub(super) len: u64,
    pub(super) form_bytes: u64,
}

impl<K: Key, V: Tuple> Store<K, V> {
    pub(crate) fn new(place: Arc<Place>, ttl_ms: Option<i64>, disk: Option<(DiskTable, usize)>) -> Self {
        let slots = HashMap::with_hasher(FixedState::with_seed(place.seed));
        let disk = disk.map(|(table, budget)| (table, Cache::new(budget)));
        let (changed, flushing, expiry) = (Vec::new(), Vec::new(), Expiry::new());
        Self { place, slots, changed, flushing, ttl_ms, expiry, disk, len: 0, form_bytes: 0 }
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    pub(crate) fn set_ttl(&mut self, ttl_ms: Option<i64>) {
        self.ttl_ms = ttl_ms;
    }

    /// The wall clock in milliseconds since 1970; not looked at where values live for ever.
    fn now_ms(&self) -> i64 {
        self.ttl_ms.map_or(0, |_| self.place.scheduler.clock().wall_ms())
    }

    /// What was written then or earlier has expired.
    fn oldest_ms(&self, now_ms: i64) -> i64 {
        self.ttl_ms.map_or(i64::MIN, |ttl| now_ms.saturating_sub(ttl))
    }

    /// How many values there are. Those whose time is over count until a flush drops them.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn get<Q>(&mut self, key: &Q) -> Result<Option<&V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
    {
        self.load(key)?;
        let oldest_ms = self.oldest_ms(self.now_ms());
        if self.disk.is_some()
            && let Some(slot) = self.slots.get_mut(key)
        {
            slot.is_hot = true;
        }
        Ok(self.slots.get(key).and_then(|slot| slot.live(oldest_ms)))
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn put(&mut self, key: K, value: V) -> Result<(), StateError> {
        self.change(&key, || key.clone(), |slot| *slot = Some(value))
    }

    /// Changes the value of `key` in place, from its default where there is none.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn update<Q, R>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> R) -> Result<R, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
        V: Default,
    {
        self.change(key, || key.to_owned(), |value| change(value.get_or_insert_with(V::default)))
    }

    /// Changes, sets or removes the value of `key` in place.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn modify<Q, R>(&mut self, key: &Q, change: impl FnOnce(&mut Option<V>) -> R) -> Result<R, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.change(key, || key.to_owned(), change)
    }

    /// Removes the value of `key` and gives it.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn remove<Q>(&mut self, key: &Q) -> Result<Option<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.load(key)?;
        match self.slots.get(key) {
            Some(slot) if slot.value.is_some() => self.change(key, || key.to_owned(), Option::take),
            _ => Ok(None),
        }
    }

    /// Shows every value to `see`, in no order.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn for_each(&self, mut see: impl FnMut(&K, &V)) -> Result<(), StateError> {
        let oldest_ms = self.oldest_ms(self.now_ms());
        if let Some((table, _)) = &self.disk {
            table.for_each::<K, V>(|key, value, written_ms| {
                if written_ms > oldest_ms && !self.slots.contains_key(&key) {
                    see(&key, &value);
                }
            })?;
        }
        let live = |(key, slot): (&K, &Slot<V>)| {
            if let Some(value) = slot.live(oldest_ms) {
                see(key, value);
            }
        };
        self.slots.iter().for_each(live);
        Ok(())
    }

    /// Brings what the disk has of `key` into memory.
    fn load<Q>(&mut self, key: &Q) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
    {
        if self.disk.is_none() || self.slots.contains_key(key) {
            return Ok(());
        }
        // Not after it: what is loaded is about to be used.
        self.make_room();
        let Some((table, cache)) = &mut self.disk else { return Ok(()) };
        let form = key_form(&self.place, key_group(key), key)?;
        if let Some((owned, value, written_ms, value_bytes)) = table.get::<K, V>(&form)? {
            let bytes = SLOT_BYTES + 2 * form.len() + value_bytes;
            cache.hand.push_back(owned.clone());
            cache.used += bytes;
            let form_bytes = form_bytes(form.len(), value_bytes);
            self.slots.insert(owned, Slot { bytes, form_bytes, ..Slot::restored(value, written_ms) });
        }
        Ok(())
    }

    /// Changes the value of `key`, which `own` makes one's own.
    fn change<Q, R>(
        &mut self,
        key: &Q,
        own: impl Fn() -> K,
        change: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<R, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
    {
        self.load(key)?;
        let now_ms = self.now_ms();
        if !self.slots.contains_key(key) {
            self.place.admit(key_group(key))?;
            self.slots.insert(own(), Slot::empty());
            if let Some((_, cache)) = &mut self.disk {
                cache.hand.push_back(own());
            }
        }
        Ok(self.touch(key, own, now_ms, change))
    }

    /// As [`change`](Self::change), for a key that has a slot.
    fn touch<Q, R>(
        &mut self,
        key: &Q,
        own: impl Fn() -> K,
        now_ms: i64,
        change: impl FnOnce(&mut Option<V>) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let oldest_ms = self.oldest_ms(now_ms);
        let Some(slot) = self.slots.get_mut(key) else { return change(&mut None) };
        if !slot.is_dirty {
            // The disk still has what was before; in memory there is but this copy.
            let keep = self.place.keeps_undo && self.disk.is_none();
            let before = keep.then(|| (slot.value.clone(), slot.written_ms));
            self.changed.push(Change { key: own(), before, was_counted: slot.is_counted });
            slot.is_dirty = true;
        }
        if slot.is_expired(oldest_ms) {
            slot.value = None;
        }
        slot.is_hot = true;
        slot.written_ms = now_ms;
        // Whatever `change` does, even a panic, the slot is dirty by now, and counted right at the next flush.
        let changed = change(&mut slot.value);
        count(&mut self.len, &self.place, slot, slot.value.is_some());
        if let Some((_, cache)) = &mut self.disk {
            slot.changes += 1;
            // A value may grow with each change; its size is taken ever more rarely.
            if slot.changes.is_power_of_two() {
                let bytes = SLOT_BYTES
                    + 2 * serialized_bytes(&own())
                    + slot.value.as_ref().map_or(0, serialized_bytes);
                cache.used = cache.used + bytes - slot.bytes;
                slot.bytes = bytes;
                self.make_room();
            }
        } else if let Some(ttl_ms) = self.ttl_ms
            && slot.value.is_some()
            && !slot.is_watched
        {
            slot.is_watched = true;
            self.expiry.watch(own(), now_ms.saturating_add(ttl_ms), ttl_ms);
        }
        changed
    }

    /// Forgets what the disk has too until the cache is within its budget; asks for a flush where that does not do.
    pub(super) fn make_room(&mut self) {
        let Some((_, cache)) = &mut self.disk else { return };
        if cache.used <= cache.budget || self.place.wants_flush.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..2 * cache.hand.len() {
            if cache.used <= cache.budget {
                return;
            }
            let Some(key) = cache.hand.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.is_dirty || slot.is_flushing || std::mem::take(&mut slot.is_hot) {
                cache.hand.push_back(key);
                continue;
            }
            cache.used -= slot.bytes;
            self.slots.remove(&key);
        }
        if cache.used > cache.budget {
            self.place.wants_flush.store(true, Ordering::Relaxed);
        }
    }

    /// Removes what has outlived its time: all of it in memory, a part at a time on disk.
    pub(super) fn expire(&mut self) -> Result<(), StateError> {
        let Some(ttl_ms) = self.ttl_ms else { return Ok(()) };
        let now_ms = self.now_ms();
        let oldest_ms = self.oldest_ms(now_ms);
        if let Some((table, _)) = &mut self.disk {
            for key in table.expired::<K>(oldest_ms)? {
                self.load(&key)?;
                if self.slots.get(&key).is_some_and(|slot| slot.is_expired(oldest_ms)) {
                    self.touch(&key, || key.clone(), now_ms, |value| *value = None);
                }
            }
            return Ok(());
        }
        while let Some(keys) = self.expiry.due(now_ms) {
            for key in keys {
                let Some(slot) = self.slots.get_mut(&key) else { continue };
                slot.is_watched = false;
                if slot.value.is_none() {
                    continue;
                }
                if slot.is_expired(oldest_ms) {
                    self.touch(&key, || key.clone(), now_ms, |value| *value = None);
                } else {
                    slot.is_watched = true;
                    self.expiry.watch(key, slot.written_ms.saturating_add(ttl_ms), ttl_ms);
                }
            }
        }
        Ok(())
    }

    /// Bytes of memory that the cache of a store on disk takes by its own account.
    #[cfg(all(test, feature = "fjall"))]
    pub(crate) fn cached_bytes(&self) -> usize {
        self.disk.as_ref().map_or(0, |(_, cache)| cache.used)
    }

    #[cfg(all(test, feature = "fjall"))]
    pub(crate) fn cached_keys(&self) -> usize {
        self.slots.len()
    }
}

/// Counts the slot among the values, or not.
pub(super) fn count<V>(len: &mut u64, place: &Place, slot: &mut Slot<V>, is_counted: bool) {
    if slot.is_counted == is_counted {
        return;
    }
    slot.is_counted = is_counted;
    *len = if is_counted { *len + 1 } else { *len - 1 };
    place.len.store(*len, Ordering::Relaxed);
}

/// Counts what the slot's forms take that were flushed.
pub(super) fn weigh<V>(total: &mut u64, place: &Place, slot: &mut Slot<V>, form_bytes: u32) {
    *total = *total + u64::from(form_bytes) - u64::from(slot.form_bytes);
    slot.form_bytes = form_bytes;
    place.form_bytes.store(*total, Ordering::Relaxed);
}

/// What a key and its value take together.
pub(super) fn form_bytes(key: usize, value: usize) -> u32 {
    u32::try_from(key.saturating_add(value)).unwrap_or(u32::MAX)
}

impl<K, V> std::fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("state", &self.place.state)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
