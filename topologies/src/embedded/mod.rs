//! The embedded log: [`Log`] on a broker in this process, with nothing between a topology and its files but batches.
//!
//! Invariant: what is fetched shares the buffer that its batch was read, or decompressed, into; records are not copied.

mod error;
mod member;
mod read;
#[cfg(test)]
mod tests;
mod transactional;
mod write;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use topo_broker::{Broker, BrokerConfig, BrokerError, CommittedOffset};
use topo_core::log::{
    FetchLimit, Fetched, InStages, Isolation, Joining, Log, LogError, Membership, Offsets, Record, TopicInfo,
    TopicPartition, TopicSpec, TransactionalConfig, TransactionalLog,
};
use topo_core::schedule::Clock;
use topo_protocol::Compression;

use self::error::{isolation_there, offsets, there, unread, unwritten};
use self::member::Member;
use self::transactional::Transactional;

/// How an [`EmbeddedLog`] writes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// How the broker below it stores.
    pub broker: BrokerConfig,
    /// How batches are compressed for topics that leave it to their producers.
    pub compression: Compression,
    /// Bytes of records, before compression, that make a batch; large ones compress better, and are read whole.
    pub batch_bytes: usize,
    /// The most that one batch may decompress to.
    pub max_decompressed_bytes: usize,
    /// For whom the high watermark is told, and records are looked up by their timestamps. What a fetch shows is said by
    /// its limit.
    pub isolation: Isolation,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            broker: BrokerConfig::default(),
            compression: Compression::Lz4,
            batch_bytes: 128 << 10,
            max_decompressed_bytes: 64 << 20,
            isolation: Isolation::ReadCommitted,
        }
    }
}

/// A log in this process's own data directory.
///
/// Clones share it. Its methods need a tokio runtime with timers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use topo::embedded::{EmbeddedConfig, EmbeddedLog};
/// use topo_core::log::{FetchLimit, Log, Record, TopicPartition, TopicSpec};
/// use topo_core::schedule::TokioScheduler;
///
/// let dir = tempfile::tempdir()?;
/// let clock = Arc::new(TokioScheduler::current());
/// let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default(), clock)?;
/// log.create_topic("lines", &TopicSpec::default()).await?;
///
/// let lines = TopicPartition::new("lines", 0);
/// let record = Record { value: Some("a line".into()), ..Record::default() };
/// assert_eq!(log.append(&lines, vec![record]).await?, 0);
/// let fetched = log.fetch(&lines, 0, FetchLimit::default()).await?;
/// assert_eq!(fetched.records[0].value.as_deref(), Some(&b"a line"[..]));
/// log.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EmbeddedLog {
    broker: Broker,
    config: EmbeddedConfig,
    clock: Arc<dyn Clock>,
}

impl EmbeddedLog {
    /// Opens, or creates, the data directory at `data_dir`. Blocks while its topics are recovered.
    ///
    /// # Errors
    /// What [`Broker::open`] says, in a sentence for the user.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn open(
        data_dir: impl AsRef<Path>,
        config: EmbeddedConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        Ok(Self::new(Broker::open(data_dir, config.broker)?, config, clock))
    }

    /// The log of a broker that is open, whose retention and compaction are kept by `clock`; `config.broker` is not looked at.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn new(broker: Broker, config: EmbeddedConfig, clock: Arc<dyn Clock>) -> Self {
        let wall = clock.clone();
        broker.keep_retention(move || wall.wall_ms());
        let wall = clock.clone();
        broker.keep_compaction(move || wall.wall_ms());
        Self { broker, config, clock }
    }

    /// The broker below.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Makes everything durable and lets go of the data directory; later calls end with [`LogError::Closed`].
    ///
    /// # Errors
    /// [`LogError::Storage`] where something could not be made durable.
    pub async fn close(&self) -> Result<(), LogError> {
        self.broker.close().await.map_err(unwritten)
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        let created = self.broker.create_topic(topic, spec.partitions, spec.config.clone()).await;
        created.map(drop).map_err(unwritten)
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.broker.delete_topic(topic).await.map_err(unwritten)
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(self.broker.topics().iter().map(|topic| info(topic)).collect())
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(self.broker.topic(topic).ok().map(|topic| info(&topic)))
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        self.append_records(to, &records).await.map_err(unwritten)
    }

    async fn fetch(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        self.fetch_records(from, offset, limit).await.map_err(unread)
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        let isolation = isolation_there(self.config.isolation);
        self.broker.offsets(&there(of)).map(|held| offsets(held, isolation)).map_err(unread)
    }

    async fn offset_for_time(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        let isolation = isolation_there(self.config.isolation);
        let found = self.broker.offset_for_time(&there(of), timestamp_ms, isolation).await.map_err(unread)?;
        Ok(found.map(|found| found.offset))
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        let offsets = committed_at(offsets, "", self.clock.wall_ms());
        self.broker.commit(group, &offsets).await.map_err(unwritten)
    }

    async fn noted(&self, group: &str, of: &TopicPartition) -> Result<Option<(i64, String)>, LogError> {
        let committed = self.broker.committed(group, &there(of)).map_err(unread)?;
        Ok(committed.map(|committed| (committed.offset, committed.metadata)))
    }

    async fn join(&self, joining: &Joining) -> Result<Arc<dyn Membership>, LogError> {
        self.broker.topic(&joining.topic).map_err(unread)?;
        Ok(Arc::new(Member::join(&self.broker, joining, Arc::clone(&self.clock))))
    }

    async fn transactional(
        &self,
        config: &TransactionalConfig,
    ) -> Result<Box<dyn TransactionalLog>, LogError> {
        Ok(Box::new(InStages::new(Transactional::open(self, config).await?)))
    }
}

/// Offsets as the broker keeps them, with a note, committed at `commit_timestamp_ms`, in milliseconds since 1970.
fn committed_at(
    offsets: &[(TopicPartition, i64)],
    note: &str,
    commit_timestamp_ms: i64,
) -> Vec<(topo_broker::TopicPartition, CommittedOffset)> {
    let committed = |(of, offset): &(TopicPartition, i64)| {
        let metadata = note.to_owned();
        (there(of), CommittedOffset { offset: *offset, leader_epoch: -1, metadata, commit_timestamp_ms })
    };
    offsets.iter().map(committed).collect()
}

fn info(topic: &topo_broker::Topic) -> TopicInfo {
    TopicInfo {
        name: topic.name().clone(),
        partitions: topic.partition_count(),
        config: topic.config_overrides().clone(),
    }
}
