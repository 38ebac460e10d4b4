//! Syncs: the leader brings the assignments, everybody gets its own once all are stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Effect, Group, Storing, Ticket};
use crate::groups::error::GroupError;
use crate::groups::request::{GroupState, SyncRequest, Synced};

impl Group {
    /// Answers with the member's assignment, now or once the leader's are stored.
    pub(crate) fn sync(&mut self, ticket: Ticket, request: &SyncRequest, now: Duration) {
        match self.try_sync(ticket, request, now) {
            Ok(None) => {}
            Ok(Some(synced)) => self.effects.push(Effect::Sync(ticket, Ok(synced))),
            Err(error) => self.effects.push(Effect::Sync(ticket, Err(error))),
        }
    }

    /// The answer; `None` for later.
    fn try_sync(
        &mut self,
        ticket: Ticket,
        request: &SyncRequest,
        now: Duration,
    ) -> Result<Option<Synced>, GroupError> {
        self.check_claim(&request.claim)?;
        let differs = |said: &Option<Arc<str>>, is: &Option<Arc<str>>| said.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let id = &request.claim.member_id;
        let leads = self.leader.as_ref() == Some(id);
        let Some(member) = self.members.get_mut(id) else { return Err(GroupError::UnknownMember) };
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::Stable => {
                member.owes_sync = false;
                member.heard(now);
                let assignment = member.assignment.clone();
                Ok(Some(self.synced(assignment)))
            }
            GroupState::CompletingRebalance => {
                member.owes_sync = false;
                member.heard(now);
                let earlier = member.syncing.replace(ticket);
                if let Some(earlier) = earlier {
                    self.effects.push(Effect::Sync(earlier, Err(GroupError::RebalanceInProgress)));
                }
                if leads {
                    self.assign(request, now);
                }
                Ok(None)
            }
        }
    }

    fn assign(&mut self, request: &SyncRequest, now: Duration) {
        let under_way =
            |storing: &Storing| matches!(storing, Storing::Assignments(g, _) if *g == self.generation);
        if self.storing.values().any(under_way) {
            return;
        }
        let of_members = request.assignments.iter().filter(|(id, _)| self.members.contains_key(id));
        let assignments: BTreeMap<Arc<str>, Bytes> =
            of_members.map(|(id, assignment)| (id.clone(), Bytes::copy_from_slice(assignment))).collect();
        let held: usize = self.members.values().map(|member| member.assignment.len()).sum();
        let brought: usize = assignments.values().map(Bytes::len).sum();
        let max = self.config.max_group_bytes;
        if self.bytes().saturating_sub(held).saturating_add(brought) > max {
            return self.not_assigned(&GroupError::TooLarge { max }, now);
        }
        self.store(Storing::Assignments(self.generation, assignments.clone()), Some(&assignments));
    }

    pub(super) fn assignments_stored(
        &mut self,
        generation: i32,
        mut assignments: BTreeMap<Arc<str>, Bytes>,
        result: Result<(), GroupError>,
        now: Duration,
    ) {
        // Another rebalance came in between: those who waited know.
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = result {
            return self.not_assigned(&error, now);
        }
        self.state = GroupState::Stable;
        let mut answers = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
            if let Some(ticket) = member.syncing.take() {
                member.heard(now);
                answers.push((ticket, member.assignment.clone()));
            }
        }
        for (ticket, assignment) in answers {
            let synced = self.synced(assignment);
            self.effects.push(Effect::Sync(ticket, Ok(synced)));
        }
    }

    /// Tells all who wait, and begins anew.
    fn not_assigned(&mut self, error: &GroupError, now: Duration) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                member.heard(now);
                self.effects.push(Effect::Sync(ticket, Err(error.clone())));
            }
        }
        self.begin_rebalance(now);
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment,
        }
    }
}
