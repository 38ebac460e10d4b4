//! All transactional ids, shared: their slots, what they take, and when they are to be ticked.
//!
//! A step, and the append of its record, happen under the lock of its transactional id, and so does every write that is part
//! of its transaction: records stand in the log in the order of the steps, and nothing is written once an end is decided. The
//! lock is never held across an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;

use super::error::TransactionError;
use super::metadata::TransactionMetadata;
use super::request::TransactionState;
use super::slot::{Slot, SlotState};
use super::transaction::{Moment, Transaction};
use crate::clock::wall_ms;
use crate::config::TransactionConfig;
use crate::partition::Partition;
use crate::timer::Timer;

/// What a transactional id takes beside its name and partitions.
const SLOT_BYTES: usize = 512;
/// What one partition of a transaction takes.
const PARTITION_BYTES: usize = 64;

/// The transactional ids of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(super) config: TransactionConfig,
    ids: DashMap<Arc<str>, Arc<Slot>>,
    pub(super) timer: Arc<Timer>,
    pub(super) started: AtomicBool,
    closed: AtomicBool,
    bytes: AtomicUsize,
    /// Where records go; known before the first transactional id has one.
    partition: OnceLock<Arc<Partition>>,
}

impl Coordinator {
    /// A coordinator that goes on with the transactional ids that were stored, where partitions know these epochs of producers.
    pub(crate) fn new(
        config: TransactionConfig,
        stored: Vec<(Arc<str>, TransactionMetadata)>,
        epochs: &HashMap<i64, i16>,
    ) -> Arc<Self> {
        let coordinator = Self {
            config,
            ids: DashMap::new(),
            timer: Arc::new(Timer::new(config.pause_tolerance)),
            started: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            partition: OnceLock::new(),
        };
        for (id, metadata) in stored {
            let known_epoch = epochs.get(&metadata.producer.producer_id).copied().unwrap_or(-1);
            let transaction = Transaction::restored(config, metadata, known_epoch, coordinator.now());
            let slot = Arc::new(Slot::new(id.clone(), transaction));
            coordinator.account(&slot, &mut slot.lock());
            coordinator.ids.insert(id, slot);
        }
        Arc::new(coordinator)
    }

    /// Says where records go.
    pub(crate) fn store_in(&self, partition: &Arc<Partition>) {
        self.partition.get_or_init(|| partition.clone());
    }

    /// Where records go, once that is said.
    pub(super) fn partition(&self) -> Option<&Arc<Partition>> {
        self.partition.get()
    }

    /// Takes no more requests, and answers those that wait.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.timer.close();
        for slot in self.slots() {
            slot.lock().answer(Err(TransactionError::Unavailable));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn now(&self) -> Moment {
        Moment { elapsed: self.timer.now(), wall_ms: wall_ms() }
    }

    /// All that there are, by name.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let mut slots: Vec<_> = self.ids.iter().map(|slot| slot.value().clone()).collect();
        slots.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        slots
    }

    /// The slot of a transactional id, where there is one.
    pub(super) fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.ids.get(id).map(|slot| slot.value().clone())
    }

    /// Does something with a transactional id that is there; `None` where there is none.
    pub(super) fn with<T>(
        &self,
        id: &str,
        step: impl FnOnce(&Arc<Slot>, &mut SlotState, Moment) -> T,
    ) -> Option<T> {
        let slot = self.slot(id)?;
        let mut state = slot.lock();
        if state.transaction.state() == TransactionState::Dead {
            return None;
        }
        let result = step(&slot, &mut state, self.now());
        self.account(&slot, &mut state);
        Some(result)
    }

    /// Does something with a transactional id, which is there from now on if anything of it is to be stored.
    pub(super) fn with_new<T>(
        &self,
        id: &str,
        step: impl FnOnce(&Arc<Slot>, &mut SlotState, Moment) -> T,
    ) -> Result<T, TransactionError> {
        loop {
            let slot = match self.slot(id) {
                Some(slot) => slot,
                None => {
                    self.check_room(id.len())?;
                    let id: Arc<str> = id.into();
                    let new = || Arc::new(Slot::new(id.clone(), Transaction::new(self.config, self.now())));
                    self.ids.entry(id.clone()).or_insert_with(new).value().clone()
                }
            };
            let mut state = slot.lock();
            if state.transaction.state() == TransactionState::Dead {
                drop(state);
                self.forget(&slot);
                continue;
            }
            let result = step(&slot, &mut state, self.now());
            self.account(&slot, &mut state);
            return Ok(result);
        }
    }

    /// Whether so many more partitions may become part of transactions.
    pub(super) fn check_partitions(&self, partitions: usize) -> Result<(), TransactionError> {
        self.check_bytes(partitions.saturating_mul(PARTITION_BYTES))
    }

    /// Brings the sum and the timer up to date; forgets one that it is as if nobody had asked for.
    pub(super) fn account(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        if state.transaction.is_new() {
            state.transaction.end_life();
        }
        let is_dead = state.transaction.state() == TransactionState::Dead;
        let counted = if is_dead { 0 } else { slot_bytes(&slot.id, state.transaction.partition_count()) };
        let before = std::mem::replace(&mut state.counted, counted);
        self.bytes.fetch_add(counted, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
        if is_dead {
            self.forget(slot);
        }
        if let Some(next) = state.transaction.next_deadline()
            && state.scheduled.is_none_or(|scheduled| next < scheduled)
        {
            state.scheduled = Some(next);
            self.timer.schedule(next, &slot.id);
        }
    }

    /// Notes that somebody is ticked who was scheduled for that time.
    pub(super) fn unschedule(state: &mut SlotState, at: Duration) {
        if state.scheduled == Some(at) {
            state.scheduled = None;
        }
    }

    fn check_room(&self, id_bytes: usize) -> Result<(), TransactionError> {
        let max = self.config.max_ids;
        if self.ids.len() >= max {
            return Err(TransactionError::TooManyIds { max });
        }
        self.check_bytes(SLOT_BYTES + 2 * id_bytes)
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), TransactionError> {
        let max = self.config.max_total_bytes;
        if self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > max {
            return Err(TransactionError::TooLarge { max });
        }
        Ok(())
    }

    fn forget(&self, slot: &Arc<Slot>) {
        self.ids.remove_if(&slot.id, |_, held| Arc::ptr_eq(held, slot));
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.timer.close();
    }
}

fn slot_bytes(id: &str, partitions: usize) -> usize {
    SLOT_BYTES + 2 * id.len() + partitions * PARTITION_BYTES
}
