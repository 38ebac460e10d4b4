//! The log as topologies see it: topics of partitions of records, appended durably and read from any offset.
//!
//! The embedded log and the Kafka client both implement [`Log`]; spouts and sinks know only this trait.

mod membership;
mod pieces;
mod transaction_stage;
mod transactional;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use pieces::Pieces;

pub use membership::{Change, Joining, Membership};
pub use transaction_stage::{InStages, TransactionStage};
pub use transactional::{TransactionalConfig, TransactionalLog};

/// A topic and one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record header: metadata beside key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name; names may repeat.
    pub key: Arc<str>,
    /// Its value; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// One record, as produced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// The value; `None` is Kafka's null, a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// Headers in the order written.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; `None` takes the log's wall clock when appended.
    pub timestamp_ms: Option<i64>,
}

/// One record, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// The record's offset in its partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 where the record carries none.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Headers in the order written.
    pub headers: Vec<Header>,
}

/// What a fetch returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The records from the asked-for offset on, in order; empty where there are none yet.
    pub records: Vec<Consumed>,
    /// Where the next fetch goes on: behind what was left out for the reader's isolation, as well.
    pub next_offset: i64,
    /// One past the last record that may be read: by whoever reads what is committed, none of a transaction that is open.
    pub high_watermark: i64,
}

/// What a reader is shown of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// What was committed, and what belongs to no transaction; nothing behind the beginning of a transaction that is open.
    #[default]
    ReadCommitted,
    /// Everything, also what is or will be aborted.
    ReadUncommitted,
}

/// How much a fetch may return, what of it, and how long it may wait for the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimit {
    /// Stop after about this many bytes; the first batch is returned whole even where it is larger.
    pub max_bytes: usize,
    /// Wait at most so long for a first record; zero returns at once.
    pub max_wait: Duration,
    /// What is shown of transactions. A log that reads everything at one isolation, as a Kafka client does, keeps to its own.
    pub isolation: Isolation,
}

impl Default for FetchLimit {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadCommitted }
    }
}

/// The range of offsets that a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset still held.
    pub log_start: i64,
    /// One past the last record that may be read; durable under the setting in force. A log that shows what is committed
    /// shows nothing from the beginning of an open transaction on.
    pub high_watermark: i64,
    /// One past the last record appended.
    pub log_end: i64,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// How many partitions; at least 1.
    pub partitions: u32,
    /// Topic configuration by Kafka's keys, such as `segment.bytes`.
    pub config: BTreeMap<String, String>,
}

impl Default for TopicSpec {
    fn default() -> Self {
        Self { partitions: 1, config: BTreeMap::new() }
    }
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: u32,
    /// The configuration that differs from the defaults.
    pub config: BTreeMap<String, String>,
}

/// What the log could not do, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// No such topic.
    #[error("there is no topic `{0}`; create it with `topo topic create {0}`")]
    UnknownTopic(Arc<str>),
    /// The topic has no such partition.
    #[error("topic `{}` has no partition {}", .0.topic, .0.partition)]
    UnknownPartition(TopicPartition),
    /// A topic of that name exists.
    #[error("topic `{0}` exists already")]
    TopicExists(Arc<str>),
    /// The name, count or configuration is refused.
    #[error("{0}")]
    Invalid(String),
    /// The offset is not held: below the log's start or beyond its end.
    #[error("{at} holds offsets {} to {}, not {asked}", .held.log_start, .held.high_watermark)]
    OffsetOutOfRange {
        /// The partition asked.
        at: TopicPartition,
        /// The offset asked for.
        asked: i64,
        /// What the partition holds.
        held: Offsets,
    },
    /// A member commits what is no longer its own, or another instance has the transactional id.
    #[error("{0}")]
    Fenced(String),
    /// A group does not take what a transaction commits for it: it has divided its topics anew, or is about to. The
    /// transaction is to be aborted; the transactional id is still its holder's.
    #[error("{0}")]
    CommitFailed(String),
    /// Stored bytes are not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// The storage failed; what was not acknowledged may be lost.
    #[error("{0}")]
    Storage(String),
    /// The log cannot be reached, or did not answer in time; what was under way may have been done or not.
    #[error("{0}")]
    Unavailable(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// A partitioned commit log.
///
/// Appends return once the records are durable under the log's setting, and only then may they be read.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Creates a topic.
    ///
    /// # Errors
    /// [`LogError::TopicExists`], [`LogError::Invalid`], or a storage error.
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError>;

    /// Deletes a topic and all that it holds.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] or a storage error.
    async fn delete_topic(&self, topic: &str) -> Result<(), LogError>;

    /// All topics by name.
    ///
    /// # Errors
    /// A storage or connection error.
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError>;

    /// One topic; `None` where there is none of that name.
    ///
    /// # Errors
    /// A storage or connection error.
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError>;

    /// Appends `records` in order and returns the offset of the first, once they are durable.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`], [`LogError::Invalid`] where a record is too large,
    /// or a storage error, after which none of the records is acknowledged.
    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError>;

    /// Reads from `offset` on.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::Corrupt`], or a storage error.
    async fn fetch(&self, from: &TopicPartition, offset: i64, limit: FetchLimit)
    -> Result<Fetched, LogError>;

    /// The offsets that a partition holds now.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] or [`LogError::UnknownPartition`].
    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError>;

    /// The offset of the first record whose timestamp is at or after `timestamp_ms`, in milliseconds since 1970; `None`
    /// where no record that may be read is so late. Timestamps need not rise with offsets.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], [`LogError::UnknownPartition`], [`LogError::Corrupt`], or a storage error.
    async fn offset_for_time(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError>;

    /// Commits, for `group`, the offset of the next record to read in each partition; durable when it returns.
    ///
    /// # Errors
    /// A storage or fencing error, after which nothing is committed.
    async fn commit(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError>;

    /// What `group` last committed for a partition; `None` where it never did.
    ///
    /// # Errors
    /// A storage error.
    async fn committed(&self, group: &str, of: &TopicPartition) -> Result<Option<i64>, LogError> {
        Ok(self.noted(group, of).await?.map(|(offset, _)| offset))
    }

    /// What `group` last committed for a partition, and what was
    /// [noted](TransactionalLog::commit_offsets_noting) with it; nothing is an empty note.
    ///
    /// # Errors
    /// A storage error.
    async fn noted(&self, group: &str, of: &TopicPartition) -> Result<Option<(i64, String)>, LogError>;

    /// Joins a group; what the member gets is heard from [`Membership::changed`]. Returns without waiting for the others.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`], or a storage or connection error.
    async fn join(&self, joining: &Joining) -> Result<Arc<dyn Membership>, LogError>;

    /// Becomes the holder of a transactional id: fences whoever had it before, and aborts what they left open. A log without
    /// transactions refuses, unless it says otherwise.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where the log has no transactions, or the id or timeout is none that it takes; or a storage or
    /// connection error.
    async fn transactional(
        &self,
        config: &TransactionalConfig,
    ) -> Result<Box<dyn TransactionalLog>, LogError> {
        Err(LogError::Invalid(format!(
            "this log has no transactions, as `{}` needs them; use the embedded log or a Kafka broker",
            config.id
        )))
    }
}
