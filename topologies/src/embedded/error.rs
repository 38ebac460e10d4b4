//! The broker's errors and offsets in the words of [`Log`](topo_core::log::Log).

use std::sync::Arc;

use topo_broker::BrokerError;
use topo_core::log::{Isolation, LogError, Offsets, TopicPartition};

/// What a call that reads failed with: a batch that is none was damaged in the log.
pub(super) fn unread(error: BrokerError) -> LogError {
    match error {
        BrokerError::InvalidBatch(error) => LogError::Corrupt(error.to_string()),
        error => unwritten(error),
    }
}

/// What a call that changes something failed with: a batch that is none was asked for.
pub(super) fn unwritten(error: BrokerError) -> LogError {
    match error {
        BrokerError::UnknownTopic(topic) => LogError::UnknownTopic(topic),
        BrokerError::UnknownPartition(of) => LogError::UnknownPartition(here(of)),
        BrokerError::TopicExists(topic) => LogError::TopicExists(topic),
        BrokerError::OffsetOutOfRange { at, asked, held } => {
            let held = offsets(held, topo_broker::Isolation::ReadUncommitted);
            LogError::OffsetOutOfRange { at: here(at), asked, held }
        }
        BrokerError::Closed => LogError::Closed,
        BrokerError::InvalidTopicName(_)
        | BrokerError::InternalTopic(_)
        | BrokerError::InvalidPartitionCount(_)
        | BrokerError::UnknownConfig(_)
        | BrokerError::UnsupportedConfig(_)
        | BrokerError::NotMorePartitions { .. }
        | BrokerError::InvalidConfig { .. }
        | BrokerError::InvalidCommit(_)
        | BrokerError::BatchTooLarge { .. }
        | BrokerError::InvalidBatch(_)
        | BrokerError::UnacceptableBatch(_)
        | BrokerError::InvalidTransaction(_)
        | BrokerError::Producer { .. } => LogError::Invalid(error.to_string()),
        BrokerError::Corrupt(sentence) => LogError::Corrupt(sentence),
        error => LogError::Storage(error.to_string()),
    }
}

/// The same for an error that others may have been told as well.
pub(super) fn shared(error: Arc<BrokerError>) -> LogError {
    match Arc::try_unwrap(error) {
        Ok(error) => unwritten(error),
        Err(error) => LogError::Storage(error.to_string()),
    }
}

/// A partition in the broker's words.
pub(super) fn there(of: &TopicPartition) -> topo_broker::TopicPartition {
    topo_broker::TopicPartition::new(of.topic.clone(), of.partition)
}

/// A partition in the log's words.
pub(super) fn here(of: topo_broker::TopicPartition) -> TopicPartition {
    TopicPartition::new(of.topic, of.partition)
}

/// Offsets as a reader of an isolation sees them.
pub(super) fn offsets(held: topo_broker::Offsets, isolation: topo_broker::Isolation) -> Offsets {
    let high_watermark = held.readable_end(isolation);
    Offsets { log_start: held.log_start, high_watermark, log_end: held.log_end }
}

/// An isolation in the broker's words.
pub(super) fn isolation_there(isolation: Isolation) -> topo_broker::Isolation {
    match isolation {
        Isolation::ReadCommitted => topo_broker::Isolation::ReadCommitted,
        Isolation::ReadUncommitted => topo_broker::Isolation::ReadUncommitted,
    }
}
