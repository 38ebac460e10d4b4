//! The broker: one data directory, its topics, and what groups have committed.

#[cfg(test)]
mod admin_tests;
mod append;
mod compaction;
#[cfg(test)]
mod compaction_tests;
#[cfg(test)]
mod crash_tests;
mod groups;
mod offsets;
mod queries;
mod sealed;
#[cfg(test)]
mod tests;
mod topics;
#[cfg(test)]
mod transaction_tests;
mod transactions;

pub use append::Appending;
pub use queries::{EpochEnd, OffsetSpec};
pub use topics::ConfigChange;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;
use topo_log::DataDirectory;
use topo_log::storage::{FileStorage, Storage};

use crate::config::BrokerConfig;
use crate::error::BrokerError;
use crate::groups::Coordinator;
use crate::identity::Identity;
use crate::offsets::{CommittedOffset, CommittedOffsets};
use crate::partition::{FetchLimit, Fetched, Offsets, Partition};
use crate::topic::{
    OFFSETS_TOPIC, Registry, TRANSACTIONS_TOPIC, Topic, TopicId, TopicPartition, is_internal,
};
use crate::transactions::{Coordinator as TransactionCoordinator, abort_hanging};

/// A log of topics in one data directory, durable before it acknowledges unless a topic's `flush.ms` says otherwise.
///
/// Clones share it. Its methods need a tokio runtime: syncs and reads run on blocking threads. A broker that is dropped
/// without [`Broker::close`] has lost nothing that it acknowledged; the next open has more to check.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{collections::BTreeMap, time::Duration};
/// use topo_broker::{Broker, BrokerConfig, FetchLimit, Isolation, TopicPartition};
/// use topo_protocol::{BatchBuilder, Compression, NewRecord, Room};
///
/// let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path(), BrokerConfig::default())?;
/// broker.create_topic("lines", 1, BTreeMap::new()).await?;
///
/// let mut builder = BatchBuilder::new(16 << 10);
/// let record = NewRecord { timestamp_ms: 0, key: None, value: Some(b"a line"), headers: &[] };
/// assert_eq!(builder.append(&record)?, Room::Taken);
/// let lines = TopicPartition::new("lines", 0);
/// broker.append(&lines, vec![builder.finish(Compression::None)?]).await?;
///
/// let isolation = Isolation::ReadCommitted;
/// let limit = FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation };
/// let fetched = broker.fetch(&lines, 0, limit).await?;
/// assert_eq!(fetched.offsets.high_watermark, 1);
/// broker.close().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: BrokerConfig,
    identity: Identity,
    registry: Registry,
    committed: CommittedOffsets,
    /// Empty until something is committed for the first time.
    offsets_topic: OnceLock<Arc<Topic>>,
    groups: Arc<Coordinator>,
    /// Empty until a transactional id is initialised for the first time.
    transactions_topic: OnceLock<Arc<Topic>>,
    transactions: Arc<TransactionCoordinator>,
    /// Keeps the directory locked; `None` once closed.
    directory: Mutex<Option<DataDirectory>>,
    /// Whether somebody looks for segments to give up.
    retained: AtomicBool,
    /// Whether somebody looks for partitions to compact.
    compacted: AtomicBool,
}

impl Broker {
    /// Opens, or creates, the data directory at `data_dir`, recovers its topics and reads what was committed. Blocks.
    ///
    /// # Errors
    /// [`BrokerError::DataDirectory`] where another process has it open, or a newer version wrote it;
    /// [`BrokerError::Log`] or [`BrokerError::Corrupt`] for damage that recovery must not hide; [`BrokerError::Storage`].
    pub fn open(data_dir: impl AsRef<Path>, config: BrokerConfig) -> Result<Self, BrokerError> {
        Self::open_on(Arc::new(FileStorage), data_dir.as_ref(), config)
    }

    /// Opens on a storage of one's own: in memory, or simulated.
    ///
    /// # Errors
    /// As [`Broker::open`].
    pub fn open_on(
        storage: Arc<dyn Storage>,
        data_dir: &Path,
        config: BrokerConfig,
    ) -> Result<Self, BrokerError> {
        let directory = DataDirectory::open(storage.clone(), data_dir).map_err(BrokerError::DataDirectory)?;
        let identity = Identity::open(storage.clone(), data_dir)?;
        let registry = Registry::open(storage, data_dir, config)?;
        let (transactions, transactions_topic) = open_transactions(&registry, config)?;
        let (committed, groups, offsets_topic) = match registry.get(OFFSETS_TOPIC) {
            Ok(topic) => {
                let partition = offsets_partition(&topic)?;
                let groups = Coordinator::new(config.groups, crate::groups::records::replay(partition)?);
                groups.store_in(partition);
                (CommittedOffsets::replay(partition)?, groups, topic.into())
            }
            Err(_) => {
                (CommittedOffsets::default(), Coordinator::new(config.groups, Vec::new()), OnceLock::new())
            }
        };
        let directory = Mutex::new(Some(directory));
        let (retained, compacted) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Shared {
            config,
            identity,
            registry,
            committed,
            offsets_topic,
            groups,
            transactions_topic,
            transactions,
            directory,
            retained,
            compacted,
        };
        let broker = Self { shared: Arc::new(shared) };
        if Handle::try_current().is_ok() {
            // What was decided is done, and time passes for what is open, whether or not anybody asks.
            drop(broker.transactions());
        }
        Ok(broker)
    }

    /// Makes everything durable and lets go of the data directory. Appends and fetches under way, and all later calls,
    /// end with [`BrokerError::Closed`]. Closing again does nothing.
    ///
    /// # Errors
    /// The first partition's that could not be made durable; the others are closed all the same.
    pub async fn close(&self) -> Result<(), BrokerError> {
        let Some(directory) = self.shared.directory.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return Ok(());
        };
        self.shared.groups.close();
        self.shared.transactions.close();
        let mut closed = self
            .blocking(|shared| {
                shared.registry.close();
                Ok(())
            })
            .await;
        for topic in self.shared.registry.all() {
            for partition in topic.partitions() {
                closed = closed.and(partition.close().await);
            }
        }
        closed?;
        self.blocking(|_| directory.close_clean().map_err(BrokerError::DataDirectory)).await
    }

    /// Creates a topic; it exists, durably, when this returns.
    ///
    /// `config` are Kafka's keys, as in [`TopicConfig`](crate::TopicConfig).
    ///
    /// # Errors
    /// [`BrokerError::TopicExists`]; [`BrokerError::InvalidTopicName`], [`BrokerError::InternalTopic`],
    /// [`BrokerError::InvalidPartitionCount`], [`BrokerError::UnknownConfig`] or [`BrokerError::InvalidConfig`];
    /// [`BrokerError::Storage`] or [`BrokerError::Log`].
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        config: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, BrokerError> {
        not_internal(name)?;
        let name = name.to_owned();
        self.blocking(move |shared| shared.registry.create(&name, partitions, config)).await
    }

    /// Whether [`Broker::create_topic`] would be asked for something that can be.
    ///
    /// # Errors
    /// As [`Broker::create_topic`], but for those of the storage.
    pub fn check_topic(
        &self,
        name: &str,
        partitions: u32,
        config: &BTreeMap<String, String>,
    ) -> Result<(), BrokerError> {
        not_internal(name)?;
        self.shared.registry.check(name, partitions, config)?;
        match self.topic(name) {
            Ok(topic) => Err(BrokerError::TopicExists(topic.name().clone())),
            Err(_) => Ok(()),
        }
    }

    /// Deletes a topic, all that it holds, and what was committed for it.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`] or [`BrokerError::InternalTopic`]; [`BrokerError::Poisoned`] or
    /// [`BrokerError::Log`] where committed offsets cannot be deleted, with which the topic stays;
    /// [`BrokerError::Storage`], after which it takes no appends and may be there or not at the next start.
    pub async fn delete_topic(&self, name: &str) -> Result<(), BrokerError> {
        not_internal(name)?;
        let name = name.to_owned();
        // On a thread of its own to the end, whether or not anybody waits for it.
        self.blocking(move |shared| shared.registry.delete(&name, |topic| shared.forget_committed(topic)))
            .await
    }

    /// Gives up the segments that are due by `now_ms`, in milliseconds since 1970, in every topic, and says how many that
    /// were. What fails in one partition is logged, and keeps none of the others from theirs.
    ///
    /// # Errors
    /// The first partition's: what it did not give up is there, and the next attempt may succeed.
    pub async fn retain(&self, now_ms: i64) -> Result<usize, BrokerError> {
        self.blocking(move |shared| {
            let mut retained = Ok(0);
            for topic in shared.registry.all() {
                for partition in topic.partitions() {
                    let given_up = partition.retain(now_ms).inspect_err(|error| {
                        tracing::warn!(partition = %partition.at(), %error, "retention failed");
                    });
                    retained = retained.and_then(|sum: usize| given_up.map(|segments| sum + segments));
                }
            }
            retained
        })
        .await
    }

    /// Starts to call [`Broker::retain`] every `retention_check_interval`, with what `wall_ms` says, until the broker is
    /// closed or dropped. Only the first call starts anything.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn keep_retention(&self, wall_ms: impl Fn() -> i64 + Send + 'static) {
        if self.shared.retained.swap(true, Ordering::Relaxed) {
            return;
        }
        // Where the broker was opened outside of a runtime, time passes for transactions from here on.
        drop(self.transactions());
        let (weak, interval) = (Arc::downgrade(&self.shared), self.shared.config.retention_check_interval);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(broker) = weak.upgrade().map(|shared| Self { shared }) else { return };
                if broker.is_closed() {
                    return;
                }
                // Logged where it failed.
                let _ = broker.retain(wall_ms()).await;
                if let Err(error) = broker.groups().forget_idle() {
                    tracing::warn!(%error, "groups that nobody uses are left");
                }
            }
        });
    }

    fn is_closed(&self) -> bool {
        self.shared.directory.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The topic of that name.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`].
    pub fn topic(&self, name: &str) -> Result<Arc<Topic>, BrokerError> {
        self.shared.registry.get(name)
    }

    /// The topic with that id.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopicId`].
    pub fn topic_by_id(&self, id: TopicId) -> Result<Arc<Topic>, BrokerError> {
        self.shared.registry.by_id(id).ok_or(BrokerError::UnknownTopicId(id))
    }

    /// All topics by name, the broker's own among them.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.shared.registry.all()
    }

    /// Whole batches, verbatim, from the one that holds `offset` on, up to the high watermark or the last stable offset.
    ///
    /// # Errors
    /// [`BrokerError::OffsetOutOfRange`], [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`],
    /// [`BrokerError::Closed`], or [`BrokerError::Log`] for damage and storage errors.
    pub async fn fetch(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, BrokerError> {
        self.topic(&from.topic)?.partition(from.partition)?.fetch(offset, limit).await
    }

    /// The offsets that a partition holds now.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`] or [`BrokerError::Closed`].
    pub fn offsets(&self, of: &TopicPartition) -> Result<Offsets, BrokerError> {
        self.topic(&of.topic)?.partition(of.partition)?.offsets()
    }

    /// The data directory, as it was opened.
    pub fn data_dir(&self) -> &Path {
        self.shared.identity.data_dir()
    }

    /// A producer id that no other producer of this data directory has, or had.
    ///
    /// # Errors
    /// [`BrokerError::Storage`] or [`BrokerError::Closed`].
    pub async fn new_producer_id(&self) -> Result<i64, BrokerError> {
        if self.is_closed() {
            return Err(BrokerError::Closed);
        }
        match self.shared.identity.reserved_producer_id() {
            Some(id) => Ok(id),
            None => self.blocking(|shared| shared.identity.new_producer_id()).await,
        }
    }

    /// What tells this data directory's broker from all others.
    ///
    /// # Errors
    /// [`BrokerError::Storage`], or [`BrokerError::Closed`], where it is asked for the first time.
    pub async fn cluster_id(&self) -> Result<Arc<str>, BrokerError> {
        if let Some(id) = self.shared.identity.known_cluster_id() {
            return Ok(id);
        }
        if self.is_closed() {
            return Err(BrokerError::Closed);
        }
        self.blocking(|shared| shared.identity.cluster_id()).await
    }

    /// Commits, for `group`, what it goes on from in each partition: all of it or nothing, durably.
    ///
    /// # Errors
    /// [`BrokerError::InvalidCommit`], [`BrokerError::UnknownTopic`] or [`BrokerError::UnknownPartition`] with nothing
    /// committed; [`BrokerError::Log`], [`BrokerError::Poisoned`] or [`BrokerError::Storage`].
    pub async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), BrokerError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.offsets_topic().await?;
        let next_offset = self.write_commit(group, offsets)?;
        self.commit_durable(next_offset).await
    }

    /// What `group` last committed for a partition, durably; `None` where it never did.
    ///
    /// # Errors
    /// [`BrokerError::Closed`].
    pub fn committed(
        &self,
        group: &str,
        of: &TopicPartition,
    ) -> Result<Option<CommittedOffset>, BrokerError> {
        let Some(topic) = self.shared.offsets_topic.get() else { return Ok(None) };
        let high_watermark = offsets_partition(topic)?.offsets()?.high_watermark;
        Ok(self.shared.committed.get(group, of, high_watermark))
    }

    /// The topic of committed offsets, created where it is missing.
    async fn offsets_topic(&self) -> Result<Arc<Topic>, BrokerError> {
        // One partition: one sync serves the commits of all groups.
        self.internal_topic(OFFSETS_TOPIC, |shared| &shared.offsets_topic).await
    }

    /// A topic of the broker's own, of one partition, created where it is missing.
    async fn internal_topic(
        &self,
        name: &'static str,
        known: fn(&Shared) -> &OnceLock<Arc<Topic>>,
    ) -> Result<Arc<Topic>, BrokerError> {
        if let Some(topic) = known(&self.shared).get() {
            return Ok(topic.clone());
        }
        self.blocking(move |shared| {
            let topic = match shared.registry.create(name, 1, BTreeMap::new()) {
                Err(BrokerError::TopicExists(_)) => shared.registry.get(name)?,
                created => created?,
            };
            Ok(known(shared).get_or_init(|| topic).clone())
        })
        .await
    }

    /// Runs what blocks on a thread for that; it runs to its end even where nobody waits for it any more.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|error| Err(BrokerError::Storage(format!("a storage task ended early: {error}"))))
    }
}

impl Shared {
    /// Deletes what was committed for a topic that is about to be deleted: one of the same name starts anew. Blocks.
    fn forget_committed(&self, topic: &Arc<Topic>) -> Result<(), BrokerError> {
        let partition = self.offsets_topic.get().map(|offsets| offsets_partition(offsets)).transpose()?;
        let forgotten =
            self.committed.retire(partition, topic).and_then(|next_offset| match (partition, next_offset) {
                (Some(partition), Some(next_offset)) => {
                    Handle::current().block_on(partition.until_durable(next_offset))
                }
                _ => Ok(()),
            });
        forgotten.inspect_err(|_| topic.set_retiring(false))
    }
}

/// The transactional ids that were stored, and the topic that they were in; what is open in a partition and is none of
/// theirs is aborted there.
fn open_transactions(
    registry: &Registry,
    config: BrokerConfig,
) -> Result<(Arc<TransactionCoordinator>, OnceLock<Arc<Topic>>), BrokerError> {
    let topic = registry.get(TRANSACTIONS_TOPIC).ok();
    let stored = match &topic {
        Some(topic) => crate::transactions::records::replay(offsets_partition(topic)?)?,
        None => Vec::new(),
    };
    let epochs = abort_hanging(&registry.all(), &stored)?;
    let coordinator = TransactionCoordinator::new(config.transactions, stored, &epochs);
    if let Some(topic) = &topic {
        coordinator.store_in(offsets_partition(topic)?);
    }
    Ok((coordinator, topic.map_or_else(OnceLock::new, OnceLock::from)))
}

/// The only partition of a topic of the broker's own.
fn offsets_partition(topic: &Topic) -> Result<&Arc<Partition>, BrokerError> {
    topic.partition(0)
}

fn not_internal(name: &str) -> Result<(), BrokerError> {
    if is_internal(name) { Err(BrokerError::InternalTopic(name.into())) } else { Ok(()) }
}
