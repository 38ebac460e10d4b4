//! Segments that take no more appends, and when they survive a power loss.

use futures_util::future::try_join_all;

use super::Broker;
use crate::error::BrokerError;

impl Broker {
    /// Waits until every segment that takes no more appends by now survives a power loss, in all partitions. Under
    /// [`Durability::Os`](crate::Durability::Os) and [`Durability::Interval`](crate::Durability::Interval) such a segment is
    /// synced behind the back of who appends: this says when that is done.
    ///
    /// # Errors
    /// [`BrokerError::Poisoned`] where a sync has failed, or [`BrokerError::Closed`].
    pub async fn until_sealed_durable(&self) -> Result<(), BrokerError> {
        let topics = self.topics();
        let partitions = topics.iter().flat_map(|topic| topic.partitions());
        let waits = partitions.map(async |partition| match partition.until_sealed_durable().await {
            // Of a topic that was deleted nothing is to be kept.
            Err(BrokerError::UnknownTopic(_)) => Ok(()),
            waited => waited,
        });
        try_join_all(waits).await.map(drop)
    }
}
