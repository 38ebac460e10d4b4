//! The broker: topics, partitions whose appends are durable before they are acknowledged, fetches
//! that wait for news, and committed offsets, all in one data directory; and its port.
//!
//! [`Broker`] is what callers hold. [`Server`] serves it in Kafka's protocol: each API is a handler of its own under
//! `handlers/`, on top of the same methods; nothing but `server/` knows the network.
//!
//! Invariants:
//! - Under [`Durability::Fsync`], the default, what is acknowledged or returned survives a power loss: the high
//!   watermark is the durable end of the log. Under the others it is the log's end.
//! - Batches are stored verbatim, unless their topic's `compression.type` asks for another codec, or its
//!   `message.timestamp.type` for the broker's time.
//! - A topic exists exactly while its metadata file does.

mod broker;
mod clock;
mod config;
mod durability;
mod error;
mod groups;
mod handlers;
mod identity;
mod offsets;
mod partition;
mod sealed_text;
mod server;
mod timer;
mod topic;
mod transactions;

pub use broker::{Appending, Broker, ConfigChange, EpochEnd, OffsetSpec};
pub use config::{BrokerConfig, GroupConfig, Limits, ServerConfig, TransactionConfig};
pub use durability::Durability;
pub use error::BrokerError;
pub use groups::{
    Assignment, Assignor, Change, Claim, GroupDescription, GroupError, GroupListing, GroupState, Groups,
    JoinRequest, Joined, JoinedMember, Leaving, MemberConfig, MemberDescription, Membership, Subscriber,
    Subscription, SyncRequest, Synced,
};
pub use offsets::CommittedOffset;
pub use partition::{Appended, FetchLimit, Fetched, Isolation, Offsets, Partition};
pub use server::{BindError, ListenAddress, NodeAddress, NotAnAddress, Server, Sockets};
pub use topic::{
    CleanupPolicy, CompressionType, MAX_PARTITIONS, Setting, SettingKind, Topic, TopicConfig, TopicId,
    TopicPartition, is_internal,
};
pub use topo_log::{
    AbortedTransaction, Compacted, CompactionConfig, ProducerError, ProducerState, Retention,
    TimestampedOffset,
};
pub use topo_protocol::{EndTransactionMarker, TimestampType, TransactionResult};
pub use transactions::{
    ProducerInstance, TransactionDescription, TransactionError, TransactionListing, TransactionState,
    TransactionalConfig, TransactionalProducer, Transactions,
};
