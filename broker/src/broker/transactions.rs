//! What transactions and their coordinator need of the broker.

use std::sync::{Arc, Weak};

use futures_util::future::try_join_all;
use topo_log::ProducerError;
use topo_protocol::EndTransactionMarker;

use super::{Broker, Shared, offsets_partition};
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::topic::TRANSACTIONS_TOPIC;
use crate::transactions::{
    COORDINATOR_EPOCH, Markers, TransactionError, TransactionalConfig, TransactionalProducer, Transactions,
};

impl Broker {
    /// Transactional ids, for producers in this process as for those outside.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn transactions(&self) -> Transactions {
        Transactions::new(self.clone(), self.shared.transactions.clone())
    }

    /// A producer in this process that writes in transactions, by the same steps and the same rules as those outside. It takes
    /// over its transactional id: what an earlier instance has not committed is aborted, and that instance is fenced.
    ///
    /// # Errors
    /// As [`Transactions::init`], but for [`TransactionError::Concurrent`], which is waited for.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub async fn transactional(
        &self,
        config: TransactionalConfig,
    ) -> Result<TransactionalProducer, TransactionError> {
        TransactionalProducer::init(self.transactions(), config).await
    }

    /// The log of transactional ids, created where it is missing.
    pub(crate) async fn transactions_log(&self) -> Result<Arc<Partition>, BrokerError> {
        // One partition: one sync serves the steps of all transactional ids.
        let topic = self.internal_topic(TRANSACTIONS_TOPIC, |shared| &shared.transactions_topic).await?;
        offsets_partition(&topic).cloned()
    }

    /// Tells all partitions of a transaction how it ends, durably. Those of topics that were deleted need not know.
    pub(crate) async fn write_markers(&self, markers: &Markers) -> Result<(), BrokerError> {
        let marker = EndTransactionMarker {
            producer_id: markers.producer.producer_id,
            producer_epoch: markers.producer.epoch,
            coordinator_epoch: COORDINATOR_EPOCH,
            result: markers.result,
        };
        let now_ms = wall_ms();
        let mut waits = Vec::with_capacity(markers.partitions.len());
        for of in &markers.partitions {
            match self.append_marker(of, &marker, now_ms) {
                Ok(appending) => waits.push(async move {
                    match appending.durable().await {
                        Err(BrokerError::UnknownTopic(_)) => Ok(()),
                        durable => durable.map(drop),
                    }
                }),
                Err(BrokerError::UnknownTopic(_) | BrokerError::UnknownPartition(_)) => {}
                // A later instance has written there, so that this transaction is at its end there: the coordinator has
                // forgotten the other one, as a power loss may have it where it does not wait for syncs.
                Err(BrokerError::Producer { source: ProducerError::Fenced { .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        try_join_all(waits).await.map(drop)
    }

    /// A hold on the broker that does not keep it open.
    pub(crate) fn downgrade(&self) -> WeakBroker {
        WeakBroker(Arc::downgrade(&self.shared))
    }
}

/// A broker that may be gone.
#[derive(Debug, Clone)]
pub(crate) struct WeakBroker(Weak<Shared>);

impl WeakBroker {
    /// The broker, where somebody else still has it.
    pub(crate) fn upgrade(&self) -> Option<Broker> {
        self.0.upgrade().map(|shared| Broker { shared })
    }
}
