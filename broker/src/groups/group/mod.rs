//! One group as a state machine without I/O: requests, stored records and the passing of time go in, answers and records
//! to store come out as [`Effect`]s. Semantics are those of Kafka's group coordinator for the classic protocol.
//!
//! ```text
//!            join                    all joined, or time is up             leader's sync stored
//!  Empty ──────────▶ PreparingRebalance ──────────▶ CompletingRebalance ──────────▶ Stable
//!    ▲                 │        ▲                         │                           │
//!    └─ nobody joined ─┘        └──── join, leave, silence, a sync that is missing ───┘
//! ```
//!
//! Time is the [`Duration`] since some start that never goes back; ids and tickets are given from outside.
//!
//! Invariants:
//! - Every ticket is answered exactly once, unless it is abandoned: at the latest when the timeouts of the members
//!   are over.
//! - In one generation each member has one assignment, told only after all of them are stored.
//! - The generation never goes back. Who says another one than the group's is refused.
//! - What the group holds is bounded by [`GroupConfig`]: members, with those that were only given an id, and their bytes.

mod join;
mod member;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::GroupError;
use super::metadata::GroupMetadata;
use super::request::{Claim, GroupState, Joined, Leaving, Synced};
use crate::config::GroupConfig;
use member::Member;
use rebalance::InitialDelay;

/// A request whose answer may have to wait; its number is its caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// What the group wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answer a join.
    Join(Ticket, Result<Joined, GroupError>),
    /// Answer a sync.
    Sync(Ticket, Result<Synced, GroupError>),
    /// Store the group's record, behind all earlier ones; then call [`Group::stored`] with the number.
    Store(u64, GroupMetadata),
}

/// What waits for a record to be stored.
#[derive(Debug)]
enum Storing {
    /// The assignments of a generation.
    Assignments(i32, BTreeMap<Arc<str>, Bytes>),
    /// The answer to a static member that came back.
    Return(Ticket, Joined),
    /// Nothing: the group became empty.
    Emptied,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    config: GroupConfig,
    state: GroupState,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Ids of static members by their `group.instance.id`.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given away and not joined with yet, and when they expire.
    pending: BTreeMap<Arc<str>, Duration>,
    /// When a rebalance goes on without those that have not joined.
    join_until: Option<Duration>,
    /// The first rebalance waits for more members.
    initial_delay: Option<InitialDelay>,
    /// When members that have not asked for their assignment are removed.
    sync_until: Option<Duration>,
    /// Since when it has had no members; only of a group that had some.
    empty_since: Option<Duration>,
    storing: BTreeMap<u64, Storing>,
    next_store: u64,
    effects: Vec<Effect>,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(config: GroupConfig) -> Self {
        Self {
            config,
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            join_until: None,
            initial_delay: None,
            sync_until: None,
            empty_since: None,
            storing: BTreeMap::new(),
            next_store: 0,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last call, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Notes a member's sign of life.
    pub(crate) fn heartbeat(&mut self, claim: &Claim, now: Duration) -> Result<(), GroupError> {
        self.check_claim(claim)?;
        if let Some(member) = self.members.get_mut(&claim.member_id) {
            member.heard(now);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether who claims this may commit now; a member's commit is a sign of life.
    pub(crate) fn check_commit(&mut self, claim: &Claim, now: Duration) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::Unavailable);
        }
        let nobody = claim.generation < 0 && claim.member_id.is_empty() && claim.instance_id.is_none();
        if self.state == GroupState::Empty && claim.generation < 0 {
            return Ok(());
        }
        if nobody {
            return Err(GroupError::UnknownMember);
        }
        self.check_commit_in_transaction(claim, now)?;
        match self.state {
            // The member knows of the new generation: its position belongs to the one before.
            GroupState::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether who claims this may commit now in a transaction, as somebody who does not say who it is may: the transaction
    /// itself fences who is none any more.
    pub(crate) fn check_commit_in_transaction(
        &mut self,
        claim: &Claim,
        now: Duration,
    ) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::Unavailable);
        }
        let nobody = claim.member_id.is_empty() && claim.instance_id.is_none();
        if claim.generation < 0 && (nobody || self.state == GroupState::Empty) {
            return Ok(());
        }
        self.check_claim(claim)?;
        if let Some(member) = self.members.get_mut(&claim.member_id) {
            member.heard(now);
        }
        Ok(())
    }

    /// Removes members, each or not.
    pub(crate) fn leave(&mut self, leaving: &[Leaving], now: Duration) -> Vec<Result<(), GroupError>> {
        let before = self.members.len();
        let results = leaving.iter().map(|leaving| self.leave_one(leaving)).collect();
        if self.members.len() < before {
            self.begin_rebalance(now);
        }
        self.complete_where_possible(now);
        results
    }

    fn leave_one(&mut self, leaving: &Leaving) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::Unavailable);
        }
        let id = match &leaving.instance_id {
            Some(instance) if leaving.member_id.is_empty() => {
                self.statics.get(instance).ok_or(GroupError::UnknownMember)?.clone()
            }
            _ => leaving.member_id.clone(),
        };
        if self.pending.remove(&id).is_some() {
            return Ok(());
        }
        self.check_member(&id, leaving.instance_id.as_ref())?;
        self.remove(&id);
        Ok(())
    }

    /// A record that was to be stored is, durably, or will never be.
    pub(crate) fn stored(&mut self, number: u64, result: Result<(), GroupError>, now: Duration) {
        match self.storing.remove(&number) {
            Some(Storing::Assignments(generation, assignments)) => {
                self.assignments_stored(generation, assignments, result, now);
            }
            Some(Storing::Return(ticket, joined)) => {
                self.effects.push(Effect::Join(ticket, result.map(|()| joined)));
            }
            Some(Storing::Emptied) | None => {}
        }
    }

    /// Whoever waited for the ticket's answer is gone. A member is as silent from now on as any other; one that never was
    /// in a generation is none, unless it is static.
    pub(crate) fn abandon(&mut self, ticket: Ticket, now: Duration) {
        let waits = |member: &Member| member.joining == Some(ticket) || member.syncing == Some(ticket);
        let Some((id, member)) = self.members.iter_mut().find(|(_, member)| waits(member)) else { return };
        (member.joining, member.syncing) = (None, None);
        member.heard(now);
        if member.fresh && member.instance_id.is_none() {
            let id = id.clone();
            self.remove(&id);
            self.complete_where_possible(now);
        }
    }

    /// Ends a group without members: it takes nobody any more.
    pub(crate) fn end(&mut self) {
        self.state = GroupState::Dead;
    }

    /// Removes who was silent for too long, and goes on where waiting is over.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        let before = self.members.len();
        self.pending.retain(|_, until| *until > now);
        let silent: Vec<Arc<str>> =
            self.members.iter().filter(|(_, m)| m.deadline <= now).map(|(id, _)| id.clone()).collect();
        for id in silent {
            match self.members.get_mut(&id) {
                // Who waits for an answer sends no heartbeats; who never was in a generation may have gone unnoticed.
                Some(member) if member.is_parked() && !member.fresh => member.heard(now),
                _ => self.remove(&id),
            }
        }
        if self.sync_until.is_some_and(|until| until <= now) {
            self.sync_until = None;
            let owing: Vec<Arc<str>> =
                self.members.iter().filter(|(_, m)| m.owes_sync).map(|(id, _)| id.clone()).collect();
            owing.iter().for_each(|id| self.remove(id));
        }
        if self.members.len() < before {
            self.begin_rebalance(now);
        }
        self.complete_where_possible(now);
        self.complete_where_due(now);
    }

    /// The process stood still for that long, and could hear nobody: that time does not count, and members have their whole
    /// session timeout from now on.
    pub(crate) fn stood_still(&mut self, late: Duration, now: Duration) {
        let later = |until: &mut Option<Duration>| *until = until.map(|until| until.saturating_add(late));
        later(&mut self.join_until);
        later(&mut self.sync_until);
        if let Some(delay) = &mut self.initial_delay {
            delay.until = delay.until.saturating_add(late);
        }
        for member in self.members.values_mut() {
            let anew = now.saturating_add(member.session_timeout);
            member.deadline = member.deadline.saturating_add(late).max(anew);
        }
        self.pending.values_mut().for_each(|until| *until = until.saturating_add(late));
    }

    /// When [`Group::tick`] has something to do, if nothing else happens.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let waits = [self.join_until, self.sync_until, self.initial_delay.as_ref().map(|delay| delay.until)];
        let members = self.members.values().map(|member| member.deadline);
        waits.into_iter().flatten().chain(members).chain(self.pending.values().copied()).min()
    }

    /// Whether the member is one, and not replaced by another of its `group.instance.id`.
    fn check_member(&self, id: &Arc<str>, instance: Option<&Arc<str>>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if current != id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    fn check_claim(&self, claim: &Claim) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::Unavailable);
        }
        self.check_member(&claim.member_id, claim.instance_id.as_ref())?;
        if claim.generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration { asked: claim.generation, current: self.generation })
        }
    }

    /// Takes a member out, and answers what it waits for.
    fn remove(&mut self, id: &Arc<str>) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        self.refuse(&member, &GroupError::UnknownMember);
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Answers whatever the member, as it was, waits for.
    fn refuse(&mut self, member: &Member, error: &GroupError) {
        if let Some(ticket) = member.joining {
            self.effects.push(Effect::Join(ticket, Err(error.clone())));
        }
        if let Some(ticket) = member.syncing {
            self.effects.push(Effect::Sync(ticket, Err(error.clone())));
        }
    }

    /// The group's record is to be stored.
    fn store(&mut self, what: Storing, assignments: Option<&BTreeMap<Arc<str>, Bytes>>) {
        let number = self.next_store;
        self.next_store += 1;
        let metadata = self.metadata(assignments);
        self.storing.insert(number, what);
        self.effects.push(Effect::Store(number, metadata));
    }
}
