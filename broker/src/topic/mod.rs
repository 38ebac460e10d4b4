//! Topics: their names, configuration, the file that makes one exist, and the registry of all of them.

mod config;
mod id;
mod metadata;
mod name;
mod registry;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use config::{CompressionType, TopicConfig};
pub(crate) use config::{ConfigEntry, ConfigKind, KEYS};
pub use id::TopicId;
use metadata::TopicMetadata;
pub(crate) use name::OFFSETS_TOPIC;
pub use name::{MAX_PARTITIONS, is_internal};
pub(crate) use registry::Registry;

use crate::error::BrokerError;
use crate::partition::Partition;

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

/// A topic that exists, with its open partitions.
#[derive(Debug)]
pub struct Topic {
    metadata: TopicMetadata,
    config: TopicConfig,
    partitions: Vec<Arc<Partition>>,
    /// Set while the topic is being deleted: no offsets are committed for it any more.
    retiring: AtomicBool,
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

    /// The configuration that it was created with, by Kafka's keys.
    pub fn config_overrides(&self) -> &BTreeMap<String, String> {
        &self.metadata.config
    }

    /// Whether the broker keeps it for itself.
    pub fn is_internal(&self) -> bool {
        is_internal(self.name())
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

    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }
}
