//! The APIs of Kafka's protocol, one file each.
//!
//! A handler is a type without values that implements [`Handler`]; a line in `server::dispatch::APIS` makes it served. Which
//! versions there are is said once, by the shape of its request in `topo_protocol::guard`. What is not in a version must keep
//! its default there: the encoder refuses the rest, and the connection is closed.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_configs;
pub(crate) mod api_versions;
mod code;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod end_txn;
pub(crate) mod fetch;
mod fetch_encoding;
mod fetch_round;
pub(crate) mod find_coordinator;
mod group_code;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod old_produce;
pub(crate) mod produce;
pub(crate) mod sync_group;
mod transaction_code;
pub(crate) mod txn_offset_commit;

use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use self::code::code;
use crate::broker::Broker;
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::partition::{Isolation, Partition};
use crate::server::{Call, Order, Parts, Reply};
use crate::topic::TopicPartition;

/// This broker's number; it is also the controller, the leader of all partitions and the coordinator of all groups.
pub(crate) const NODE_ID: i32 = 0;
/// There is one leader, and it never changes.
pub(crate) const LEADER_EPOCH: i32 = 0;

/// One API.
pub(crate) trait Handler {
    /// What is asked.
    type Request: Decodable;
    /// What is answered.
    type Response: Encodable + HeaderVersion + Send + 'static;
    /// The API's number.
    const KEY: ApiKey;
    /// Whether the connection's next request is started before this one's answer is there.
    const ORDER: Order = Order::Alone;

    /// Handles a request that was walked and decoded. What comes before the future happens in the order of requests; errors
    /// go into the response. A handler that may wait long ends its wait when [`Call::ending`] does; dropping its future must
    /// lose nothing that was acknowledged.
    fn handle(
        call: Call,
        request: Self::Request,
    ) -> impl Future<Output = Reply<Self::Response>> + Send + 'static;

    /// How much memory encoding takes, beside what was charged for the answer.
    ///
    /// # Errors
    /// Why the version cannot say it.
    fn encoding_bytes(response: &Self::Response, version: i16) -> Result<usize, String> {
        response.compute_size(version).map_err(|error| error.to_string())
    }

    /// The bytes of what was answered.
    ///
    /// # Errors
    /// Why the version cannot say it.
    fn encode(response: Self::Response, version: i16) -> Result<Parts, String> {
        let mut encoded = BytesMut::with_capacity(Self::encoding_bytes(&response, version)?);
        response.encode(&mut encoded, version).map_err(|error| error.to_string())?;
        Ok(encoded.freeze().into())
    }
}

/// A partition as a request names it, for a client that believes in `leader_epoch`, -1 where it believes nothing.
fn partition(
    broker: &Broker,
    topic: &str,
    index: i32,
    leader_epoch: i32,
) -> Result<Arc<Partition>, ResponseError> {
    let find = || {
        let unknown = |_| BrokerError::UnknownTopic(topic.into());
        broker.topic(topic)?.partition(u32::try_from(index).map_err(unknown)?).cloned()
    };
    let partition = find().map_err(|error| code(&error))?;
    match leader_epoch {
        ..=LEADER_EPOCH => Ok(partition),
        _ => Err(ResponseError::UnknownLeaderEpoch),
    }
}

/// What a client wants to see of transactions.
fn isolation(level: i8) -> Isolation {
    const READ_COMMITTED: i8 = 1;
    if level == READ_COMMITTED { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// A partition's name; `None` for a number that none has.
fn topic_partition(topic: &str, index: i32) -> Option<TopicPartition> {
    Some(TopicPartition::new(topic, u32::try_from(index).ok()?))
}

/// Text in a message.
fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
