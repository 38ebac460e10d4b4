//! Topics: their names, configuration, the file that makes one exist, and the registry of all of them.

mod config;
mod id;
mod metadata;
mod name;
mod registry;
mod setting;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use config::{CleanupPolicy, CompressionType, TopicConfig};
pub use id::TopicId;
use metadata::TopicMetadata;
pub use name::{MAX_PARTITIONS, is_internal};
pub(crate) use name::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
pub(crate) use registry::Registry;
pub(crate) use setting::KEYS;
use setting::Key;
pub use setting::{Setting, SettingKind};

use crate::error::BrokerError;
use crate::partition::Partition;

/// Whether topics have a setting of that name.
pub(crate) fn check_key(name: &str) -> Result<(), BrokerError> {
    Key::named(name).map(drop)
}

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

/// A topic that exists, with its open partitions, as of when it was asked for.
///
/// It never changes: once the topic has more partitions or another configuration,
/// [`Broker::topic`](crate::Broker::topic) gives another, which shares the partitions of this one.
#[derive(Debug)]
pub struct Topic {
    metadata: TopicMetadata,
    config: TopicConfig,
    partitions: Vec<Arc<Partition>>,
    /// Set while the topic is being deleted: no offsets are committed for it any more.
    retiring: Arc<AtomicBool>,
}

impl Topic {
    /// The topic's name.
    pub fn name(&self) -> &Arc<str> {
        &self.metadata.name
    }

    /// The id that tells it from an earlier or later topic of the same name.
    pub fn id(&self) -> TopicId {
        self.metadata.id
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        self.metadata.partitions
    }

    /// Its configuration, defaults included.
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// What it sets of its configuration, by Kafka's keys.
    pub fn config_overrides(&self) -> &BTreeMap<String, String> {
        &self.metadata.config
    }

    /// All settings by name, as a topic of `defaults` has them that sets what this one does.
    pub(crate) fn settings(&self, defaults: &TopicConfig) -> Vec<Setting> {
        let setting = |key: Key| Setting {
            name: key.name(),
            value: self.config.get(key),
            default: defaults.get(key),
            is_set: self.metadata.config.contains_key(key.name()),
            kind: key.kind(),
            doc: key.doc(),
        };
        Key::ALL.into_iter().map(setting).collect()
    }

    /// Whether the broker keeps it for itself.
    pub fn is_internal(&self) -> bool {
        is_internal(self.name())
    }

    /// Whether it may have `partitions` partitions from now on.
    pub(crate) fn check_growth(&self, partitions: u32) -> Result<(), BrokerError> {
        name::validate_partitions(partitions)?;
        let held = self.partition_count();
        if partitions > held {
            return Ok(());
        }
        Err(BrokerError::NotMorePartitions { topic: self.name().clone(), partitions: held })
    }

    /// One of its partitions.
    ///
    /// # Errors
    /// [`BrokerError::UnknownPartition`].
    pub fn partition(&self, index: u32) -> Result<&Arc<Partition>, BrokerError> {
        self.partitions
            .get(index as usize)
            .ok_or_else(|| BrokerError::UnknownPartition(TopicPartition::new(self.name().clone(), index)))
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Acquire)
    }

    pub(crate) fn set_retiring(&self, retiring: bool) {
        self.retiring.store(retiring, Ordering::Release);
    }

    /// The same topic with other metadata and configuration, and `more` partitions behind those it has.
    fn altered(&self, metadata: TopicMetadata, config: TopicConfig, more: Vec<Arc<Partition>>) -> Self {
        let partitions = self.partitions.iter().cloned().chain(more).collect();
        Self { metadata, config, partitions, retiring: self.retiring.clone() }
    }

    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }
}
