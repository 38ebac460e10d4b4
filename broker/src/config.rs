//! The broker's settings.

use std::time::Duration;

use crate::topic::TopicConfig;

/// How a broker stores; the defaults are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Settings of every topic that is created without its own.
    pub topic_defaults: TopicConfig,
    /// Bytes of batches between two entries of an offset index.
    pub index_interval_bytes: u32,
    /// The most that one batch may decompress to where the broker itself has to look inside.
    pub max_decompressed_bytes: usize,
    /// How far ahead of its end the log of a topic that syncs first is filled with zeros, in bytes, so that its syncs have
    /// less to write; 0 for not at all. 1 MiB by default; a log that holds less is filled ahead by as much as it holds.
    pub preallocate_bytes: u32,
    /// How often [`Broker::keep_retention`](crate::Broker::keep_retention) looks for segments to give up.
    pub retention_check_interval: Duration,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            topic_defaults: TopicConfig::default(),
            index_interval_bytes: 4 << 10,
            max_decompressed_bytes: 64 << 20,
            preallocate_bytes: 1 << 20,
            retention_check_interval: Duration::from_mins(5),
        }
    }
}
