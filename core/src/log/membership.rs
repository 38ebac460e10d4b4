//! A member of a consumer group: which partitions are its own, until when, and what it may commit.
//!
//! Kafka's consumer group protocol in the eager form, as far as its user sees it: all that a member has is revoked before
//! the group divides its topics anew.

use async_trait::async_trait;
use std::any::Any;
use std::sync::Arc;

use super::{LogError, TopicPartition};

/// Who joins a group, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// The group.
    pub group: Arc<str>,
    /// The topic whose partitions are divided among the members.
    pub topic: Arc<str>,
    /// What the member is called by those who look at the group.
    pub client_id: String,
    /// This task's number among those of its component, from 0. A log without groups divides by it.
    pub task: u32,
    /// How many tasks the component has.
    pub tasks: u32,
}

impl Joining {
    /// The partitions that fall to this task where nobody else is there to ask: those whose number leaves the task's when
    /// divided by the number of tasks.
    pub fn share(&self, partitions: u32) -> impl Iterator<Item = TopicPartition> + use<> {
        let topic = Arc::clone(&self.topic);
        let numbers = (self.task..partitions).step_by(self.tasks.max(1) as usize);
        numbers.map(move |number| TopicPartition::new(Arc::clone(&topic), number))
    }
}

/// What became of a member's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These are the member's own from now on; perhaps none.
    Assigned(Vec<TopicPartition>),
    /// The group divides its topics anew. What the member has is still its own, and may be committed, until it calls
    /// [`Membership::release`]; it should do so soon, because the others wait.
    Revoked,
    /// The group went on without the member: what it had may be another's already, and what it did not commit is read
    /// again there. An assignment follows.
    Lost,
}

/// A member of a group. Dropping it leaves the group without waiting for the answer.
///
/// A log knows its own members by their type, where it is given one to commit for in a transaction.
#[async_trait]
pub trait Membership: Any + Send + Sync {
    /// Waits for the next change. May be dropped at any await and called again; no change is missed by that.
    ///
    /// # Errors
    /// What keeps the member out of its group for good; what passes is tried again without a word.
    async fn changed(&self) -> Result<Change, LogError>;

    /// Lets go of the partitions that were revoked; does nothing where nothing is revoked any more.
    fn release(&self);

    /// Commits, for the group, the offset of the next record to read in each partition; durable when it returns.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where the partitions are no longer the member's own, or a storage or connection error; nothing
    /// is committed then.
    async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError>;

    /// Leaves the group, so that the others need not wait for the member's silence to last long enough.
    async fn leave(&self);
}
