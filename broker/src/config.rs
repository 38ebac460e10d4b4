//! The broker's settings, and those of its port.

use std::time::Duration;

use crate::server::{ListenAddress, NodeAddress};
use crate::topic::{CleanupPolicy, TopicConfig, is_internal};

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
    /// How often [`Broker::keep_compaction`](crate::Broker::keep_compaction) looks for partitions to compact. 15 s by
    /// default.
    pub compaction_check_interval: Duration,
    /// Bytes that compaction may take for the keys that it has seen; where they are more, it takes several passes. 128 MiB
    /// by default.
    pub compaction_map_bytes: usize,
    /// How many bytes of batches compaction reads in a second at most, so that it leaves room for everybody else. 64 MiB by
    /// default.
    pub compaction_bytes_per_second: u64,
    /// What consumer groups may take.
    pub groups: GroupConfig,
    /// What transactions may take.
    pub transactions: TransactionConfig,
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
    /// Time that passes by more than this without the process seeing it is time in which it stood still, and could hear no
    /// heartbeats: it does not count, and members get their session timeout anew. 2 s by default.
    pub pause_tolerance: Duration,
}

/// What transactions may take; the defaults are Kafka's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: the longest that a producer may let its transactions last. 15 min by default.
    pub max_timeout: Duration,
    /// `transactional.id.expiration.ms`: a transactional id that nobody has used for so long is forgotten. 7 days by default.
    pub id_expiration: Duration,
    /// The most partitions of one transaction. 10,000 by default.
    pub max_partitions: usize,
    /// The most transactional ids. 100,000 by default.
    pub max_ids: usize,
    /// The most bytes that all transactional ids take, with their partitions. 64 MiB by default.
    pub max_total_bytes: usize,
    /// Time that passes by more than this without the process seeing it is time in which it stood still, and could hear no
    /// producer: transactions last that much longer. 2 s by default.
    pub pause_tolerance: Duration,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            max_timeout: Duration::from_mins(15),
            id_expiration: Duration::from_hours(7 * 24),
            max_partitions: 10_000,
            max_ids: 100_000,
            max_total_bytes: 64 << 20,
            pause_tolerance: Duration::from_secs(2),
        }
    }
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

impl BrokerConfig {
    /// What a topic of that name has that sets nothing. Of the broker's own, the last record of each key says all there
    /// is, so that they are compacted, in segments that are soon read when the broker starts.
    pub(crate) fn defaults_of(&self, topic: &str) -> TopicConfig {
        const SEGMENT_BYTES: u32 = 8 << 20;
        let defaults = self.topic_defaults;
        if !is_internal(topic) {
            return defaults;
        }
        let segment_bytes = defaults.segment_bytes.min(SEGMENT_BYTES);
        TopicConfig { segment_bytes, cleanup: CleanupPolicy::Compact, ..defaults }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            topic_defaults: TopicConfig::default(),
            index_interval_bytes: 4 << 10,
            max_decompressed_bytes: 64 << 20,
            preallocate_bytes: 1 << 20,
            retention_check_interval: Duration::from_mins(5),
            compaction_check_interval: Duration::from_secs(15),
            compaction_map_bytes: 128 << 20,
            compaction_bytes_per_second: 64 << 20,
            groups: GroupConfig::default(),
            transactions: TransactionConfig::default(),
        }
    }
}

/// How a broker is served over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen. `localhost:9092` by default, which is 127.0.0.1 and, where there is IPv6, ::1.
    pub listen: Vec<ListenAddress>,
    /// What clients are told to connect to; by default the address at which they reached the server.
    pub advertise: Option<NodeAddress>,
    /// Whether a topic that a client asks for is created. True by default, as in Kafka.
    pub auto_create_topics: bool,
    /// How many partitions a topic gets whose creator does not say. 1 by default.
    pub default_partitions: u32,
    /// What clients may cost.
    pub limits: Limits,
}

/// What clients may cost before they are refused, or wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. 16,384 by default; never more than three quarters of the descriptors that the process may open,
    /// since the log needs some.
    pub connections: usize,
    /// Connections at once from one address. 12,288 by default.
    pub connections_per_address: usize,
    /// Bytes of one request. 100 MiB by default, Kafka's `socket.request.max.bytes`.
    pub request_bytes: usize,
    /// Bytes that all requests under way take together: received, or decoded. 64 MiB by default. One request at a time may
    /// go beyond it, so that requests which are half there cannot wait for each other. An eighth more is kept for small ones.
    pub request_memory: usize,
    /// Bytes that all responses take together until they are sent. 64 MiB by default. One response at a time may go beyond it,
    /// and an eighth more is kept for small ones.
    pub response_memory: usize,
    /// Requests of one connection that are under way at once. 32 by default; the next one is read once the first is answered.
    pub requests_per_connection: usize,
    /// Bytes of records in one fetch response, whatever the client asks for. 55 MiB by default, Kafka's `fetch.max.bytes`.
    pub fetch_bytes: usize,
    /// How long a fetch waits for records at most, whatever the client asks for. 5 min by default.
    pub fetch_wait: Duration,
    /// Until the first request has begun. 30 s by default.
    pub first_request: Duration,
    /// Between two requests, if none is under way. 10 min by default, Kafka's `connections.max.idle.ms`.
    pub idle: Duration,
    /// How long a transfer of a request or a response may be slower than [`Limits::bytes_per_second`]. 60 s by default.
    pub transfer: Duration,
    /// How fast a transfer must be on average. 16 KiB/s by default.
    pub bytes_per_second: u64,
    /// How often a transfer is measured: one that was slower than [`Limits::wanted_bytes_per_second`] is ended while others
    /// wait for the memory that it holds. 2 s by default.
    pub wanted_grace: Duration,
    /// How fast a transfer must be while others wait for memory. 256 KiB/s by default.
    pub wanted_bytes_per_second: u64,
    /// How long requests under way may take once the server shuts down. 5 s by default.
    pub shutdown: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::localhost(9092)],
            advertise: None,
            auto_create_topics: true,
            default_partitions: 1,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 12_288,
            request_bytes: 100 << 20,
            request_memory: 64 << 20,
            response_memory: 64 << 20,
            requests_per_connection: 32,
            fetch_bytes: 55 << 20,
            fetch_wait: Duration::from_mins(5),
            first_request: Duration::from_secs(30),
            idle: Duration::from_mins(10),
            transfer: Duration::from_secs(60),
            bytes_per_second: 16 << 10,
            wanted_grace: Duration::from_secs(2),
            wanted_bytes_per_second: 256 << 10,
            shutdown: Duration::from_secs(5),
        }
    }
}
