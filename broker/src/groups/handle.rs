//! What callers hold: the requests of the group protocol, typed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::coordinator::Coordinator;
use super::error::GroupError;
use super::field::fits;
use super::group::Ticket;
use super::membership::{MemberConfig, Membership};
use super::request::{
    Claim, GroupDescription, GroupListing, GroupState, JoinRequest, Joined, Leaving, SyncRequest, Synced,
};
use super::slot::{Slot, Waiter};
use super::subscription::Subscription;
use crate::broker::{Appending, Broker};
use crate::error::shown;
use crate::offsets::{CommittedOffset, TransactionalProducer};
use crate::topic::TopicPartition;

/// The kind of group that reads topics.
pub(super) const CONSUMER: &str = "consumer";

/// Consumer groups of a broker: Kafka's classic group protocol, for members in this process and outside alike.
///
/// Got from [`Broker::groups`]; clones share it.
#[derive(Debug, Clone)]
pub struct Groups {
    broker: Broker,
    coordinator: Arc<Coordinator>,
}

impl Groups {
    pub(crate) fn new(broker: Broker, coordinator: Arc<Coordinator>) -> Self {
        coordinator.start();
        Self { broker, coordinator }
    }

    /// Joins a group's next generation, and waits until it begins. Whoever drops this while it waits has not joined.
    ///
    /// # Errors
    /// [`GroupError::MemberIdRequired`] where a member without id is to join again under the one it is given; any other
    /// that a join is refused with.
    pub async fn join(&self, group: &str, request: JoinRequest) -> Result<Joined, GroupError> {
        check_name(group)?;
        check_texts(&request)?;
        self.prepare().await?;
        let bytes = request.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
        let new_id = new_member_id(request.instance_id.as_ref().unwrap_or(&request.client_id));
        let (answer, answered) = oneshot::channel();
        let (ticket, slot) = self.coordinator.with_new(group, |state, now| {
            self.coordinator.check_room(state, bytes)?;
            let ticket = state.park(Waiter::Join(answer));
            state.group.join(ticket, &request, new_id, now);
            Ok::<_, GroupError>(ticket)
        })?;
        let mut parked = Parked { coordinator: &self.coordinator, slot, ticket: Some(ticket?) };
        let answer = answered.await.unwrap_or(Err(GroupError::Unavailable));
        parked.ticket = None;
        answer
    }

    /// Asks for a member's assignment, and waits for it; the leader brings everybody's.
    ///
    /// # Errors
    /// [`GroupError::RebalanceInProgress`] where the member has to join again before there was one; any other that a sync
    /// is refused with.
    pub async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, GroupError> {
        check_name(group)?;
        self.prepare().await?;
        let bytes = request.assignments.iter().map(|(_, assignment)| assignment.len()).sum();
        let (answer, answered) = oneshot::channel();
        let parked = self.coordinator.with(group, |slot, state, now| {
            self.coordinator.check_room(state, bytes)?;
            let ticket = state.park(Waiter::Sync(answer));
            state.group.sync(ticket, &request, now);
            Ok(Parked { coordinator: &self.coordinator, slot: slot.clone(), ticket: Some(ticket) })
        });
        let mut parked = parked.unwrap_or(Err(GroupError::UnknownMember))?;
        let answer = answered.await.unwrap_or(Err(GroupError::Unavailable));
        parked.ticket = None;
        answer
    }

    /// A member's sign of life.
    ///
    /// # Errors
    /// [`GroupError::RebalanceInProgress`] where it has to join again; [`GroupError::UnknownMember`],
    /// [`GroupError::IllegalGeneration`] or [`GroupError::FencedInstance`] where it is no member any more.
    pub fn heartbeat(&self, group: &str, claim: &Claim) -> Result<(), GroupError> {
        check_name(group)?;
        let heard = self.coordinator.with(group, |_, state, now| state.group.heartbeat(claim, now));
        heard.unwrap_or(Err(GroupError::UnknownMember))
    }

    /// Takes members out of a group, and says of each whether it was one.
    ///
    /// # Errors
    /// [`GroupError::InvalidGroup`] with none taken out.
    pub fn leave(&self, group: &str, leaving: &[Leaving]) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_name(group)?;
        let left = self.coordinator.with(group, |_, state, now| state.group.leave(leaving, now));
        Ok(left.unwrap_or_else(|| leaving.iter().map(|_| Err(GroupError::UnknownMember)).collect()))
    }

    /// Commits what a member, or [`Claim::nobody`], goes on from in each partition: all of it or nothing, durably, and
    /// only if the claim holds at the moment of writing.
    ///
    /// # Errors
    /// As [`Groups::heartbeat`] where the claim does not hold, and [`GroupError::RebalanceInProgress`] where the member
    /// has joined a generation whose assignments are not known yet; [`GroupError::Broker`] for what
    /// [`Broker::commit`] refuses.
    pub async fn commit(
        &self,
        group: &str,
        claim: &Claim,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), GroupError> {
        check_name(group)?;
        self.prepare().await?;
        let write = || match offsets {
            [] => Ok(0),
            offsets => self.broker.write_commit(group, offsets).map_err(GroupError::from),
        };
        let next_offset = if claim.generation < 0 {
            let (written, _) = self.coordinator.with_new(group, |state, now| {
                state.group.check_commit(claim, now)?;
                write()
            })?;
            written?
        } else {
            let written = self.coordinator.with(group, |_, state, now| {
                state.group.check_commit(claim, now)?;
                write()
            });
            let unknown = GroupError::IllegalGeneration { asked: claim.generation, current: 0 };
            written.unwrap_or(Err(unknown))?
        };
        Ok(self.broker.commit_durable(next_offset).await?)
    }

    /// Sees that there is a topic for what is committed, as [`Groups::start_commit_in_transaction`] needs it.
    ///
    /// # Errors
    /// [`GroupError::Broker`].
    pub async fn prepare_commits(&self) -> Result<(), GroupError> {
        self.prepare().await
    }

    /// Commits what a group goes on from in each partition in a producer's transaction, which is open, holds the group, and
    /// stays so until this returns: all of it or nothing, and only if the claim holds at the moment of writing. Nobody but a
    /// member of the group's generation may, or [`Claim::nobody`]: clients before `TxnOffsetCommit` 3 do not say who they
    /// are. It counts once the transaction is committed; what this returns is awaited before the commit is acknowledged.
    ///
    /// # Errors
    /// As [`Groups::heartbeat`] where the claim does not hold; [`GroupError::Broker`] for what [`Broker::commit`] refuses,
    /// and for a producer that is fenced, or before [`Groups::prepare_commits`].
    pub fn start_commit_in_transaction(
        &self,
        group: &str,
        claim: &Claim,
        producer: TransactionalProducer,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<Appending, GroupError> {
        check_name(group)?;
        let write = || self.broker.write_commit_in_transaction(producer, group, offsets);
        if claim.generation < 0 {
            let (written, _) = self.coordinator.with_new(group, |state, now| {
                state.group.check_commit_in_transaction(claim, now)?;
                Ok(write()?)
            })?;
            return written;
        }
        let written = self.coordinator.with(group, |_, state, now| {
            state.group.check_commit_in_transaction(claim, now)?;
            Ok(write()?)
        });
        written.unwrap_or(Err(GroupError::IllegalGeneration { asked: claim.generation, current: 0 }))
    }

    /// Whether a commit of a group for a partition is under way, by itself or in a transaction that is open; so what
    /// [`Groups::fetch`] says may be about to change.
    ///
    /// # Errors
    /// As [`Groups::fetch`].
    pub fn is_commit_pending(&self, group: &str, of: &TopicPartition) -> Result<bool, GroupError> {
        Ok(self.broker.is_commit_pending(group, of)?)
    }

    /// What a group last committed for a partition, durably; `None` where it never did.
    ///
    /// # Errors
    /// [`GroupError::Broker`] where the broker is closed.
    pub fn fetch(&self, group: &str, of: &TopicPartition) -> Result<Option<CommittedOffset>, GroupError> {
        Ok(self.broker.committed(group, of)?)
    }

    /// All that a group has committed, durably, by topic and partition.
    ///
    /// # Errors
    /// As [`Groups::fetch`].
    pub fn fetch_all(&self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>, GroupError> {
        Ok(self.broker.all_committed(group)?)
    }

    /// A group as it stands; one that there is not is [`GroupState::Dead`].
    ///
    /// # Errors
    /// [`GroupError::InvalidGroup`], or as [`Groups::fetch`].
    pub fn describe(&self, group: &str) -> Result<GroupDescription, GroupError> {
        check_name(group)?;
        if let Some(description) = self.coordinator.with(group, |_, state, _| state.group.describe()) {
            return Ok(description);
        }
        let state = if self.fetch_all(group)?.is_empty() { GroupState::Dead } else { GroupState::Empty };
        Ok(GroupDescription {
            state,
            generation: 0,
            protocol_type: "".into(),
            protocol: "".into(),
            members: Vec::new(),
        })
    }

    /// All groups by name: those that have or had members, and those that have committed something.
    ///
    /// # Errors
    /// As [`Groups::fetch`].
    pub fn list(&self) -> Result<Vec<GroupListing>, GroupError> {
        let empty = |group: Arc<str>| {
            let protocol_type = "".into();
            (group.clone(), GroupListing { group, protocol_type, state: GroupState::Empty })
        };
        let mut groups: BTreeMap<Arc<str>, GroupListing> =
            self.broker.committed_groups()?.into_iter().map(empty).collect();
        for slot in self.coordinator.slots() {
            let state = slot.lock();
            let (protocol_type, state) = (state.group.protocol_type(), state.group.state());
            if state != GroupState::Dead {
                let group = slot.name.clone();
                groups.insert(group.clone(), GroupListing { group, protocol_type, state });
            }
        }
        Ok(groups.into_values().collect())
    }

    /// Deletes a group without members, and all that it committed, durably.
    ///
    /// # Errors
    /// [`GroupError::NotEmpty`] or [`GroupError::NotFound`] with nothing deleted; [`GroupError::Broker`].
    pub async fn delete(&self, group: &str) -> Result<(), GroupError> {
        check_name(group)?;
        self.check_known(group)?;
        self.prepare().await?;
        let (deleted, _) = self.coordinator.with_new(group, |state, _| {
            if state.group.is_active() {
                return Err(GroupError::NotEmpty);
            }
            let forgotten = self.broker.write_deletion(group, None)?;
            let next_offset = match self.coordinator.write_end(group, state)? {
                Some(next_offset) => Some(next_offset),
                None => forgotten,
            };
            state.group.end();
            Ok(next_offset)
        })?;
        if let Some(next_offset) = deleted? {
            self.broker.deletion_durable(group, next_offset).await?;
        }
        Ok(())
    }

    /// Deletes what a group committed for partitions, durably, but for those of topics that its members read: these topics
    /// are returned.
    ///
    /// # Errors
    /// [`GroupError::NotFound`]; [`GroupError::NotEmpty`] where the group has members of another kind than consumers;
    /// [`GroupError::Broker`].
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeSet<Arc<str>>, GroupError> {
        check_name(group)?;
        self.check_known(group)?;
        self.prepare().await?;
        let (deleted, _) = self.coordinator.with_new(group, |state, _| {
            if state.group.is_active() && *state.group.protocol_type() != *CONSUMER {
                return Err(GroupError::NotEmpty);
            }
            // What cannot be read may be any topic's.
            let subscription = |metadata: &Bytes| Subscription::decode(metadata.clone());
            let subscriptions: Option<Vec<_>> = state.group.subscriptions().map(subscription).collect();
            let subscriptions = subscriptions.ok_or(GroupError::NotEmpty)?;
            let read: BTreeSet<Arc<str>> = subscriptions.into_iter().flat_map(|said| said.topics).collect();
            let (kept, deleted): (Vec<_>, Vec<_>) =
                partitions.iter().cloned().partition(|of| read.contains(&of.topic));
            let next_offset = self.broker.write_deletion(group, Some(&deleted))?;
            Ok((next_offset, kept.into_iter().map(|of| of.topic).collect()))
        })?;
        let (next_offset, kept) = deleted?;
        if let Some(next_offset) = next_offset {
            self.broker.deletion_durable(group, next_offset).await?;
        }
        Ok(kept)
    }

    /// Deletes the groups that nobody has been in for a while and that have committed nothing: what is left of consumers
    /// that only looked. Whether that is durable makes no difference to anybody.
    pub(crate) fn forget_idle(&self) -> Result<(), GroupError> {
        for slot in self.coordinator.slots() {
            let forgotten = self.coordinator.with(&slot.name, |slot, state, now| {
                if !state.group.is_idle(now, IDLE) || !self.fetch_all(&slot.name)?.is_empty() {
                    return Ok::<_, GroupError>(());
                }
                self.coordinator.write_end(&slot.name, state)?;
                state.group.end();
                Ok(())
            });
            forgotten.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    fn check_known(&self, group: &str) -> Result<(), GroupError> {
        match self.describe(group)?.state {
            GroupState::Dead => Err(GroupError::NotFound(shown(group))),
            _ => Ok(()),
        }
    }

    /// A member in this process, which joins when it is first asked for a change.
    pub fn member(&self, config: MemberConfig) -> Membership {
        Membership::new(self.clone(), config)
    }

    /// How many partitions a topic has; `None` where there is none.
    pub(super) fn partition_count(&self, topic: &str) -> Option<u32> {
        self.broker.topic(topic).ok().map(|topic| topic.partition_count())
    }

    /// Sees that there is a topic for the records.
    async fn prepare(&self) -> Result<(), GroupError> {
        self.coordinator.store_in(&self.broker.offsets_log().await?);
        Ok(())
    }
}

/// Who waits, and may give up.
struct Parked<'a> {
    coordinator: &'a Coordinator,
    slot: Arc<Slot>,
    ticket: Option<Ticket>,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        // Without a runtime there is nobody left to go on waiting.
        if let Some(ticket) = self.ticket
            && Handle::try_current().is_ok()
        {
            self.coordinator.abandon(&self.slot, ticket);
        }
    }
}

pub(super) fn check_name(group: &str) -> Result<(), GroupError> {
    if !group.is_empty() && fits(group) { Ok(()) } else { Err(GroupError::InvalidGroup(shown(group))) }
}

/// Texts that are stored with 16-bit lengths.
fn check_texts(request: &JoinRequest) -> Result<(), GroupError> {
    let JoinRequest { member_id, instance_id, client_id, client_host, protocol_type, protocols, .. } =
        request;
    let fixed = [member_id, client_id, client_host, protocol_type];
    let named = protocols.iter().map(|(name, _)| name);
    if fixed.into_iter().chain(instance_id).chain(named).all(|text| fits(text)) {
        Ok(())
    } else {
        Err(GroupError::TooLarge { max: i16::MAX as usize })
    }
}

/// How long a group is remembered without members and commits.
const IDLE: Duration = Duration::from_mins(10);

/// The most of a client's name that goes into its member's.
const MAX_PREFIX_BYTES: usize = 255;

/// What the client calls itself, and something that no other member ever has.
fn new_member_id(prefix: &str) -> Arc<str> {
    let prefix = &prefix[..prefix.floor_char_boundary(MAX_PREFIX_BYTES)];
    let id = format!("{:032x}", rand::random::<u128>());
    format!("{prefix}-{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]).into()
}
