//! What a transactional id refuses, and why.

use std::sync::Arc;
use std::time::Duration;

use super::request::{ProducerInstance, TransactionState};
use crate::error::BrokerError;
use crate::groups::GroupError;
use crate::topic::TopicPartition;

/// Why a transaction, or its coordinator, did not do what it was asked to. Each is one of Kafka's errors.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The transactional id is empty or too long.
    #[error("`{0}` is no transactional id; use 1 to 32767 bytes")]
    InvalidId(String),
    /// The transaction timeout is none, or longer than the broker lets transactions last.
    #[error("a transaction timeout of {asked:?} is not accepted; choose more than 0 and at most {max:?}")]
    InvalidTimeout {
        /// What the producer wanted.
        asked: Duration,
        /// `transaction.max.timeout.ms`.
        max: Duration,
    },
    /// An earlier step of the same transactional id is not at its end; the same request is to be sent again soon.
    #[error("the transactional id's last transaction, or step, is not at its end yet; try again")]
    Concurrent,
    /// A later instance of the producer has taken over, or its transaction took longer than its timeout.
    #[error(
        "epoch {} of producer {} is fenced: another instance has taken over its transactional id, or its transaction timed \
         out", .0.epoch, .0.producer_id
    )]
    Fenced(ProducerInstance),
    /// The producer id is not the transactional id's.
    #[error("producer {0} has no such transactional id; it was never given, or has expired")]
    UnknownProducer(i64),
    /// Where the transactional id stands, that cannot be done.
    #[error("a transaction cannot be {asked} while its transactional id is {}", .state.name())]
    InvalidState {
        /// What was to be done, such as `committed`.
        asked: &'static str,
        /// Where it stands.
        state: TransactionState,
    },
    /// The partition is not part of the transaction.
    #[error("{0} is not part of the transaction; add it first")]
    NotAdded(TopicPartition),
    /// The transaction has all the partitions that it may have.
    #[error("a transaction takes {max} partitions; commit more often, or raise the broker's limit")]
    TooManyPartitions {
        /// The limit.
        max: usize,
    },
    /// There are all the transactional ids there may be.
    #[error(
        "the broker keeps {max} transactional ids and takes no more; use the same ones again, or raise its limit"
    )]
    TooManyIds {
        /// The limit.
        max: usize,
    },
    /// Transactional ids and their partitions take too much memory.
    #[error(
        "transactional ids and their partitions take more than {max} bytes; use fewer, or raise the broker's limit"
    )]
    TooLarge {
        /// How much they may take.
        max: usize,
    },
    /// There is no such transactional id.
    #[error("there is no transactional id `{0}`")]
    NotFound(String),
    /// The broker closes, or whether the last step is durable is unknown until it is opened again.
    #[error("the transactional id is not to be had now; try again")]
    Unavailable,
    /// The consumer group whose offsets were to be committed refused that.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The log refused or failed.
    #[error(transparent)]
    Broker(Arc<BrokerError>),
}

impl From<BrokerError> for TransactionError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(Arc::new(error))
    }
}
