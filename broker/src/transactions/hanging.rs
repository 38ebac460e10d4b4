//! Transactions that are open in a partition and that nobody will ever end.
//!
//! Where a topic does not wait for syncs, a power loss may take a transaction's marker and leave the coordinator's word that
//! it has ended, or take the coordinator's word and leave the transaction. Nothing behind its first record would be read as
//! committed any more. They are aborted as the broker is opened, before anybody reads: what an operator of Kafka does by hand
//! (KIP-664).
//!
//! Invariant: what a transactional id has ongoing, or decided, in a partition is left to it.

use std::collections::HashMap;
use std::sync::Arc;

use topo_log::{LogError, ProducerState};
use topo_protocol::{EndTransactionMarker, TransactionResult};

use super::COORDINATOR_EPOCH;
use super::metadata::TransactionMetadata;
use super::request::TransactionState;
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::topic::{Topic, TopicPartition};

/// Aborts, in all partitions, what is open there and is none of the `stored` transactional ids' transactions, durably; returns
/// the largest epoch that a partition knows of each of their producers. Blocks.
///
/// # Errors
/// What keeps a partition from taking its marker. A full disk does not keep the broker from being opened: the partition is
/// read up to the transaction until the broker is opened again.
pub(crate) fn abort_hanging(
    topics: &[Arc<Topic>],
    stored: &[(Arc<str>, TransactionMetadata)],
) -> Result<HashMap<i64, i16>, BrokerError> {
    let by_producer: HashMap<i64, &TransactionMetadata> =
        stored.iter().map(|(_, metadata)| (metadata.producer.producer_id, metadata)).collect();
    let mut epochs = HashMap::new();
    for partition in topics.iter().flat_map(|topic| topic.partitions()) {
        for producer in partition.producers()? {
            let metadata = by_producer.get(&producer.producer_id).copied();
            if metadata.is_some() {
                let known = epochs.entry(producer.producer_id).or_insert(producer.epoch);
                *known = producer.epoch.max(*known);
            }
            if producer.transaction_start.is_some() && !is_ended_by(metadata, &producer, partition.at()) {
                abort(partition, &producer)?;
            }
        }
    }
    Ok(epochs)
}

/// Whether the transaction that a producer has open in a partition is one that its transactional id will end there.
fn is_ended_by(
    metadata: Option<&TransactionMetadata>,
    producer: &ProducerState,
    at: &TopicPartition,
) -> bool {
    let Some(metadata) = metadata.filter(|metadata| metadata.partitions.contains(at)) else { return false };
    match metadata.state {
        // By an epoch of its own where it took too long, or another instance took over.
        TransactionState::PrepareAbort => metadata.producer.epoch >= producer.epoch,
        TransactionState::Ongoing | TransactionState::PrepareCommit => {
            metadata.producer.epoch == producer.epoch
        }
        _ => false,
    }
}

fn abort(partition: &Partition, producer: &ProducerState) -> Result<(), BrokerError> {
    let ProducerState { producer_id, epoch, transaction_start, .. } = *producer;
    let marker = EndTransactionMarker {
        producer_id,
        producer_epoch: epoch,
        coordinator_epoch: COORDINATOR_EPOCH,
        result: TransactionResult::Abort,
    };
    let at = partition.at();
    match partition.end_transaction_at_open(&marker, wall_ms()) {
        Ok(()) => {
            tracing::warn!(partition = %at, producer_id, ?transaction_start,
                "aborted a transaction of which its coordinator knows nothing, or no more");
            Ok(())
        }
        Err(BrokerError::Log { source: error @ LogError::Full { .. }, .. }) => {
            tracing::warn!(partition = %at, producer_id, ?transaction_start, %error,
                "a transaction that nobody ends keeps back what follows; start again once there is room");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
