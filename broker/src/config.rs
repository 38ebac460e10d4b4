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
    /// How often [`Broker::keep_retention`](crate::Broker::keep_retention) looks for segments to give up.
    pub retention_check_interval: Duration,
    /// What consumer groups may take.
    pub groups: GroupConfig,
}

/// What consumer groups may take; the defaults are Kafka's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: 6 s by default.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`: 30 min by default.
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group's first member waits for others. None by default,
    /// unlike Kafka's 3 s.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: the most members of a group, with those that are about to join. 4,096 by default.
    pub max_size: usize,
    /// The most bytes that one group's members may say about themselves and be assigned. 8 MiB by default.
    pub max_group_bytes: usize,
    /// The same for all groups together. 64 MiB by default.
    pub max_total_bytes: usize,
    /// The most groups that have members at a time. 10,000 by default.
    pub max_groups: usize,
    /// A timer that fires later than this was not late but asleep, and the process with it: members whose heartbeats
    /// could not be heard meanwhile get their session timeout anew. 2 s by default.
    pub pause_tolerance: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_mins(30),
            initial_rebalance_delay: Duration::ZERO,
            max_size: 4096,
            max_group_bytes: 8 << 20,
            max_total_bytes: 64 << 20,
            max_groups: 10_000,
            pause_tolerance: Duration::from_secs(2),
        }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            topic_defaults: TopicConfig::default(),
            index_interval_bytes: 4 << 10,
            max_decompressed_bytes: 64 << 20,
            retention_check_interval: Duration::from_mins(5),
            groups: GroupConfig::default(),
        }
    }
}
