//! Changes on their way from a store to its changelog and its disk, back, and from a changelog into a store.
//!
//! Invariant: a flush that failed leaves nothing behind but what the changelog may have heard of: whatever was changed is
//! still to be flushed, and whatever may have been told of is told of again when it is removed.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::cache::{Cache, SLOT_BYTES};
use super::changelog::{key_form, value_form};
use super::error::StateError;
use super::expiry::Expiry;
use super::key_group::key_group;
use super::slot::{Change, Slot};
use super::store::{Key, Store, count, form_bytes, weigh};
use crate::tuple::Tuple;

/// A change that is being flushed.
#[derive(Debug)]
pub(super) struct Flushing<K, V> {
    pub(super) change: Change<K, V>,
    /// The key's and the value's forms, for the disk.
    pub(super) form: Option<(Bytes, Option<Bytes>)>,
    /// How long they are; 0 where the key was removed, or nobody keeps it.
    pub(super) form_bytes: u32,
    pub(super) written_ms: i64,
    pub(super) has_value: bool,
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

/// A change that a changelog holds.
#[derive(Debug)]
pub(crate) struct Restored<K, V> {
    pub(crate) key: K,
    pub(crate) key_form: Bytes,
    /// The value and its form; `None` where the key was removed.
    pub(crate) value: Option<(V, Bytes)>,
    pub(crate) written_ms: i64,
}

impl<K: Key, V: Tuple> Store<K, V> {
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
                forms.push((0, None));
                continue;
            }
            let group = key_group(key);
            let key = key_form(&self.place, group, key)?;
            let value = value.map(|value| value_form(&self.place, value)).transpose()?;
            let bytes = value.as_ref().map_or(0, |value| form_bytes(key.len(), value.len()));
            if is_kept {
                let written_ms = self.ttl_ms.and(slot).map(|slot| slot.written_ms);
                records.push(Changed { group, key: key.clone(), value: value.clone(), written_ms });
            }
            forms.push((bytes, self.disk.is_some().then_some((key, value))));
        }
        for (change, (form_bytes, form)) in self.changed.drain(..).zip(forms) {
            let Some(slot) = self.slots.get_mut(&change.key) else { continue };
            let has_value = slot.value.is_some();
            count(&mut self.len, &self.place, slot, has_value);
            (slot.is_dirty, slot.is_flushing) = (false, true);
            // Whether or not it arrives, it may have.
            slot.is_told |= has_value;
            let written_ms = slot.written_ms;
            self.flushing.push(Flushing { change, form, form_bytes, written_ms, has_value });
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
        for Flushing { change, form, form_bytes, has_value, .. } in self.flushing.drain(..) {
            let Some(slot) = self.slots.get_mut(&change.key) else { continue };
            weigh(&mut self.form_bytes, &self.place, slot, form_bytes);
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
        self.set_size(0, 0);
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
        for Restored { key, key_form, value, written_ms } in changes {
            match value {
                Some((value, form)) => {
                    let written_ms = if self.ttl_ms.is_some() { written_ms } else { 0 };
                    let form_bytes = form_bytes(key_form.len(), form.len());
                    let mut slot = Slot { form_bytes, ..Slot::restored(value, written_ms) };
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
        let (len, form_bytes) = match &self.disk {
            Some((table, _)) => table.size()?,
            None => {
                let bytes = self.slots.values().map(|slot| u64::from(slot.form_bytes)).sum();
                (self.slots.len() as u64, bytes)
            }
        };
        self.set_size(len, form_bytes);
        Ok(())
    }

    fn set_size(&mut self, len: u64, form_bytes: u64) {
        (self.len, self.form_bytes) = (len, form_bytes);
        self.place.len.store(len, Ordering::Relaxed);
        self.place.form_bytes.store(form_bytes, Ordering::Relaxed);
    }
}
