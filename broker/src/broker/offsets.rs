//! What groups have committed, all of it, and its deletion.

use std::sync::Arc;

use super::{Broker, offsets_partition};
use crate::error::BrokerError;
use crate::offsets::CommittedOffset;
use crate::topic::TopicPartition;

impl Broker {
    /// All that `group` last committed, durably, by partition.
    ///
    /// # Errors
    /// [`BrokerError::Closed`].
    pub fn all_committed(&self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>, BrokerError> {
        let Some(topic) = self.shared.offsets_topic.get() else { return Ok(Vec::new()) };
        let high_watermark = offsets_partition(topic)?.offsets()?.high_watermark;
        Ok(self.shared.committed.all(group, high_watermark))
    }

    /// Whether a commit of `group` for a partition is under way, by itself or in a transaction that is open; so what
    /// [`Broker::committed`] says may be about to change.
    ///
    /// # Errors
    /// [`BrokerError::Closed`].
    pub fn is_commit_pending(&self, group: &str, of: &TopicPartition) -> Result<bool, BrokerError> {
        let Some(topic) = self.shared.offsets_topic.get() else { return Ok(false) };
        let high_watermark = offsets_partition(topic)?.offsets()?.high_watermark;
        Ok(self.shared.committed.is_unstable(group, of, high_watermark))
    }

    /// The groups that have committed something, durably, by name.
    ///
    /// # Errors
    /// [`BrokerError::Closed`].
    pub fn committed_groups(&self) -> Result<Vec<Arc<str>>, BrokerError> {
        let Some(topic) = self.shared.offsets_topic.get() else { return Ok(Vec::new()) };
        let high_watermark = offsets_partition(topic)?.offsets()?.high_watermark;
        Ok(self.shared.committed.groups_at(high_watermark))
    }

    /// Forgets what `group` committed for these partitions, or for all where that is `None`, durably; says whether there
    /// was anything. Partitions need not exist.
    ///
    /// # Errors
    /// [`BrokerError::Log`], [`BrokerError::Poisoned`] or [`BrokerError::Closed`].
    pub async fn delete_committed(
        &self,
        group: &str,
        of: Option<&[TopicPartition]>,
    ) -> Result<bool, BrokerError> {
        let Some(topic) = self.shared.offsets_topic.get() else { return Ok(false) };
        let partition = offsets_partition(topic)?;
        let Some(next_offset) = self.shared.committed.delete(partition, group, of)? else { return Ok(false) };
        partition.until_durable(next_offset).await?;
        self.shared.committed.prune(group, next_offset);
        Ok(true)
    }
}
