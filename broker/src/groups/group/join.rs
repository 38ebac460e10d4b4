//! Joins: new members, members that come again, and static members that come back under a new id.

use std::sync::Arc;
use std::time::Duration;

use super::member::{self, Member};
use super::{Effect, Group, Storing, Ticket};
use crate::groups::error::GroupError;
use crate::groups::request::{GroupState, JoinRequest, Joined};

impl Group {
    /// Lets a member join, under `new_id` if it has none yet. It is answered at once or once all others have joined.
    pub(crate) fn join(&mut self, ticket: Ticket, request: &JoinRequest, new_id: Arc<str>, now: Duration) {
        match self.try_join(ticket, request, new_id, now) {
            Ok(None) => {}
            Ok(Some(joined)) => self.effects.push(Effect::Join(ticket, Ok(joined))),
            Err(error) => self.effects.push(Effect::Join(ticket, Err(error))),
        }
        self.complete_where_possible(now);
    }

    /// The answer; `None` for later.
    fn try_join(
        &mut self,
        ticket: Ticket,
        request: &JoinRequest,
        new_id: Arc<str>,
        now: Duration,
    ) -> Result<Option<Joined>, GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::Unavailable);
        }
        self.check_timeouts(request)?;
        // Who comes back under a new id takes the old one's place.
        let returning = request.instance_id.as_ref().filter(|_| request.member_id.is_empty());
        let place = returning.and_then(|instance| self.statics.get(instance)).unwrap_or(&request.member_id);
        self.check_protocols(request, place)?;
        self.check_bytes(request, place)?;
        if !request.member_id.is_empty() {
            return self.known_joins(ticket, request, now);
        }
        if let Some(instance) = &request.instance_id {
            return match self.statics.get(instance).cloned() {
                Some(old_id) => self.come_back(ticket, request, &old_id, new_id, now),
                None => self.add(ticket, request, new_id, now),
            };
        }
        if request.needs_known_id {
            self.check_room()?;
            self.pending.insert(new_id.clone(), now.saturating_add(request.session_timeout));
            return Err(GroupError::MemberIdRequired(new_id));
        }
        self.add(ticket, request, new_id, now)
    }

    fn known_joins(
        &mut self,
        ticket: Ticket,
        request: &JoinRequest,
        now: Duration,
    ) -> Result<Option<Joined>, GroupError> {
        let id = &request.member_id;
        if self.pending.remove(id).is_some() {
            return self.add(ticket, request, id.clone(), now);
        }
        self.check_member(id, request.instance_id.as_ref())?;
        let same = self.members.get(id).is_some_and(|member| member.protocols == request.protocols);
        let leads = self.leader.as_ref() == Some(id);
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
            // It did not get its answer.
            GroupState::CompletingRebalance if same => Ok(Some(self.joined_again(id, now))),
            // A leader that joins again wants a rebalance; others may have lost an answer.
            GroupState::Stable if same && !leads => Ok(Some(self.joined_again(id, now))),
            _ => {
                self.park(ticket, request, now);
                Ok(None)
            }
        }
    }

    fn joined_again(&mut self, id: &Arc<str>, now: Duration) -> Joined {
        if let Some(member) = self.members.get_mut(id) {
            member.heard(now);
        }
        self.joined(id)
    }

    /// A member of the group wants to be in the next generation.
    fn park(&mut self, ticket: Ticket, request: &JoinRequest, now: Duration) {
        if let Some(member) = self.members.get_mut(&request.member_id) {
            member.update(request);
            member.heard(now);
            let earlier = member.joining.replace(ticket);
            self.answer_earlier(earlier);
        }
        self.begin_rebalance(now);
        self.await_joins_again(now);
    }

    /// A member's earlier request, which nobody waits for any more, or should.
    fn answer_earlier(&mut self, earlier: Option<Ticket>) {
        if let Some(ticket) = earlier {
            self.effects.push(Effect::Join(ticket, Err(GroupError::RebalanceInProgress)));
        }
    }

    /// Where static members were all away, time runs again once one is back.
    fn await_joins_again(&mut self, now: Duration) {
        let waits = self.join_until.is_some() || self.initial_delay.is_some();
        if self.state == GroupState::PreparingRebalance && !waits {
            self.await_joins(now);
        }
    }

    fn add(
        &mut self,
        ticket: Ticket,
        request: &JoinRequest,
        id: Arc<str>,
        now: Duration,
    ) -> Result<Option<Joined>, GroupError> {
        self.check_room()?;
        if request.instance_id.as_ref().is_some_and(|instance| self.statics.contains_key(instance)) {
            return Err(GroupError::FencedInstance);
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        // It sends no heartbeats while it waits for its first generation; others that vanish meanwhile are noticed later.
        let mut member = Member::new(request, now.saturating_add(NEW_MEMBER_TIMEOUT));
        member.joining = Some(ticket);
        if let Some(instance) = &request.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
        if let Some(delay) = &mut self.initial_delay {
            delay.grew = true;
        }
        self.begin_rebalance(now);
        self.await_joins_again(now);
        Ok(None)
    }

    /// A static member is back after a restart: it gets its place under a new id; whoever used the old one is fenced.
    fn come_back(
        &mut self,
        ticket: Ticket,
        request: &JoinRequest,
        old_id: &Arc<str>,
        id: Arc<str>,
        now: Duration,
    ) -> Result<Option<Joined>, GroupError> {
        let Some(mut member) = self.members.remove(old_id) else { return Err(GroupError::UnknownMember) };
        self.refuse(&member, &GroupError::FencedInstance);
        (member.joining, member.syncing) = (None, None);
        member.update(request);
        member.heard(now);
        if let Some(instance) = &request.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        let led = self.leader.as_ref() == Some(old_id);
        if led {
            self.leader = Some(id.clone());
        }
        self.members.insert(id.clone(), member);
        if self.state == GroupState::Stable && self.protocol == Some(self.choose_protocol()) {
            let mut joined = self.joined(&id);
            if led && !request.can_skip_assignment {
                // It must not take itself for the leader, who would have to assign.
                joined.leader = old_id.clone();
                joined.members.clear();
            }
            joined.skip_assignment = led && request.can_skip_assignment;
            self.store(Storing::Return(ticket, joined), None);
            return Ok(None);
        }
        let request = JoinRequest { member_id: id, ..request.clone() };
        self.park(ticket, &request, now);
        Ok(None)
    }

    fn check_timeouts(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let (min, max) = (self.config.min_session_timeout, self.config.max_session_timeout);
        let asked = request.session_timeout;
        if (min..=max).contains(&asked) && !asked.is_zero() {
            Ok(())
        } else {
            Err(GroupError::InvalidSessionTimeout { asked, min, max })
        }
    }

    /// One of the protocols must be known to all members there are.
    fn check_protocols(&self, request: &JoinRequest, place: &Arc<str>) -> Result<(), GroupError> {
        let mut names = request.protocols.iter().map(|(name, _)| name);
        let consistent = if self.members.is_empty() {
            !request.protocol_type.is_empty() && names.next().is_some()
        } else {
            self.protocol_type.as_ref() == Some(&request.protocol_type)
                && names.any(|name| self.others_support(name, place))
        };
        if consistent { Ok(()) } else { Err(GroupError::InconsistentProtocol) }
    }

    fn others_support(&self, protocol: &str, id: &str) -> bool {
        self.members.iter().all(|(other, member)| **other == *id || member.supports(protocol))
    }

    fn check_room(&self) -> Result<(), GroupError> {
        let max = self.config.max_size;
        if self.members.len() + self.pending.len() < max {
            Ok(())
        } else {
            Err(GroupError::GroupFull { max })
        }
    }

    fn check_bytes(&self, request: &JoinRequest, place: &Arc<str>) -> Result<(), GroupError> {
        let max = self.config.max_group_bytes;
        let replaced = self.members.get(place).map_or(0, Member::bytes);
        let bytes = self.bytes().saturating_sub(replaced).saturating_add(member::bytes_of(request));
        if bytes <= max { Ok(()) } else { Err(GroupError::TooLarge { max }) }
    }
}

/// How long a new member may wait for its first generation.
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_mins(5);
