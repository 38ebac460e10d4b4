//! All groups, shared: who asks waits here, records go to `__consumer_offsets`, and time passes.
//!
//! A group's step, and the append of what it wants stored, happen under that group's lock, so that records stand in the
//! log in the order of the steps; the lock is never held across an await.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use dashmap::DashMap;

use super::error::GroupError;
use super::group::{Group, Ticket};
use super::metadata::GroupMetadata;
use super::records;
use super::request::GroupState;
use super::slot::{Counted, Slot, SlotState};
use crate::clock::wall_ms;
use crate::config::GroupConfig;
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::timer::{Timer, Wake};

/// The groups of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    config: GroupConfig,
    groups: DashMap<Arc<str>, Arc<Slot>>,
    timer: Arc<Timer>,
    started: AtomicBool,
    closed: AtomicBool,
    bytes: AtomicUsize,
    active: AtomicUsize,
    /// Where records go; known before the first group has one.
    partition: OnceLock<Arc<Partition>>,
    /// For the tasks that wait for records to be durable.
    this: Weak<Coordinator>,
}

impl Coordinator {
    /// A coordinator that goes on with the groups that were stored.
    pub(crate) fn new(config: GroupConfig, stored: Vec<(Arc<str>, GroupMetadata)>) -> Arc<Self> {
        let coordinator = Arc::new_cyclic(|this| Self {
            config,
            groups: DashMap::new(),
            timer: Arc::new(Timer::new(config.pause_tolerance)),
            started: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            partition: OnceLock::new(),
            this: this.clone(),
        });
        for (name, metadata) in stored {
            let group = Group::restored(config, metadata, coordinator.now());
            let slot = Arc::new(Slot::new(name.clone(), group));
            coordinator.account(&slot, &mut slot.lock());
            coordinator.groups.insert(name, slot);
        }
        coordinator
    }

    /// Says where records go.
    pub(crate) fn store_in(&self, partition: &Arc<Partition>) {
        self.partition.get_or_init(|| partition.clone());
    }

    /// Lets time pass for groups. Only the first call starts anything.
    pub(super) fn start(&self) {
        if self.started.swap(true, Ordering::Relaxed) {
            return;
        }
        // Groups that were stored count from here.
        self.stood_still(Duration::ZERO);
        let (timer, weak) = (self.timer.clone(), self.this.clone());
        tokio::spawn(async move {
            while let Some(wake) = timer.wake().await {
                let Some(coordinator) = weak.upgrade() else { return };
                match wake {
                    Wake::Due(at, name) => coordinator.tick(at, &name),
                    Wake::StoodStill(late) => coordinator.stood_still(late),
                }
            }
        });
    }

    /// Takes no more requests, and answers those that wait.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.timer.close();
        for slot in self.slots() {
            // Who waits is told by the end of its channel.
            slot.lock().waiting.clear();
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.timer.now()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.groups.iter().map(|slot| slot.value().clone()).collect()
    }

    /// Does something with a group that is there; `None` where there is none.
    pub(super) fn with<T>(
        &self,
        name: &str,
        step: impl FnOnce(&Arc<Slot>, &mut SlotState, Duration) -> T,
    ) -> Option<T> {
        let slot = self.groups.get(name)?.value().clone();
        let mut state = slot.lock();
        if state.group.state() == GroupState::Dead {
            return None;
        }
        let result = step(&slot, &mut state, self.now());
        self.settle(&slot, &mut state);
        Some(result)
    }

    /// Does something with a group, which is there from now on.
    pub(super) fn with_new<T>(
        &self,
        name: &str,
        step: impl FnOnce(&mut SlotState, Duration) -> T,
    ) -> Result<(T, Arc<Slot>), GroupError> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(GroupError::Unavailable);
            }
            let slot = match self.groups.get(name) {
                Some(slot) => slot.value().clone(),
                None => {
                    let name: Arc<str> = name.into();
                    let new = || Arc::new(Slot::new(name.clone(), Group::new(self.config)));
                    self.groups.entry(name.clone()).or_insert_with(new).value().clone()
                }
            };
            let mut state = slot.lock();
            if state.group.state() == GroupState::Dead {
                drop(state);
                self.forget(&slot);
                continue;
            }
            let result = step(&mut state, self.now());
            self.settle(&slot, &mut state);
            drop(state);
            return Ok((result, slot));
        }
    }

    /// Whoever waited for the ticket does so no more.
    pub(super) fn abandon(&self, slot: &Arc<Slot>, ticket: Ticket) {
        let mut state = slot.lock();
        if state.waiting.remove(&ticket).is_some() {
            let now = self.now();
            state.group.abandon(ticket, now);
            self.settle(slot, &mut state);
        }
    }

    /// Whether there is room for what is about to be joined or assigned, of `bytes`, in all groups together.
    pub(super) fn check_room(&self, state: &SlotState, bytes: usize) -> Result<(), GroupError> {
        let (max, max_groups) = (self.config.max_total_bytes, self.config.max_groups);
        if self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > max {
            return Err(GroupError::TooLarge { max });
        }
        if state.counted.groups == 0 && self.active.load(Ordering::Relaxed) >= max_groups {
            return Err(GroupError::TooManyGroups { max: max_groups });
        }
        Ok(())
    }

    fn stood_still(&self, late: Duration) {
        if !late.is_zero() {
            tracing::info!(
                ?late,
                "the process stood still: members of groups get their session timeout anew"
            );
        }
        for slot in self.slots() {
            let mut state = slot.lock();
            let now = self.now();
            state.group.stood_still(late, now);
            self.settle(&slot, &mut state);
        }
    }

    fn tick(&self, at: Duration, name: &str) {
        let Some(slot) = self.groups.get(name).map(|slot| slot.value().clone()) else { return };
        let mut state = slot.lock();
        if state.scheduled == Some(at) {
            state.scheduled = None;
        }
        let now = self.now();
        state.group.tick(now);
        self.settle(&slot, &mut state);
    }

    /// What follows a step: answers, records, the next tick.
    fn settle(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        loop {
            let to_store = state.answer();
            if to_store.is_empty() {
                break;
            }
            for (number, metadata) in to_store {
                self.store(slot, state, number, &metadata);
            }
        }
        self.account(slot, state);
        if state.group.is_new() {
            // It is as if it had never been asked for.
            state.group.end();
        }
        if state.group.state() == GroupState::Dead {
            self.forget(slot);
        }
    }

    fn store(&self, slot: &Arc<Slot>, state: &mut SlotState, number: u64, metadata: &GroupMetadata) {
        let Some(partition) = self.partition.get().cloned() else {
            return state.group.stored(number, Err(GroupError::Unavailable), self.now());
        };
        let next_offset = match records::write(&partition, &slot.name, Some(metadata), wall_ms()) {
            Ok(next_offset) => next_offset,
            Err(error) => return state.group.stored(number, Err(error.into()), self.now()),
        };
        let (slot, weak) = (slot.clone(), self.this.clone());
        tokio::spawn(async move {
            let durable = partition.until_durable(next_offset).await.map_err(GroupError::from);
            let Some(coordinator) = weak.upgrade() else { return };
            let mut state = slot.lock();
            state.group.stored(number, durable, coordinator.now());
            coordinator.settle(&slot, &mut state);
        });
    }

    /// Stores that a group is no more; `None` where nothing of it ever was.
    pub(super) fn write_end(&self, name: &str, state: &SlotState) -> Result<Option<i64>, BrokerError> {
        match self.partition.get() {
            Some(partition) if !state.group.is_new() => {
                records::write(partition, name, None, wall_ms()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Brings the sums and the timer up to date.
    fn account(&self, slot: &Slot, state: &mut SlotState) {
        let counted = Counted { bytes: state.group.bytes(), groups: usize::from(state.group.is_active()) };
        let before = std::mem::replace(&mut state.counted, counted);
        self.bytes.fetch_add(counted.bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(before.bytes, Ordering::Relaxed);
        self.active.fetch_add(counted.groups, Ordering::Relaxed);
        self.active.fetch_sub(before.groups, Ordering::Relaxed);
        if let Some(next) = state.group.next_deadline()
            && state.scheduled.is_none_or(|scheduled| next < scheduled)
        {
            state.scheduled = Some(next);
            self.timer.schedule(next, &slot.name);
        }
    }

    fn forget(&self, slot: &Arc<Slot>) {
        self.groups.remove_if(&slot.name, |_, held| Arc::ptr_eq(held, slot));
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.timer.close();
    }
}
