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

use bytes::Bytes;
use foldhash::fast::FixedState;
use serde::Serialize;

use super::cache::{Cache, SLOT_BYTES};
use super::changelog::{key_form, value_form};
use super::disk::DiskTable;
use super::error::StateError;
use super::expiry::Expiry;
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

/// A change that is being flushed.
#[derive(Debug)]
struct Flushing<K, V> {
    change: Change<K, V>,
    /// The key's and the value's forms, for the disk.
    form: Option<(Bytes, Option<Bytes>)>,
    written_ms: i64,
    has_value: bool,
}

/// A change in the form that the changelog keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) group: u8,
    pub(crate) key: Bytes,
    /// `None` where the key was removed.
    pub(crate) value: Option<Bytes>,
    /// When it was written, where that matters.
    pub(crate) written_ms: Option<i64>,
}

/// One task's values by key, as [`State::lock`](super::State::lock) gives them.
pub struct Store<K, V> {
    place: Arc<Place>,
    slots: HashMap<K, Slot<V>, FixedState>,
    changed: Vec<Change<K, V>>,
    flushing: Vec<Flushing<K, V>>,
    ttl_ms: Option<i64>,
    expiry: Expiry<K>,
    disk: Option<(DiskTable, Cache<K>)>,
    len: u64,
}

impl<K: Key, V: Tuple> Store<K, V> {
    pub(crate) fn new(place: Arc<Place>, ttl_ms: Option<i64>, disk: Option<(DiskTable, usize)>) -> Self {
        let slots = HashMap::with_hasher(FixedState::with_seed(place.seed));
        let disk = disk.map(|(table, budget)| (table, Cache::new(budget)));
        let (changed, flushing, expiry) = (Vec::new(), Vec::new(), Expiry::new());
        Self { place, slots, changed, flushing, ttl_ms, expiry, disk, len: 0 }
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
        if let Some((owned, value, written_ms, bytes)) = table.get::<K, V>(&form)? {
            let bytes = SLOT_BYTES + 2 * form.len() + bytes;
            cache.hand.push_back(owned.clone());
            cache.used += bytes;
            self.slots.insert(owned, Slot { bytes, ..Slot::restored(value, written_ms) });
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
    fn make_room(&mut self) {
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
    fn expire(&mut self) -> Result<(), StateError> {
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

    /// Whether all that was changed is flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.changed.is_empty() && self.flushing.is_empty()
    }

    /// Begins a flush: gives what was changed since the last one began, for the changelog. Until
    /// [`end_flush`](Self::end_flush), changes go on beside it. One that was begun and not ended has failed.
    pub(crate) fn begin_flush(&mut self) -> Result<Vec<Changed>, StateError> {
        if !self.flushing.is_empty() {
            self.end_flush(false)?;
        }
        self.expire()?;
        let is_kept = self.place.changelog.is_some();
        let mut records = Vec::new();
        let mut forms = Vec::with_capacity(self.changed.len());
        for Change { key, .. } in &self.changed {
            let slot = self.slots.get(key);
            let value = slot.and_then(|slot| slot.value.as_ref());
            // Nobody needs to hear that something is gone that was never told of.
            let is_news = value.is_some() || slot.is_some_and(|slot| slot.is_told);
            if !(is_kept || self.disk.is_some()) || !is_news {
                forms.push(None);
                continue;
            }
            let group = key_group(key);
            let key = key_form(&self.place, group, key)?;
            let value = value.map(|value| value_form(&self.place, value)).transpose()?;
            if is_kept {
                let written_ms = self.ttl_ms.and(slot).map(|slot| slot.written_ms);
                records.push(Changed { group, key: key.clone(), value: value.clone(), written_ms });
            }
            forms.push(self.disk.is_some().then_some((key, value)));
        }
        for (change, form) in self.changed.drain(..).zip(forms) {
            let Some(slot) = self.slots.get_mut(&change.key) else { continue };
            let has_value = slot.value.is_some();
            count(&mut self.len, &self.place, slot, has_value);
            (slot.is_dirty, slot.is_flushing) = (false, true);
            // Whether or not it arrives, it may have.
            slot.is_told |= has_value;
            self.flushing.push(Flushing { change, form, written_ms: slot.written_ms, has_value });
        }
        Ok(records)
    }

    /// Ends a flush that was begun: all of it is in the changelog, or it is to be flushed again.
    pub(crate) fn end_flush(&mut self, is_done: bool) -> Result<(), StateError> {
        if !is_done {
            let newer = std::mem::take(&mut self.changed);
            let mut older = Vec::with_capacity(self.flushing.len() + newer.len());
            let slots = &mut self.slots;
            // What was changed again meanwhile is one change with what was before both.
            let newer =
                newer.into_iter().filter(|one| slots.get(&one.key).is_some_and(|slot| !slot.is_flushing));
            let newer: Vec<_> = newer.collect();
            for Flushing { change, .. } in self.flushing.drain(..) {
                if let Some(slot) = slots.get_mut(&change.key) {
                    (slot.is_dirty, slot.is_flushing) = (true, false);
                    older.push(change);
                }
            }
            older.extend(newer);
            self.changed = older;
            return Ok(());
        }
        if let Some((table, _)) = &self.disk {
            let forms = self.flushing.iter().filter_map(|one| {
                let (key, value) = one.form.as_ref()?;
                Some((key, value.as_ref(), one.written_ms))
            });
            table.write(forms)?;
        }
        for Flushing { change, form, has_value, .. } in self.flushing.drain(..) {
            let Some(slot) = self.slots.get_mut(&change.key) else { continue };
            slot.is_flushing = false;
            slot.is_told = has_value;
            if let (Some((_, cache)), Some((key, Some(value)))) = (&mut self.disk, form)
                && !slot.is_dirty
            {
                let bytes = SLOT_BYTES + 2 * key.len() + value.len();
                cache.used = cache.used + bytes - slot.bytes;
                slot.bytes = bytes;
            }
            if slot.is_void() {
                if let Some((_, cache)) = &mut self.disk {
                    cache.used -= slot.bytes;
                }
                self.slots.remove(&change.key);
            }
        }
        // Keys that came and went are in the hand more than once.
        if let Some((_, cache)) = &mut self.disk
            && cache.hand.len() > 2 * self.slots.len() + 1_024
        {
            cache.hand = self.slots.keys().cloned().collect();
        }
        self.place.wants_flush.store(false, Ordering::Relaxed);
        self.make_room();
        Ok(())
    }

    /// Takes back all that was changed since the last flush that was done. `false` where nobody knows what was before: the
    /// changelog does.
    pub(crate) fn discard_unflushed(&mut self) -> bool {
        if self.disk.is_none() && !self.place.keeps_undo {
            return self.changed.is_empty() && self.flushing.is_empty();
        }
        let older = self.flushing.drain(..).map(|one| one.change);
        let changes: Vec<_> = older.chain(self.changed.drain(..)).collect();
        for Change { key, before, was_counted } in changes.into_iter().rev() {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            (slot.is_dirty, slot.is_flushing) = (false, false);
            count(&mut self.len, &self.place, slot, was_counted);
            match before {
                Some((value, written_ms)) => {
                    (slot.value, slot.written_ms) = (value, written_ms);
                    if let Some(ttl_ms) = self.ttl_ms
                        && slot.value.is_some()
                        && !std::mem::replace(&mut slot.is_watched, true)
                    {
                        self.expiry.watch(key.clone(), written_ms.saturating_add(ttl_ms), ttl_ms);
                    }
                    if slot.is_void() {
                        self.slots.remove(&key);
                    }
                }
                // An older change of the same key needs its slot no more: its count is right after this.
                None => {
                    let (bytes, is_counted) = (slot.bytes, slot.is_counted);
                    if let Some((_, cache)) = &mut self.disk {
                        cache.used -= bytes;
                    }
                    slot.bytes = 0;
                    slot.value = None;
                    slot.is_counted = is_counted;
                }
            }
        }
        if self.disk.is_some() {
            self.slots.retain(|_, slot| slot.value.is_some());
            self.place.wants_flush.store(false, Ordering::Relaxed);
        }
        true
    }

    /// Forgets everything, to be restored.
    pub(crate) fn clear(&mut self) -> Result<(), StateError> {
        self.slots.clear();
        self.changed.clear();
        self.flushing.clear();
        self.expiry = Expiry::new();
        if let Some((table, cache)) = &mut self.disk {
            table.clear()?;
            *cache = Cache::new(cache.budget);
        }
        self.set_len(0);
        Ok(())
    }

    /// Takes over changes that the changelog holds, in order.
    pub(crate) fn restore(&mut self, changes: Vec<Restored<K, V>>) -> Result<(), StateError> {
        if let Some((table, _)) = &self.disk {
            let forms = changes.iter().map(|one| {
                let value = one.value.as_ref().map(|(_, form)| form);
                (&one.key_form, value, one.written_ms)
            });
            return table.write(forms);
        }
        for Restored { key, value, written_ms, .. } in changes {
            match value {
                Some((value, _)) => {
                    let written_ms = if self.ttl_ms.is_some() { written_ms } else { 0 };
                    let mut slot = Slot::restored(value, written_ms);
                    if let Some(ttl_ms) = self.ttl_ms {
                        slot.is_watched = true;
                        self.expiry.watch(key.clone(), written_ms.saturating_add(ttl_ms), ttl_ms);
                    }
                    self.slots.insert(key, slot);
                }
                None => drop(self.slots.remove(&key)),
            }
        }
        Ok(())
    }

    /// All that the changelog holds was taken over.
    pub(crate) fn end_restore(&mut self) -> Result<(), StateError> {
        let len = match &self.disk {
            Some((table, _)) => table.len()?,
            None => self.slots.len() as u64,
        };
        self.set_len(len);
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        self.place.len.store(len, Ordering::Relaxed);
    }

    /// Bytes of memory that the cache of a store on disk takes by its own account.
    #[cfg(test)]
    pub(crate) fn cached_bytes(&self) -> usize {
        self.disk.as_ref().map_or(0, |(_, cache)| cache.used)
    }

    #[cfg(test)]
    pub(crate) fn cached_keys(&self) -> usize {
        self.slots.len()
    }
}

/// A change that a changelog holds.
#[derive(Debug)]
pub(crate) struct Restored<K, V> {
    pub(crate) key: K,
    pub(crate) key_form: Bytes,
    /// The value and its form; `None` where the key was removed.
    pub(crate) value: Option<(V, Bytes)>,
    pub(crate) written_ms: i64,
}

/// Counts the slot among the values, or not.
fn count<V>(len: &mut u64, place: &Place, slot: &mut Slot<V>, is_counted: bool) {
    if slot.is_counted == is_counted {
        return;
    }
    slot.is_counted = is_counted;
    *len = if is_counted { *len + 1 } else { *len - 1 };
    place.len.store(*len, Ordering::Relaxed);
}

impl<K, V> std::fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("state", &self.place.state)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
