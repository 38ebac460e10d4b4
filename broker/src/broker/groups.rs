//! What groups and their coordinator need of the broker: each change in two halves, of which the first is done under a
//! group's lock.

use std::sync::Arc;

use super::{Appending, Broker, offsets_partition};
use crate::error::BrokerError;
use crate::groups::Groups;
use crate::offsets::{CommittedOffset, TransactionalProducer};
use crate::partition::Partition;
use crate::topic::TopicPartition;

impl Broker {
    /// Consumer groups, for members in this process as for those outside. Offsets that are committed through it are
    /// checked against the group's generation; [`Broker::commit`] asks no group.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn groups(&self) -> Groups {
        Groups::new(self.clone(), self.shared.groups.clone())
    }

    /// The log of committed offsets and groups, created where it is missing.
    pub(crate) async fn offsets_log(&self) -> Result<Arc<Partition>, BrokerError> {
        offsets_partition(&*self.offsets_topic().await?).cloned()
    }

    /// The first half of [`Broker::commit`], once there is a topic for it: durable once everything below the returned
    /// offset is.
    pub(crate) fn write_commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<i64, BrokerError> {
        let topic = self.shared.offsets_topic.get().ok_or(BrokerError::Closed)?;
        let check = |of: &TopicPartition| self.check_commit(of);
        self.shared.committed.write(offsets_partition(topic)?, group, offsets, check)
    }

    /// A commit in a producer's transaction, once there is a topic for it.
    pub(crate) fn write_commit_in_transaction(
        &self,
        producer: TransactionalProducer,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<Appending, BrokerError> {
        let topic = self.shared.offsets_topic.get().ok_or(BrokerError::Closed)?;
        let partition = offsets_partition(topic)?;
        let check = |of: &TopicPartition| self.check_commit(of);
        let committed = &self.shared.committed;
        let appended = committed.write_in_transaction(partition, producer, group, offsets, check)?;
        Ok(Appending { partition: partition.clone(), appended })
    }

    /// Whether it may be committed for a partition.
    fn check_commit(&self, of: &TopicPartition) -> Result<(), BrokerError> {
        let topic = self.topic(&of.topic)?;
        if topic.is_retiring() {
            return Err(BrokerError::UnknownTopic(of.topic.clone()));
        }
        topic.partition(of.partition).map(drop)
    }

    /// The second half.
    pub(crate) async fn commit_durable(&self, next_offset: i64) -> Result<(), BrokerError> {
        let topic = self.shared.offsets_topic.get().ok_or(BrokerError::Closed)?;
        offsets_partition(topic)?.until_durable(next_offset).await
    }

    /// The first half of [`Broker::delete_committed`]; `None` where there was nothing.
    pub(crate) fn write_deletion(
        &self,
        group: &str,
        of: Option<&[TopicPartition]>,
    ) -> Result<Option<i64>, BrokerError> {
        let topic = self.shared.offsets_topic.get().ok_or(BrokerError::Closed)?;
        self.shared.committed.delete(offsets_partition(topic)?, group, of)
    }

    /// The second half.
    pub(crate) async fn deletion_durable(&self, group: &str, next_offset: i64) -> Result<(), BrokerError> {
        self.commit_durable(next_offset).await?;
        self.shared.committed.prune(group, next_offset);
        Ok(())
    }
}
