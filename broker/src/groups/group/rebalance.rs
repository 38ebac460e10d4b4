//! From the need for a new generation to the answers of all joins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Group, Storing};
use crate::groups::error::GroupError;
use crate::groups::request::{GroupState, Joined, JoinedMember};

/// An empty group's first members wait for others, so that these need no second rebalance.
#[derive(Debug)]
pub(super) struct InitialDelay {
    pub(super) until: Duration,
    /// However many come, it ends here.
    last: Duration,
    /// Whether somebody came since it began, or was last prolonged.
    pub(super) grew: bool,
}

impl Group {
    /// Leaves the generation that is, unless that was done already or there is none.
    pub(super) fn begin_rebalance(&mut self, now: Duration) {
        let from_empty = match self.state {
            GroupState::Empty => true,
            GroupState::CompletingRebalance | GroupState::Stable => false,
            GroupState::PreparingRebalance | GroupState::Dead => return,
        };
        self.sync_until = None;
        for member in self.members.values_mut() {
            member.owes_sync = false;
            if let Some(ticket) = member.syncing.take() {
                member.heard(now);
                self.effects.push(Effect::Sync(ticket, Err(GroupError::RebalanceInProgress)));
            }
        }
        self.state = GroupState::PreparingRebalance;
        let delay = self.config.initial_rebalance_delay;
        if from_empty && !delay.is_zero() {
            let last = now.saturating_add(self.rebalance_timeout().max(delay));
            self.initial_delay = Some(InitialDelay { until: now.saturating_add(delay), last, grew: false });
        } else {
            self.await_joins(now);
        }
    }

    /// The others wait for those that have not joined until here.
    pub(super) fn await_joins(&mut self, now: Duration) {
        self.join_until = Some(now.saturating_add(self.rebalance_timeout()));
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Begins the next generation if nobody is waited for.
    pub(super) fn complete_where_possible(&mut self, now: Duration) {
        let all_joined = || self.members.values().all(|member| member.joining.is_some());
        let awaited = self.initial_delay.is_some() || !self.pending.is_empty();
        let ready = self.members.is_empty() || (!awaited && all_joined());
        if self.state == GroupState::PreparingRebalance && ready {
            self.complete(now);
        }
    }

    /// Begins the next generation if those that are waited for had their time.
    pub(super) fn complete_where_due(&mut self, now: Duration) {
        if let Some(delay) = self.initial_delay.as_mut().filter(|delay| delay.until <= now) {
            if delay.grew && delay.until < delay.last {
                let longer = now.saturating_add(self.config.initial_rebalance_delay);
                (delay.until, delay.grew) = (longer.min(delay.last), false);
            } else {
                self.complete(now);
            }
        } else if self.join_until.is_some_and(|until| until <= now) {
            self.complete(now);
        }
    }

    /// Begins the next generation with those that have joined. Static members that have not stay in it, as long as their
    /// session lasts; the others are members no more.
    fn complete(&mut self, now: Duration) {
        (self.join_until, self.initial_delay) = (None, None);
        let late: Vec<Arc<str>> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        late.iter().for_each(|id| self.remove(id));
        let Some(leader) = self.elect() else {
            if self.members.is_empty() {
                self.empty_generation(now);
            }
            // Else all are static and away: their sessions end, or one comes back.
            return;
        };
        self.next_generation();
        let protocol = self.choose_protocol();
        self.protocol = Some(protocol.clone());
        self.leader = Some(leader);
        self.state = GroupState::CompletingRebalance;
        self.sync_until = Some(now.saturating_add(self.rebalance_timeout()));
        let answers: Vec<_> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| {
                let ticket = member.joining.take()?;
                (member.fresh, member.owes_sync) = (false, true);
                member.heard(now);
                Some((ticket, id.clone()))
            })
            .collect();
        for (ticket, id) in answers {
            let joined = self.joined(&id);
            self.effects.push(Effect::Join(ticket, Ok(joined)));
        }
    }

    /// The leader if it has joined, else somebody who has; `None` where nobody has.
    fn elect(&self) -> Option<Arc<str>> {
        let joined = |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.joining.is_some());
        let leader = self.leader.as_ref().filter(|leader| joined(leader));
        leader.or_else(|| self.members.keys().find(|id| joined(id))).cloned()
    }

    fn empty_generation(&mut self, now: Duration) {
        self.next_generation();
        self.empty_since = Some(now);
        (self.protocol, self.leader) = (None, None);
        self.state = GroupState::Empty;
        self.store(Storing::Emptied, None);
    }

    fn next_generation(&mut self) {
        // No group lives to see the last one.
        self.generation = self.generation.saturating_add(1);
    }

    /// Of the protocols that all members have, the one that most of them prefer.
    pub(super) fn choose_protocol(&self) -> Arc<str> {
        let mut votes = BTreeMap::<&Arc<str>, usize>::new();
        for member in self.members.values() {
            let mut common = member.protocols.iter().map(|(name, _)| name);
            if let Some(name) = common.find(|name| self.all_support(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        // Of several, the first by name: `max_by_key` takes the last.
        let chosen = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
        chosen.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    pub(super) fn all_support(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.supports(protocol))
    }

    /// The member's place in the generation that is.
    pub(super) fn joined(&self, id: &Arc<str>) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == *id { self.joined_members() } else { Vec::new() };
        Joined {
            member_id: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            leader,
            skip_assignment: false,
            members,
        }
    }

    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |(id, member): (&Arc<str>, &super::Member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(member).collect()
    }
}
