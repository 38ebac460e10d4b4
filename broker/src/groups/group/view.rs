//! A group as it is stored and shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::member::Member;
use super::{Group, GroupState};
use crate::config::GroupConfig;
use crate::groups::membership::IN_PROCESS;
use crate::groups::metadata::{GroupMetadata, MemberMetadata};
use crate::groups::request::{GroupDescription, MemberDescription};

impl Group {
    /// The group as it was stored last; its members have from `now` on to show that they live. Those that lived in the
    /// broker's process ended with it: the others divide anew what they had.
    pub(crate) fn restored(config: GroupConfig, stored: GroupMetadata, now: Duration) -> Self {
        let mut group = Self::new(config);
        let known = |text: Arc<str>| (!text.is_empty()).then_some(text);
        group.generation = stored.generation;
        group.protocol_type = known(stored.protocol_type);
        group.protocol = stored.protocol;
        group.leader = stored.leader;
        let stored_members = stored.members.len();
        for member in stored.members.into_iter().filter(|member| &*member.client_host != IN_PROCESS) {
            if let Some(instance) = &member.instance_id {
                group.statics.insert(instance.clone(), member.member_id.clone());
            }
            let protocol = group.protocol.clone().unwrap_or_default();
            let mut restored = Member {
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout: member.session_timeout,
                rebalance_timeout: member.rebalance_timeout,
                protocols: vec![(protocol, member.subscription)],
                assignment: member.assignment,
                joining: None,
                syncing: None,
                fresh: false,
                owes_sync: false,
                deadline: now,
            };
            restored.heard(now);
            group.members.insert(member.member_id, restored);
        }
        if group.members.is_empty() {
            group.empty_since = Some(now);
        } else {
            group.state = GroupState::Stable;
        }
        if group.members.len() < stored_members && !group.members.is_empty() {
            group.begin_rebalance(now);
        }
        group
    }

    /// The group as it is to be stored, with assignments that are not in force yet.
    pub(super) fn metadata(&self, assignments: Option<&BTreeMap<Arc<str>, Bytes>>) -> GroupMetadata {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let assignment = |id: &Arc<str>, member: &Member| match assignments {
            Some(assignments) => assignments.get(id).cloned().unwrap_or_default(),
            None => member.assignment.clone(),
        };
        let member = |(id, member): (&Arc<str>, &Member)| MemberMetadata {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            subscription: member.metadata(protocol),
            assignment: assignment(id, member),
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    /// What kind of group it is; empty where it never had members.
    pub(crate) fn protocol_type(&self) -> Arc<str> {
        self.protocol_type.clone().unwrap_or_default()
    }

    /// Whether it is as if it had never been asked for.
    pub(crate) fn is_new(&self) -> bool {
        self.state == GroupState::Empty && self.generation == 0 && self.pending.is_empty()
    }

    /// Whether nobody has been in it for that long, though somebody was once.
    pub(crate) fn is_idle(&self, now: Duration, time: Duration) -> bool {
        let long = self.empty_since.is_some_and(|since| now.saturating_sub(since) >= time);
        self.state == GroupState::Empty && self.pending.is_empty() && long
    }

    /// Whether it has members, or some that are about to join.
    pub(crate) fn is_active(&self) -> bool {
        !self.members.is_empty() || !self.pending.is_empty()
    }

    /// About how much memory its members take.
    pub(crate) fn bytes(&self) -> usize {
        self.members.values().map(Member::bytes).sum()
    }

    /// Everything an onlooker may know.
    pub(crate) fn describe(&self) -> GroupDescription {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let member = |(id, member): (&Arc<str>, &Member)| MemberDescription {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol),
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        };
        GroupDescription {
            state: self.state,
            generation: self.generation,
            protocol_type: self.protocol_type(),
            members: self.members.iter().map(member).collect(),
            protocol,
        }
    }

    /// What members say about themselves, whichever protocol they say it for.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = &Bytes> {
        self.members.values().flat_map(|member| member.protocols.iter().map(|(_, metadata)| metadata))
    }
}
