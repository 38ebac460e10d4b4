//! The broker's errors in Kafka's numbers.

use kafka_protocol::error::ResponseError;
use topo_log::{LogError, ProducerError};
use topo_protocol::BatchError;

use crate::error::BrokerError;

/// The number that says best what happened, and, by Kafka's table, whether asking again may help.
pub(crate) fn code(error: &BrokerError) -> ResponseError {
    match error {
        BrokerError::UnknownTopic(_) | BrokerError::UnknownPartition(_) => {
            ResponseError::UnknownTopicOrPartition
        }
        BrokerError::UnknownTopicId(_) => ResponseError::UnknownTopicId,
        BrokerError::TopicExists(_) => ResponseError::TopicAlreadyExists,
        BrokerError::InvalidTopicName(_) | BrokerError::InternalTopic(_) => {
            ResponseError::InvalidTopicException
        }
        BrokerError::InvalidPartitionCount(_) | BrokerError::NotMorePartitions { .. } => {
            ResponseError::InvalidPartitions
        }
        BrokerError::UnknownConfig(_)
        | BrokerError::UnsupportedConfig(_)
        | BrokerError::InvalidConfig { .. } => ResponseError::InvalidConfig,
        BrokerError::InvalidCommit(_) => ResponseError::InvalidCommitOffsetSize,
        BrokerError::BatchTooLarge { .. } => ResponseError::MessageTooLarge,
        BrokerError::InvalidBatch(error) => batch(error),
        BrokerError::UnacceptableBatch(_) => ResponseError::InvalidRecord,
        BrokerError::InvalidTransaction(_) => ResponseError::InvalidTxnState,
        BrokerError::Producer { source, .. } => producer(source),
        BrokerError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
        BrokerError::Poisoned { .. } | BrokerError::Corrupt(_) | BrokerError::Storage(_) => {
            ResponseError::KafkaStorageError
        }
        BrokerError::Log { source, .. } => match source {
            LogError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
            LogError::Batch(error) => batch(error),
            LogError::Producer(error) => producer(error),
            _ => ResponseError::KafkaStorageError,
        },
        BrokerError::DataDirectory(_) => ResponseError::KafkaStorageError,
        // The client looks for another leader, and finds this one again once it is back.
        BrokerError::Closed => ResponseError::NotLeaderOrFollower,
    }
}

fn batch(error: &BatchError) -> ResponseError {
    match error {
        BatchError::Magic(_) => ResponseError::UnsupportedForMessageFormat,
        BatchError::UnknownCodec(_) => ResponseError::UnsupportedCompressionType,
        BatchError::DecompressedTooLarge { .. } | BatchError::TooLarge { .. } => {
            ResponseError::MessageTooLarge
        }
        BatchError::Record { .. }
        | BatchError::ExtraRecordBytes { .. }
        | BatchError::Marker { .. }
        | BatchError::Empty => ResponseError::InvalidRecord,
        _ => ResponseError::CorruptMessage,
    }
}

fn producer(error: &ProducerError) -> ResponseError {
    match error {
        ProducerError::Fenced { .. } => ResponseError::InvalidProducerEpoch,
        ProducerError::Invalid { .. } => ResponseError::InvalidRequest,
        ProducerError::CoordinatorFenced { .. } => ResponseError::TransactionCoordinatorFenced,
        ProducerError::InTransaction { .. } => ResponseError::InvalidTxnState,
        ProducerError::TooManyTransactions { .. } => ResponseError::ConcurrentTransactions,
        _ => ResponseError::OutOfOrderSequenceNumber,
    }
}
