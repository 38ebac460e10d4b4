//! A member in this process: it joins, keeps its place by heartbeats, and is told what it is to read.
//!
//! The protocol is the eager one: before a rebalance everything is given back.
//!
//! Invariant: between [`Change::Assigned`] and the next change nobody else is assigned the same partitions in that
//! generation, and a commit is refused once there is another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::assignor::{Assignor, Subscriber};
use super::error::GroupError;
use super::handle::{CONSUMER, Groups};
use super::request::{Claim, JoinRequest, Joined, Leaving, SyncRequest};
use super::subscription::{Assignment, Subscription};
use crate::offsets::CommittedOffset;
use crate::topic::TopicPartition;

/// How a member takes part; the defaults are Kafka's, but for the heartbeats, which cost nothing here.
#[derive(Debug, Clone)]
pub struct MemberConfig {
    /// The group.
    pub group: Arc<str>,
    /// The topics to read. One that does not exist yet is read once it does.
    pub topics: Vec<Arc<str>>,
    /// What the member calls itself, for those who look at the group.
    pub client_id: Arc<str>,
    /// `group.instance.id`: a member with one keeps its place while it is away, until its session ends.
    pub instance_id: Option<Arc<str>>,
    /// `session.timeout.ms`: 45 s by default.
    pub session_timeout: Duration,
    /// How long the others wait for it to give back what it has: 1 min by default.
    pub rebalance_timeout: Duration,
    /// How often it shows that it lives, and learns of a rebalance: 500 ms by default.
    pub heartbeat_interval: Duration,
    /// The ways to share work that it knows, the preferred one first: range and round-robin by default.
    pub assignors: Vec<Assignor>,
}

impl MemberConfig {
    /// Reads `topics` as a member of `group`.
    pub fn new(group: impl Into<Arc<str>>, topics: Vec<Arc<str>>) -> Self {
        Self {
            group: group.into(),
            topics,
            client_id: "topo".into(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_mins(1),
            heartbeat_interval: Duration::from_millis(500),
            assignors: vec![Assignor::Range, Assignor::RoundRobin],
        }
    }
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These partitions are its, and no others.
    Assigned(Vec<TopicPartition>),
    /// It is to stop reading, and may still commit; the next [`Membership::next`] gives everything back.
    Revoked,
    /// Others may have its partitions already: it is to stop reading, and cannot commit any more.
    Lost,
}

/// A place in a group. It is left when this is dropped, unless it has an `instance_id`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::collections::BTreeMap;
/// use topo_broker::{Broker, BrokerConfig, Change, MemberConfig, TopicPartition};
///
/// let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path(), BrokerConfig::default())?;
/// broker.create_topic("lines", 2, BTreeMap::new()).await?;
///
/// let mut member = broker.groups().member(MemberConfig::new("counters", vec!["lines".into()]));
/// let all = (0..2).map(|partition| TopicPartition::new("lines", partition)).collect();
/// assert_eq!(member.next().await?, Change::Assigned(all));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Membership {
    groups: Groups,
    config: MemberConfig,
    member_id: Arc<str>,
    /// The generation it has an assignment of.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    claim: Claim,
    standing: watch::Receiver<Standing>,
    heartbeats: JoinHandle<()>,
    /// Whether it was told that it has to give everything back.
    revoked: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Member,
    /// The group, or the topics, have changed.
    Rebalance,
    Lost,
}

impl Membership {
    pub(super) fn new(groups: Groups, config: MemberConfig) -> Self {
        Self { groups, config, member_id: "".into(), place: None }
    }

    /// Waits for the next change; the first is what it is assigned. Dropping it while it waits loses nothing.
    ///
    /// # Errors
    /// What makes joining again pointless, such as [`GroupError::InconsistentProtocol`], [`GroupError::FencedInstance`],
    /// or [`GroupError::Unavailable`] where the broker is closed.
    pub async fn next(&mut self) -> Result<Change, GroupError> {
        if let Some(place) = self.place.as_mut().filter(|place| !place.revoked) {
            // Its sender lives as long as its task, which ends only after it has said why.
            let changed = place.standing.wait_for(|standing| *standing != Standing::Member).await;
            let standing = changed.map_or(Standing::Lost, |standing| *standing);
            if standing == Standing::Lost {
                self.place = None;
                return Ok(Change::Lost);
            }
            place.revoked = true;
            return Ok(Change::Revoked);
        }
        self.join().await.map(Change::Assigned)
    }

    /// Commits what it goes on from: all of it or nothing, durably, and only while it has what it was assigned last.
    ///
    /// # Errors
    /// [`GroupError::UnknownMember`] where it has nothing; else as [`Groups::commit`].
    pub async fn commit(&self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<(), GroupError> {
        let place = self.place.as_ref().ok_or(GroupError::UnknownMember)?;
        self.groups.commit(&self.config.group, &place.claim, offsets).await
    }

    /// The generation it has an assignment of, and under which name.
    pub fn claim(&self) -> Option<&Claim> {
        self.place.as_ref().map(|place| &place.claim)
    }

    /// Leaves the group, also where it has an `instance_id`.
    ///
    /// # Errors
    /// As [`Groups::leave`].
    pub fn leave(mut self) -> Result<(), GroupError> {
        self.depart()
    }

    /// Ends it as a crash would: nobody is told.
    #[cfg(test)]
    pub(super) fn die(mut self) {
        self.place = None;
        self.member_id = "".into();
    }

    fn depart(&mut self) -> Result<(), GroupError> {
        self.place = None;
        let member_id = std::mem::take(&mut self.member_id);
        if member_id.is_empty() {
            return Ok(());
        }
        let leaving = Leaving { member_id, instance_id: self.config.instance_id.clone() };
        self.groups.leave(&self.config.group, &[leaving]).map(drop)
    }

    async fn join(&mut self) -> Result<Vec<TopicPartition>, GroupError> {
        loop {
            match self.try_join().await {
                Ok(partitions) => return Ok(partitions),
                Err(GroupError::MemberIdRequired(id)) => self.member_id = id,
                Err(GroupError::UnknownMember) => self.member_id = "".into(),
                Err(GroupError::RebalanceInProgress | GroupError::IllegalGeneration { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_join(&mut self) -> Result<Vec<TopicPartition>, GroupError> {
        let group = self.config.group.clone();
        // Heartbeats of the old place go on until there is a new one.
        let joined = self.groups.join(&group, self.request()).await?;
        self.member_id = joined.member_id.clone();
        let claim = Claim {
            member_id: joined.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            generation: joined.generation,
        };
        let (assignments, counts) = self.lead(&joined);
        let request = SyncRequest {
            claim: claim.clone(),
            protocol_type: Some(joined.protocol_type),
            protocol: Some(joined.protocol),
            assignments,
        };
        let synced = self.groups.sync(&group, request).await?;
        let assignment = Assignment::decode(synced.assignment).unwrap_or_else(|| {
            tracing::warn!(%group, "the group's leader assigns what cannot be read; nothing is read");
            Assignment::default()
        });
        self.place = Some(self.keep(claim, counts));
        Ok(assignment.partitions)
    }

    fn request(&self) -> JoinRequest {
        let subscription = Subscription { topics: self.config.topics.clone(), ..Subscription::default() };
        let metadata = subscription.encode();
        let protocols = self.config.assignors.iter();
        JoinRequest {
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            client_id: self.config.client_id.clone(),
            client_host: "/in-process".into(),
            session_timeout: self.config.session_timeout,
            rebalance_timeout: self.config.rebalance_timeout,
            protocol_type: CONSUMER.into(),
            protocols: protocols.map(|assignor| (assignor.name().into(), metadata.clone())).collect(),
            needs_known_id: false,
            can_skip_assignment: false,
        }
    }

    /// As leader, everybody's assignment, and the topics it was made for.
    fn lead(&self, joined: &Joined) -> (Vec<(Arc<str>, bytes::Bytes)>, Option<Counts>) {
        let Some(assignor) = Assignor::from_name(&joined.protocol).filter(|_| joined.is_leader()) else {
            return (Vec::new(), None);
        };
        let subscriber = |member: &super::request::JoinedMember| {
            let subscription = Subscription::decode(member.metadata.clone()).unwrap_or_else(|| {
                tracing::warn!(member = &*member.member_id, "a member subscribes to what cannot be read");
                Subscription::default()
            });
            Subscriber {
                member_id: member.member_id.clone(),
                instance_id: member.instance_id.clone(),
                topics: subscription.topics,
            }
        };
        let members: Vec<Subscriber> = joined.members.iter().map(subscriber).collect();
        let topics = members.iter().flat_map(|member| &member.topics).cloned();
        let counts = Counts::of(&self.groups, topics);
        let assigned = assignor.assign(&members, &counts.existing());
        let encode = |(id, partitions)| (id, Assignment { partitions, user_data: None }.encode());
        (assigned.into_iter().map(encode).collect(), Some(counts))
    }

    /// Keeps the place by heartbeats; a leader looks after the topics too.
    fn keep(&self, claim: Claim, counts: Option<Counts>) -> Place {
        let (sender, standing) = watch::channel(Standing::Member);
        let (groups, group, every) =
            (self.groups.clone(), self.config.group.clone(), self.config.heartbeat_interval);
        let heartbeat_claim = claim.clone();
        let heartbeats = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let changed = counts.as_ref().is_some_and(|counts| counts.have_changed(&groups));
                let now = match groups.heartbeat(&group, &heartbeat_claim) {
                    Ok(()) if !changed => continue,
                    Ok(()) | Err(GroupError::RebalanceInProgress) => Standing::Rebalance,
                    Err(_) => Standing::Lost,
                };
                // Nobody listens once the place is gone, and this with it.
                sender.send_replace(now);
                if now == Standing::Lost {
                    return;
                }
            }
        });
        Place { claim, standing, heartbeats, revoked: false }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Without a runtime nothing can be stored; the session's end says it then.
        if self.config.instance_id.is_none() && Handle::try_current().is_ok() {
            // There is nobody to tell of a group that is gone.
            let _ = self.depart();
        }
    }
}

/// How many partitions topics have; `None` for one that does not exist.
#[derive(Debug, PartialEq, Eq)]
struct Counts(BTreeMap<Arc<str>, Option<u32>>);

impl Counts {
    fn of(groups: &Groups, topics: impl Iterator<Item = Arc<str>>) -> Self {
        Self(topics.map(|topic| (topic.clone(), groups.partition_count(&topic))).collect())
    }

    fn have_changed(&self, groups: &Groups) -> bool {
        self.0.iter().any(|(topic, count)| groups.partition_count(topic) != *count)
    }

    fn existing(&self) -> BTreeMap<Arc<str>, u32> {
        self.0.iter().filter_map(|(topic, count)| Some((topic.clone(), (*count)?))).collect()
    }
}
