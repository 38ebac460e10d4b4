//! All topics, in memory and in the data directory.
//!
//! ```text
//! DATA-DIR/topics/NAME/metadata    makes the topic exist
//!                      0/, 1/, …   its partitions
//! ```
//!
//! Invariants: a topic exists exactly while its metadata file does. The file is created whole, after everything it
//! speaks of, and removed before anything else is; a directory without it is what a crash left and is cleared away.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use topo_log::storage::{Storage, create_dirs};
use topo_log::{CompactionConfig, LogError, Partition as Log, PartitionConfig, Retention};

use super::metadata::TopicMetadata;
use super::{Topic, TopicConfig, TopicId, TopicPartition, name};
use crate::config::BrokerConfig;
use crate::durability::Durability;
use crate::error::BrokerError;
use crate::partition::Partition;

const METADATA: &str = "metadata";
const UNFINISHED: &str = "metadata.tmp";

/// The topics of a data directory.
#[derive(Debug)]
pub(crate) struct Registry {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    config: BrokerConfig,
    topics: DashMap<Arc<str>, Arc<Topic>>,
    /// Held while a topic is created, altered or deleted; `false` once no more may be.
    open: Mutex<bool>,
}

impl Registry {
    /// Opens every topic under `data_dir`, and clears away what unfinished creations and deletions left.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        data_dir: &Path,
        config: BrokerConfig,
    ) -> Result<Self, BrokerError> {
        let dir = data_dir.join("topics");
        create_dirs(&*storage, &dir).map_err(failed("create", &dir))?;
        let registry = Self { storage, dir, config, topics: DashMap::new(), open: Mutex::new(true) };
        for name in registry.storage.list(&registry.dir).map_err(failed("list", &registry.dir))? {
            // Nothing else belongs here; whatever it is, it is not ours to touch.
            if name::validate(&name).is_err() {
                continue;
            }
            match registry.read_metadata(&name)? {
                Some(metadata) => registry.load(metadata)?,
                None => registry.clear(&name)?,
            }
        }
        Ok(registry)
    }

    /// The topic of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Topic>, BrokerError> {
        let topic = self.topics.get(name).map(|topic| topic.clone());
        topic.ok_or_else(|| BrokerError::UnknownTopic(crate::error::shown(name).into()))
    }

    /// The topic with that id.
    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.topics.iter().find(|topic| topic.id() == id).map(|topic| topic.clone())
    }

    /// All topics by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.topics.iter().map(|topic| topic.clone()).collect();
        topics.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        topics
    }

    /// Whether a topic may have that name, so many partitions and that configuration.
    pub(crate) fn check(
        &self,
        name: &str,
        partitions: u32,
        config: &BTreeMap<String, String>,
    ) -> Result<(), BrokerError> {
        name::validate(name)?;
        name::validate_partitions(partitions)?;
        self.config.defaults_of(name).with_overrides(config).map(drop)
    }

    /// Creates a topic; it is durable when this returns. Blocks.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: u32,
        config: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, BrokerError> {
        name::validate(name)?;
        name::validate_partitions(partitions)?;
        // However long a number is written, the metadata stays short.
        let config = self.config.defaults_of(name).with_overrides(&config)?.canonical(config);
        let _open = self.lock_changes()?;
        let metadata = TopicMetadata { id: TopicId::random(), name: name.into(), partitions, config };
        // A file system that knows no case may hold the directory under another name.
        if self.topics.contains_key(name) || self.read_metadata(name)?.is_some() {
            return Err(BrokerError::TopicExists(metadata.name));
        }
        self.clear(name)?;
        let dir = self.dir.join(name);
        self.storage.create_dir(&dir).map_err(failed("create", &dir))?;
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        let topic = self.open_partitions(metadata)?;
        if let Err(error) = self.write_metadata(&topic.metadata) {
            // It may stand already, and not be durable. What cannot be taken back now is seen at the next start.
            drop(self.remove_metadata(name));
            return Err(error);
        }
        self.topics.insert(topic.name().clone(), topic.clone());
        Ok(topic)
    }

    /// Gives a topic more partitions, `partitions` in all; they are there durably when this returns. Blocks.
    pub(crate) fn grow(&self, name: &str, partitions: u32) -> Result<Arc<Topic>, BrokerError> {
        let _open = self.lock_changes()?;
        let topic = self.get(name)?;
        topic.check_growth(partitions)?;
        let metadata = TopicMetadata { partitions, ..topic.metadata.clone() };
        let config = topic.config;
        // What an earlier growth left that did not come to its end is empty, and opened as it is.
        let more = self.open_range(&metadata, &config, topic.partition_count()..partitions)?;
        self.write_metadata(&metadata)?;
        Ok(self.put(topic.altered(metadata, config, more)))
    }

    /// Has a topic set what `alter` makes of what it sets; that is durable, and in force, when this returns. Blocks.
    pub(crate) fn alter(
        &self,
        name: &str,
        alter: impl FnOnce(&BTreeMap<String, String>) -> BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, BrokerError> {
        let _open = self.lock_changes()?;
        let topic = self.get(name)?;
        let overrides = alter(topic.config_overrides());
        let config = self.config.defaults_of(name).with_overrides(&overrides)?;
        let overrides = config.canonical(overrides);
        if overrides == *topic.config_overrides() {
            return Ok(topic);
        }
        let metadata = TopicMetadata { config: overrides, ..topic.metadata.clone() };
        self.write_metadata(&metadata)?;
        let topic = self.put(topic.altered(metadata, config, Vec::new()));
        for partition in topic.partitions() {
            partition.reconfigure(self.partition_config(name, &config), config.durability);
        }
        Ok(topic)
    }

    fn put(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.topics.insert(topic.name().clone(), topic.clone());
        topic
    }

    /// Deletes a topic. Blocks.
    ///
    /// `retire` is called first, while the topic still exists; its error keeps the topic.
    pub(crate) fn delete(
        &self,
        name: &str,
        retire: impl FnOnce(&Arc<Topic>) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let _open = self.lock_changes()?;
        let topic = self.get(name)?;
        retire(&topic)?;
        if let Err(error) = self.remove_metadata(name) {
            // Whether the topic exists after the next start is unknown: nothing more may be acknowledged to it.
            topic.partitions().iter().for_each(|partition| partition.poison(&error.to_string()));
            return Err(error);
        }
        self.topics.remove(name);
        topic.partitions().iter().for_each(|partition| partition.delete());
        if let Err(error) = self.clear(name) {
            // The topic is gone all the same; who creates it anew, or starts again, tries once more.
            tracing::warn!(topic = name, %error, "some files of a deleted topic are left");
        }
        Ok(())
    }

    /// Refuses all further creations, alterations and deletions, once those under way have ended. Blocks.
    pub(crate) fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn lock_changes(&self) -> Result<MutexGuard<'_, bool>, BrokerError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open { Ok(open) } else { Err(BrokerError::Closed) }
    }

    fn load(&self, metadata: TopicMetadata) -> Result<(), BrokerError> {
        let topic = self.open_partitions(metadata)?;
        self.topics.insert(topic.name().clone(), topic);
        Ok(())
    }

    fn open_partitions(&self, metadata: TopicMetadata) -> Result<Arc<Topic>, BrokerError> {
        let config = self.config.defaults_of(&metadata.name).with_overrides(&metadata.config)?;
        let partitions = self.open_range(&metadata, &config, 0..metadata.partitions)?;
        Ok(Arc::new(Topic { metadata, config, partitions, retiring: Arc::default() }))
    }

    fn open_range(
        &self,
        metadata: &TopicMetadata,
        config: &TopicConfig,
        indexes: Range<u32>,
    ) -> Result<Vec<Arc<Partition>>, BrokerError> {
        let dir = self.dir.join(&*metadata.name);
        let open = |index: u32| {
            let at = TopicPartition::new(metadata.name.clone(), index);
            self.open_partition(at, &dir.join(index.to_string()), config).map(Arc::new)
        };
        indexes.map(open).collect()
    }

    fn partition_config(&self, name: &str, topic: &TopicConfig) -> PartitionConfig {
        PartitionConfig {
            segment_bytes: topic.segment_bytes,
            index_interval_bytes: self.config.index_interval_bytes,
            max_decompressed_bytes: self.config.max_decompressed_bytes,
            // Nobody waits for the others' syncs, and the zeros would be written for nothing.
            preallocate_bytes: match topic.durability {
                Durability::Fsync => self.config.preallocate_bytes,
                Durability::Interval(_) | Durability::Os => 0,
            },
            // What the broker keeps for itself is worth what its newest record says, however old that is.
            retention: match topic.cleanup.deletes() {
                true => topic.retention,
                false if name::is_internal(name) => Retention::FOREVER,
                false => Retention { roll_after: topic.retention.roll_after, ..Retention::FOREVER },
            },
            compaction: topic.cleanup.compacts().then_some(CompactionConfig {
                map_bytes: self.config.compaction_map_bytes,
                ..topic.compaction
            }),
            ..PartitionConfig::default()
        }
    }

    fn open_partition(
        &self,
        at: TopicPartition,
        dir: &Path,
        topic: &TopicConfig,
    ) -> Result<Partition, BrokerError> {
        let config = self.partition_config(&at.topic, topic);
        let (log, recovery) = match Log::open(self.storage.clone(), dir, config) {
            Ok(opened) => opened,
            Err(corrupt @ LogError::Corrupt { .. }) => {
                return Err(BrokerError::Corrupt(format!("{at}: {corrupt}")));
            }
            Err(source) => return Err(BrokerError::Log { at, source }),
        };
        tracing::debug!(partition = %at, ?recovery, "opened");
        if recovery.truncated_bytes > 0 {
            let bytes = recovery.truncated_bytes;
            tracing::warn!(partition = %at, bytes, "cut off a torn end, which was never acknowledged");
        }
        Ok(Partition::new(at, log, topic.durability))
    }

    fn read_metadata(&self, name: &str) -> Result<Option<TopicMetadata>, BrokerError> {
        let path = self.dir.join(name).join(METADATA);
        let file = match self.storage.open(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            file => file.map_err(failed("open", &path))?,
        };
        let length = file.length().map_err(failed("read", &path))?;
        let corrupt = |reason: &str| {
            BrokerError::Corrupt(format!(
                "{} cannot be used: {reason}; restore it from a copy",
                path.display()
            ))
        };
        if length > MAX_METADATA_BYTES {
            return Err(corrupt("it is too large to be a topic's metadata"));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).map_err(failed("read", &path))?;
        let metadata = TopicMetadata::decode(&bytes).map_err(|error| corrupt(&error.to_string()))?;
        // Compared without case, for file systems that do so.
        if !metadata.name.eq_ignore_ascii_case(name) {
            return Err(corrupt(&format!("it is of the topic `{}`", metadata.name)));
        }
        Ok(Some(metadata))
    }

    /// Writes a topic's metadata in place of what is there, all of it or nothing. Where its name could not be made durable,
    /// the next start finds the one or the other.
    fn write_metadata(&self, metadata: &TopicMetadata) -> Result<(), BrokerError> {
        let dir = self.dir.join(&*metadata.name);
        let (path, unfinished) = (dir.join(METADATA), dir.join(UNFINISHED));
        match self.storage.remove(&unfinished) {
            Err(error) if !is_absent(&error) => return Err(failed("remove", &unfinished)(error)),
            _ => {}
        }
        let file = self.storage.create(&unfinished).map_err(failed("create", &unfinished))?;
        file.write_all_at(metadata.encode().as_bytes(), 0).map_err(failed("write", &unfinished))?;
        file.sync().map_err(failed("sync", &unfinished))?;
        // The partitions' directories must not be missing where the metadata is found.
        self.storage.sync_dir(&dir).map_err(failed("sync", &dir))?;
        self.storage.rename(&unfinished, &path).map_err(failed("rename", &unfinished))?;
        self.storage.sync_dir(&dir).map_err(failed("sync", &dir))
    }

    fn remove_metadata(&self, name: &str) -> Result<(), BrokerError> {
        let dir = self.dir.join(name);
        let path = dir.join(METADATA);
        self.storage.remove(&path).map_err(failed("remove", &path))?;
        self.storage.sync_dir(&dir).map_err(failed("sync", &dir))
    }

    /// Removes the directory of a topic that has no metadata, where there is one.
    fn clear(&self, name: &str) -> Result<(), BrokerError> {
        let dir = self.dir.join(name);
        let names = match self.storage.list(&dir) {
            Err(error) if is_absent(&error) => return Ok(()),
            names => names.map_err(failed("list", &dir))?,
        };
        for name in names {
            let path = dir.join(&name);
            if name == UNFINISHED {
                self.storage.remove(&path).map_err(failed("remove", &path))?;
            } else {
                self.clear_partition(&path)?;
            }
        }
        self.storage.sync_dir(&dir).map_err(failed("sync", &dir))?;
        self.storage.remove_dir(&dir).map_err(failed("remove", &dir))?;
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))
    }

    fn clear_partition(&self, dir: &Path) -> Result<(), BrokerError> {
        for name in self.storage.list(dir).map_err(failed("list", dir))? {
            let path = dir.join(name);
            self.storage.remove(&path).map_err(failed("remove", &path))?;
        }
        self.storage.remove_dir(dir).map_err(failed("remove", dir))
    }
}

/// Far more than the longest name and configuration take.
const MAX_METADATA_BYTES: u64 = 64 << 10;

/// Nothing by that name, or something that is not a directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BrokerError {
    move |error| BrokerError::Storage(format!("cannot {action} {}: {error}", path.display()))
}
