//! The broker inside the process: topics, partitions whose appends are durable before they are acknowledged, fetches
//! that wait for news, and committed offsets, all in one data directory.
//!
//! [`Broker`] is what callers hold. Each API of Kafka's protocol will be a handler of its own under `handlers/`, on top
//! of the same methods; nothing here knows the network.
//!
//! Invariants:
//! - Under [`Durability::Fsync`], the default, what is acknowledged or returned survives a power loss: the high
//!   watermark is the durable end of the log. Under the others it is the log's end.
//! - Batches are stored verbatim, unless their topic's `compression.type` asks for another codec, or its
//!   `message.timestamp.type` for the broker's time.
//! - A topic exists exactly while its metadata file does.

mod broker;
mod config;
mod durability;
mod error;
mod offsets;
mod partition;
mod topic;

pub use broker::{Broker, ConfigChange, EpochEnd, OffsetSpec};
pub use config::BrokerConfig;
pub use durability::Durability;
pub use error::BrokerError;
pub use offsets::CommittedOffset;
pub use partition::{Appended, FetchLimit, Fetched, Offsets, Partition};
pub use topic::{
    CompressionType, MAX_PARTITIONS, Setting, SettingKind, Topic, TopicConfig, TopicId, TopicPartition,
    is_internal,
};
pub use topo_log::{ProducerError, Retention, TimestampedOffset};
pub use topo_protocol::TimestampType;
