//! Groups of the log in memory: divided by task number, until a test divides them anew.
//!
//! Invariant: a partition is owned by at most one member of a group, and nobody gets one before all have released theirs.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use topo_core::log::{Change, Joining, LogError, Membership, TopicPartition};

use super::{Call, Shared, State};

/// The members of one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: Vec<Member>,
    next_id: u64,
    /// Who has each partition, or gets it once all have released theirs: the task's number, by the partition's. None
    /// where it is the task's own share.
    owners: Option<Vec<u32>>,
    /// Whether it is still to be handed out.
    is_planned: bool,
}

#[derive(Debug)]
struct Member {
    id: u64,
    joining: Joining,
    owned: Vec<TopicPartition>,
    has_released: bool,
    changes: VecDeque<Change>,
}

impl Group {
    fn join(&mut self, joining: Joining, partitions: u32) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut owned: Vec<_> = match &self.owners {
            None => joining.share(partitions).collect(),
            Some(owners) => share(&joining, owners),
        };
        let mut changes = VecDeque::new();
        if self.is_planned {
            owned.clear();
        } else {
            changes.push_back(Change::Assigned(owned.clone()));
        }
        self.members.push(Member { id, joining, owned, has_released: self.is_planned, changes });
        self.hand_out();
        id
    }

    /// Has every member give up what it has, to divide it by `owners`.
    pub(super) fn divide(&mut self, owners: Vec<u32>) {
        (self.owners, self.is_planned) = (Some(owners), true);
        for member in &mut self.members {
            member.has_released = false;
            member.changes.push_back(Change::Revoked);
        }
    }

    /// Divides by `owners` at once: nobody is asked.
    pub(super) fn seize(&mut self, owners: Vec<u32>) {
        (self.owners, self.is_planned) = (Some(owners), true);
        for member in &mut self.members {
            member.has_released = true;
            member.changes = VecDeque::from([Change::Lost]);
        }
        self.hand_out();
    }

    /// Gives everybody what was planned, once all have released theirs.
    fn hand_out(&mut self) {
        if !self.is_planned || !self.members.iter().all(|member| member.has_released) {
            return;
        }
        let Some(owners) = &self.owners else { return };
        self.is_planned = false;
        for member in &mut self.members {
            member.owned = share(&member.joining, owners);
            member.changes.push_back(Change::Assigned(member.owned.clone()));
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn leave(&mut self, id: u64) {
        self.members.retain(|member| member.id != id);
        self.hand_out();
    }
}

/// What `owners` give to a task.
fn share(joining: &Joining, owners: &[u32]) -> Vec<TopicPartition> {
    let own = owners.iter().zip(0..).filter(|(owner, _)| **owner == joining.task);
    own.map(|(_, number)| TopicPartition::new(Arc::clone(&joining.topic), number)).collect()
}

/// A member, as its user holds it.
pub(super) struct MemoryMember {
    shared: Arc<Shared>,
    group: String,
    id: u64,
}

impl MemoryMember {
    pub(super) fn join(shared: &Arc<Shared>, joining: &Joining) -> Result<Self, LogError> {
        let mut state = shared.lock();
        let (spec, _) = state
            .topics
            .get(&*joining.topic)
            .ok_or_else(|| LogError::UnknownTopic(Arc::clone(&joining.topic)))?;
        let partitions = spec.partitions;
        let group = joining.group.to_string();
        let id = state.groups.entry(group.clone()).or_default().join(joining.clone(), partitions);
        Ok(Self { shared: Arc::clone(shared), group, id })
    }

    /// Does something with the group.
    fn with<T>(&self, act: impl FnOnce(&mut Group) -> T) -> T {
        let done = act(self.shared.lock().groups.entry(self.group.clone()).or_default());
        self.shared.changed.notify_waiters();
        done
    }

    /// Says which partition is another's, if one is.
    pub(super) fn check_owned(
        &self,
        state: &mut State,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), String> {
        let member = state.groups.get_mut(&self.group).and_then(|group| group.find(self.id));
        let owned = member.map(|member| &member.owned[..]).unwrap_or_default();
        match offsets.iter().find(|(at, _)| !owned.contains(at)) {
            Some((at, _)) => Err(format!("{at} is another member's now")),
            None => Ok(()),
        }
    }

    fn next_change(&self) -> Option<Change> {
        let mut state = self.shared.lock();
        state.groups.get_mut(&self.group)?.find(self.id)?.changes.pop_front()
    }
}

#[async_trait]
impl Membership for MemoryMember {
    async fn changed(&self) -> Result<Change, LogError> {
        loop {
            let mut notified = pin!(self.shared.changed.notified());
            notified.as_mut().enable();
            if let Some(change) = self.next_change() {
                return Ok(change);
            }
            notified.await;
        }
    }

    fn release(&self) {
        self.with(|group| {
            // What was revoked may have been taken since.
            if !group.is_planned {
                return;
            }
            if let Some(member) = group.find(self.id) {
                (member.has_released, member.owned) = (true, Vec::new());
            }
            group.hand_out();
        });
    }

    async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.shared
            .carry_out(Call::Commit(offsets), |state| {
                self.check_owned(state, offsets).map_err(LogError::Fenced)?;
                state.commit(&self.group, offsets, "");
                Ok(())
            })
            .await
    }

    async fn leave(&self) {
        self.with(|group| group.leave(self.id));
    }
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        self.with(|group| group.leave(self.id));
    }
}
