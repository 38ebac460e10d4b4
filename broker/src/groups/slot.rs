//! A group with all that waits for it.
//!
//! Invariant: whoever waits is in `waiting` under the ticket that the group knows, until it is answered or gives up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::GroupError;
use super::group::{Effect, Group, Ticket};
use super::metadata::GroupMetadata;
use super::request::{Joined, Synced};

/// Who waits for what.
#[derive(Debug)]
pub(super) enum Waiter {
    Join(oneshot::Sender<Result<Joined, GroupError>>),
    Sync(oneshot::Sender<Result<Synced, GroupError>>),
}

/// One group, as it is shared.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    state: Mutex<SlotState>,
}

#[derive(Debug)]
pub(super) struct SlotState {
    pub(super) group: Group,
    pub(super) waiting: HashMap<Ticket, Waiter>,
    /// The earliest tick that the timer knows of.
    pub(super) scheduled: Option<Duration>,
    /// What of the coordinator's sums is this group's.
    pub(super) counted: Counted,
    next_ticket: u64,
}

/// What a group adds to the coordinator's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) bytes: usize,
    /// 1 with members, or some that are about to join.
    pub(super) groups: usize,
}

impl Slot {
    pub(super) fn new(name: Arc<str>, group: Group) -> Self {
        let state = SlotState {
            group,
            waiting: HashMap::new(),
            scheduled: None,
            counted: Counted::default(),
            next_ticket: 0,
        };
        Self { name, state: Mutex::new(state) }
    }

    // A panic in the midst of a step is a fault of the program; the group's own checks still hold afterwards.
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    /// A ticket for who waits.
    pub(super) fn park(&mut self, waiter: Waiter) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, waiter);
        ticket
    }

    /// Answers who is to be answered; the records that are to be stored, in order.
    pub(super) fn answer(&mut self) -> Vec<(u64, GroupMetadata)> {
        let mut to_store = Vec::new();
        for effect in self.group.take_effects() {
            match effect {
                // Nobody listens where the request was given up: that is no loss.
                Effect::Join(ticket, answer) => {
                    if let Some(Waiter::Join(waiter)) = self.waiting.remove(&ticket) {
                        let _ = waiter.send(answer);
                    }
                }
                Effect::Sync(ticket, answer) => {
                    if let Some(Waiter::Sync(waiter)) = self.waiting.remove(&ticket) {
                        let _ = waiter.send(answer);
                    }
                }
                Effect::Store(number, metadata) => to_store.push((number, metadata)),
            }
        }
        to_store
    }
}
