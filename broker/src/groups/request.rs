//! What members ask of a group, and what they are answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// A member's wish to be in the group's next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The member's id; empty where it has none yet.
    pub member_id: Arc<str>,
    /// `group.instance.id`, of a static member: what keeps its place while it restarts.
    pub instance_id: Option<Arc<str>>,
    /// What the client calls itself.
    pub client_id: Arc<str>,
    /// Where it comes from.
    pub client_host: Arc<str>,
    /// After so long without a sign of life it is no member any more.
    pub session_timeout: Duration,
    /// How long the others wait for it to join again.
    pub rebalance_timeout: Duration,
    /// What kind of group it is, such as `consumer`.
    pub protocol_type: Arc<str>,
    /// The ways to share work that it knows, the preferred one first, each with what it says about itself.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// Whether a member without id is given one first, under which it joins again (JoinGroup 4).
    pub needs_known_id: bool,
    /// Whether it understands to be leader without having to assign (JoinGroup 9).
    pub can_skip_assignment: bool,
}

/// A member's place in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The member's id.
    pub member_id: Arc<str>,
    /// The generation it is in.
    pub generation: i32,
    /// What kind of group it is.
    pub protocol_type: Arc<str>,
    /// The protocol that was chosen.
    pub protocol: Arc<str>,
    /// The member that assigns.
    pub leader: Arc<str>,
    /// Whether the leader leaves assignments as they are.
    pub skip_assignment: bool,
    /// All members, for the leader alone.
    pub members: Vec<JoinedMember>,
}

impl Joined {
    /// Whether this member is to assign.
    pub fn is_leader(&self) -> bool {
        self.member_id == self.leader
    }
}

/// A member, as the leader is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// What it says about itself, for the chosen protocol.
    pub metadata: Bytes,
}

/// Who says it is a member, and of which generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The member's id; empty for who is no member.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// The generation; negative for who is no member.
    pub generation: i32,
}

impl Claim {
    /// What who is in no group says: it may commit while the group has no members.
    pub fn nobody() -> Self {
        Self { member_id: "".into(), instance_id: None, generation: -1 }
    }
}

/// A member's question for its assignment; the leader's brings all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// Who asks.
    pub claim: Claim,
    /// What it takes the group's kind to be, where it says so.
    pub protocol_type: Option<Arc<str>>,
    /// What it takes the chosen protocol to be, where it says so.
    pub protocol: Option<Arc<str>>,
    /// Assignments by member id, from the leader.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// A member's assignment. Everybody's is durable when one is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// What kind of group it is.
    pub protocol_type: Arc<str>,
    /// The chosen protocol.
    pub protocol: Arc<str>,
    /// What the leader assigned.
    pub assignment: Bytes,
}

/// Who leaves: a member by its id, or a static one by its `group.instance.id` and no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The member's id; empty for a static member that whoever asks only knows by name.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
}

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// Without members; it may have committed offsets.
    Empty,
    /// Waiting for its members to join.
    PreparingRebalance,
    /// All have joined; waiting for the leader's assignments.
    CompletingRebalance,
    /// Everybody has its assignment.
    Stable,
    /// Deleted.
    Dead,
}

impl GroupState {
    /// As Kafka writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group, as an onlooker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Where it stands.
    pub state: GroupState,
    /// Its generation.
    pub generation: i32,
    /// What kind of group it is; empty where it never had members.
    pub protocol_type: Arc<str>,
    /// The chosen protocol, once stable; empty otherwise.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member, as an onlooker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`.
    pub instance_id: Option<Arc<str>>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// Where it comes from.
    pub client_host: Arc<str>,
    /// What it says about itself, once the group is stable.
    pub metadata: Bytes,
    /// What it is assigned, once the group is stable.
    pub assignment: Bytes,
}

/// A group in a list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub group: Arc<str>,
    /// What kind of group it is; empty for one that only has committed offsets.
    pub protocol_type: Arc<str>,
    /// Where it stands.
    pub state: GroupState,
}
