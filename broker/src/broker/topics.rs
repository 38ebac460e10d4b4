//! Topics that change: more partitions, other settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Broker, not_internal};
use crate::error::BrokerError;
use crate::topic::{Setting, Topic};

/// What a topic is to set of its configuration, by Kafka's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// These values in place of those it sets; `None` takes a key back to its default. Every other key stays as it is.
    Incremental(BTreeMap<String, Option<String>>),
    /// These values; every other key goes back to its default.
    All(BTreeMap<String, String>),
}

impl ConfigChange {
    /// What a topic sets that set `before`.
    fn apply(&self, before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        match self {
            Self::All(config) => config.clone(),
            Self::Incremental(changes) => {
                let mut config = before.clone();
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(config.insert(key.clone(), value.clone())),
                        None => drop(config.remove(key)),
                    }
                }
                config
            }
        }
    }
}

impl Broker {
    /// Gives a topic more partitions, `partitions` in all; they are there, durably, when this returns.
    ///
    /// A [`Topic`] that was asked for before keeps its count; ask again for one that has them.
    ///
    /// # Errors
    /// [`BrokerError::NotMorePartitions`], [`BrokerError::InvalidPartitionCount`], [`BrokerError::UnknownTopic`] or
    /// [`BrokerError::InternalTopic`]; [`BrokerError::Storage`] or [`BrokerError::Log`], after which the partitions may be
    /// there or not at the next start.
    pub async fn create_partitions(&self, topic: &str, partitions: u32) -> Result<Arc<Topic>, BrokerError> {
        self.check_partitions(topic, partitions)?;
        let topic = topic.to_owned();
        self.blocking(move |shared| shared.registry.grow(&topic, partitions)).await
    }

    /// Whether [`Broker::create_partitions`] would accept that; changes nothing.
    ///
    /// # Errors
    /// As [`Broker::create_partitions`].
    pub fn check_partitions(&self, topic: &str, partitions: u32) -> Result<(), BrokerError> {
        not_internal(topic)?;
        self.topic(topic)?.check_growth(partitions)
    }

    /// Changes what a topic sets; it is durable, and in force for everything that begins later, when this returns.
    ///
    /// A [`Topic`] that was asked for before keeps its configuration. Records stay as they were stored. Where `flush.ms`
    /// changes, what is not synced yet is synced at once.
    ///
    /// # Errors
    /// [`BrokerError::UnknownConfig`], [`BrokerError::UnsupportedConfig`], [`BrokerError::InvalidConfig`],
    /// [`BrokerError::UnknownTopic`] or [`BrokerError::InternalTopic`] with nothing changed; [`BrokerError::Storage`],
    /// after which the change may be there or not at the next start.
    pub async fn alter_config(&self, topic: &str, change: ConfigChange) -> Result<Arc<Topic>, BrokerError> {
        self.check_config(topic, &change)?;
        let topic = topic.to_owned();
        self.blocking(move |shared| shared.registry.alter(&topic, |before| change.apply(before))).await
    }

    /// Whether [`Broker::alter_config`] would accept that; changes nothing.
    ///
    /// # Errors
    /// As [`Broker::alter_config`].
    pub fn check_config(&self, topic: &str, change: &ConfigChange) -> Result<(), BrokerError> {
        not_internal(topic)?;
        let topic = self.topic(topic)?;
        // A key that is taken back must be one, too.
        if let ConfigChange::Incremental(changes) = change {
            changes.keys().try_for_each(|key| crate::topic::check_key(key))?;
        }
        let config = change.apply(topic.config_overrides());
        self.shared.config.defaults_of(topic.name()).with_overrides(&config).map(drop)
    }

    /// Every setting of a topic, by name, with its default.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`].
    pub fn describe_config(&self, topic: &str) -> Result<Vec<Setting>, BrokerError> {
        Ok(self.topic(topic)?.settings(&self.shared.config.defaults_of(topic)))
    }
}
