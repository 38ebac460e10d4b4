//! Timers of keyed processing, in event time and in processing time.
//!
//! Invariant: the queues name a slot at a time exactly where that slot's timers have that time.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::engine::RestoreError;
use super::slots::Slots;

/// Which time a timer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Clock {
    /// It is due as the watermark reaches it.
    Event,
    /// It is due as the processing time reaches it.
    Processing,
}

/// The timers of one key, in the form in which they are state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTimers {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    event: BTreeSet<i64>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    processing: BTreeSet<i64>,
}

impl KeyTimers {
    /// The times at which timers of this clock are set.
    pub fn of(&self, clock: Clock) -> &BTreeSet<i64> {
        match clock {
            Clock::Event => &self.event,
            Clock::Processing => &self.processing,
        }
    }

    fn of_mut(&mut self, clock: Clock) -> &mut BTreeSet<i64> {
        match clock {
            Clock::Event => &mut self.event,
            Clock::Processing => &mut self.processing,
        }
    }

    fn is_empty(&self) -> bool {
        self.event.is_empty() && self.processing.is_empty()
    }
}

/// The timers of all keys of one task: a state machine without a clock of its own.
///
/// A key has a timer at a time once, however often it is set. A timer is gone as it is [popped](Self::pop); keys without
/// timers take no memory. After a restore, timers whose time has come meanwhile are due at once.
///
/// ```
/// use topo_core::window::{Clock, Timers};
///
/// let mut timers = Timers::new();
/// timers.set(Clock::Event, &"key", 20);
/// assert!(timers.set(Clock::Event, &"key", 10));
/// assert!(!timers.set(Clock::Event, &"key", 10));
/// // One that is set while others are popped is popped in its turn.
/// assert_eq!(timers.pop(Clock::Event, 15), Some(("key", 10)));
/// timers.set(Clock::Event, &"key", 12);
/// assert_eq!(timers.pop(Clock::Event, 15), Some(("key", 12)));
/// assert_eq!(timers.pop(Clock::Event, 15), None);
/// ```
pub struct Timers<K> {
    slots: Slots<K, KeyTimers>,
    event: BTreeSet<(i64, u32)>,
    processing: BTreeSet<(i64, u32)>,
}

impl<K: Hash + Eq + Clone> Timers<K> {
    /// None.
    pub fn new() -> Self {
        Self { slots: Slots::new(), event: BTreeSet::new(), processing: BTreeSet::new() }
    }

    fn queue(&mut self, clock: Clock) -> &mut BTreeSet<(i64, u32)> {
        match clock {
            Clock::Event => &mut self.event,
            Clock::Processing => &mut self.processing,
        }
    }

    /// Sets a timer of `key` at `at`, in milliseconds. `false` if it was set already.
    pub fn set(&mut self, clock: Clock, key: &K, at: i64) -> bool {
        let number = match self.slots.find(key) {
            Some(number) => number,
            None => self.slots.insert(key.clone(), KeyTimers::default(), false),
        };
        let new = self.queue(clock).insert((at, number));
        if new && let Some(slot) = self.slots.get_mut(number) {
            slot.entry.of_mut(clock).insert(at);
            self.slots.touch(number);
        }
        new
    }

    /// Deletes the timer of `key` at `at`. `false` if there is none.
    pub fn delete(&mut self, clock: Clock, key: &K, at: i64) -> bool {
        let Some(number) = self.slots.find(key) else { return false };
        let was = self.queue(clock).remove(&(at, number));
        if was {
            self.unset(clock, number, at);
        }
        was
    }

    /// Takes out the earliest timer that is due at `until`, with its key; `None` if none is.
    pub fn pop(&mut self, clock: Clock, until: i64) -> Option<(K, i64)> {
        let (at, number) = *self.queue(clock).first().filter(|(at, _)| *at <= until)?;
        self.queue(clock).remove(&(at, number));
        let key = self.slots.get(number)?.key.clone();
        self.unset(clock, number, at);
        Some((key, at))
    }

    fn unset(&mut self, clock: Clock, number: u32, at: i64) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.entry.of_mut(clock).remove(&at);
        if slot.entry.is_empty() {
            self.slots.remove(number);
        } else {
            self.slots.touch(number);
        }
    }

    /// When the next timer of this clock is due.
    pub fn next(&self, clock: Clock) -> Option<i64> {
        let queue = if clock == Clock::Event { &self.event } else { &self.processing };
        queue.first().map(|(at, _)| *at)
    }

    /// Takes in the timers of a key.
    ///
    /// # Errors
    /// If the key is known.
    pub fn restore(&mut self, key: K, timers: KeyTimers) -> Result<(), RestoreError> {
        if self.slots.find(&key).is_some() {
            return Err(RestoreError::Twice);
        }
        if timers.is_empty() {
            return Ok(());
        }
        let KeyTimers { event, processing } = timers.clone();
        let number = self.slots.insert(key, timers, true);
        self.event.extend(event.into_iter().map(|at| (at, number)));
        self.processing.extend(processing.into_iter().map(|at| (at, number)));
        Ok(())
    }

    /// Names each key whose timers changed since the last call, once: with its timers, or with `None` where none is left.
    ///
    /// They count as written out from then on, so whoever calls this keeps them until they are.
    pub fn take_changes(&mut self, each: impl FnMut(&K, Option<&KeyTimers>)) {
        self.slots.take_changes(each, |_| 0);
    }

    /// Whether [`take_changes`](Self::take_changes) would name any key.
    pub fn has_changes(&self) -> bool {
        self.slots.changed()
    }

    /// The timers of a key, if it has any.
    pub fn get(&self, key: &K) -> Option<&KeyTimers> {
        Some(&self.slots.get(self.slots.find(key)?)?.entry)
    }

    /// How many keys have timers.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no timer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq + Clone> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Timers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("event", &self.event.len())
            .field("processing", &self.processing.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a sorted set of (time, key), with the timers written out and read back in the middle of it.
        #[test]
        fn timers_are_a_set_that_survives(steps in prop::collection::vec((0..5u8, 0..4u8, -5..20i64, any::<bool>()), 0..200)) {
            let mut timers = Timers::new();
            let mut model = [BTreeSet::new(), BTreeSet::new()];
            let mut stored: BTreeMap<u8, KeyTimers> = BTreeMap::new();
            for (what, key, at, event) in steps {
                let clock = if event { Clock::Event } else { Clock::Processing };
                let set = &mut model[usize::from(event)];
                match what {
                    0 | 1 => prop_assert_eq!(timers.set(clock, &key, at), set.insert((at, key))),
                    2 => prop_assert_eq!(timers.delete(clock, &key, at), set.remove(&(at, key))),
                    3 => while let Some((key, time)) = timers.pop(clock, at) {
                        prop_assert_eq!(Some(time), set.first().map(|(first, _)| *first));
                        prop_assert!(time <= at && set.remove(&(time, key)));
                    },
                    _ => {
                        timers.take_changes(|key, timers| match timers {
                            Some(timers) => drop(stored.insert(*key, timers.clone())),
                            None => drop(stored.remove(key)),
                        });
                        prop_assert!(!timers.has_changes());
                        let mut next = Timers::new();
                        for (key, timers) in &stored {
                            let bytes = rmp_serde::to_vec_named(timers).unwrap();
                            next.restore(*key, rmp_serde::from_slice(&bytes).unwrap()).unwrap();
                        }
                        timers = next;
                    }
                }
                let set = &model[usize::from(event)];
                if what == 3 {
                    prop_assert!(set.first().is_none_or(|(first, _)| *first > at));
                }
                prop_assert_eq!(timers.next(clock), set.first().map(|(first, _)| *first));
                let keys: BTreeSet<u8> = model.iter().flatten().map(|(_, key)| *key).collect();
                prop_assert_eq!(timers.len(), keys.len());
            }
        }
    }
}
