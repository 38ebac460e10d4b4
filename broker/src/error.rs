//! What the broker cannot do, and why.

use std::sync::Arc;

use topo_log::{DirectoryError, LogError, ProducerError};
use topo_protocol::BatchError;

use crate::partition::Offsets;
use crate::topic::{KEYS, MAX_PARTITIONS, TopicId, TopicPartition};

/// Why the broker refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// No topic has that name.
    #[error("there is no topic `{0}`")]
    UnknownTopic(Arc<str>),
    /// No topic has that id.
    #[error("there is no topic with the id {0}")]
    UnknownTopicId(TopicId),
    /// The topic has fewer partitions.
    #[error("topic `{}` has no partition {}", .0.topic, .0.partition)]
    UnknownPartition(TopicPartition),
    /// The name is taken.
    #[error("topic `{0}` exists already")]
    TopicExists(Arc<str>),
    /// The name breaks Kafka's rule.
    #[error(
        "`{0}` is no name for a topic; use 1 to 249 letters, digits, dots, underscores and hyphens, and more than \
         `.` or `..`"
    )]
    InvalidTopicName(String),
    /// The topic is the broker's own.
    #[error("topic `{0}` is kept by the broker itself; choose another")]
    InternalTopic(Arc<str>),
    /// No partition, or too many.
    #[error("a topic cannot have {0} partitions; choose from 1 to {MAX_PARTITIONS}")]
    InvalidPartitionCount(u32),
    /// A configuration key that no topic has.
    #[error("`{0}` is no topic setting that topo has; it has {KEYS}")]
    UnknownConfig(String),
    /// A configuration key that Kafka's topics have, and topo's do not.
    #[error("`{0}` is a topic setting of Kafka that topo does not have; leave it out")]
    UnsupportedConfig(&'static str),
    /// Not more partitions than there are.
    #[error("topic `{topic}` has {partitions} partitions already; ask for more than that")]
    NotMorePartitions {
        /// The topic.
        topic: Arc<str>,
        /// How many it has.
        partitions: u32,
    },
    /// A configuration value that its key does not take.
    #[error("`{key}` cannot be `{value}`; it takes {expected}")]
    InvalidConfig {
        /// The key.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// A group, metadata or offset that cannot be committed.
    #[error("{0}")]
    InvalidCommit(String),
    /// A batch is larger than its topic takes.
    #[error(
        "a batch of {bytes} bytes is larger than the {max} bytes that topic `{topic}` takes; raise max.message.bytes"
    )]
    BatchTooLarge {
        /// The topic.
        topic: Arc<str>,
        /// Bytes of the batch.
        bytes: usize,
        /// Its `max.message.bytes`.
        max: u32,
    },
    /// A batch that is none, or that does not decode.
    #[error(transparent)]
    InvalidBatch(#[from] BatchError),
    /// A sound batch that producers do not send.
    #[error("the batch is refused: {0}")]
    UnacceptableBatch(&'static str),
    /// A batch of a transaction where none is open, or of none where one is.
    #[error("the batch is refused: {0}")]
    InvalidTransaction(&'static str),
    /// A producer's batch that is not the one to come; nothing of it was appended.
    #[error("{at}: {source}")]
    Producer {
        /// The partition.
        at: TopicPartition,
        /// What is wrong with it.
        source: ProducerError,
    },
    /// The offset is not held.
    #[error("{at} holds offsets {} to {}, not {asked}", .held.log_start, .held.log_end)]
    OffsetOutOfRange {
        /// The partition.
        at: TopicPartition,
        /// The offset asked for.
        asked: i64,
        /// What it holds.
        held: Offsets,
    },
    /// A sync failed while an append waited for it; appends are refused until the broker is opened again.
    #[error("{at} takes no appends since its storage failed ({reason}); start again to recover it")]
    Poisoned {
        /// The partition.
        at: TopicPartition,
        /// The failure.
        reason: Arc<str>,
    },
    /// A partition's log refused or failed.
    #[error("{at}: {source}")]
    Log {
        /// The partition.
        at: TopicPartition,
        /// What its log says.
        source: LogError,
    },
    /// The data directory cannot be opened.
    #[error(transparent)]
    DataDirectory(DirectoryError),
    /// A topic's or the broker's own files are not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// The storage failed outside a partition's log.
    #[error("{0}")]
    Storage(String),
    /// The broker was closed.
    #[error("the broker is closed")]
    Closed,
}

/// Text from outside, escaped and cut so that it can stand in a sentence.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}
