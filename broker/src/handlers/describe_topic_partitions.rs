//! DescribeTopicPartitions: topics and partitions in their order, a page at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_request;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};

use super::metadata::uuid;
use super::{Handler, LEADER_EPOCH, NODE_ID, text};
use crate::server::{Call, Reply};
use crate::topic::Topic;

/// The API.
pub(crate) struct DescribeTopicPartitions;

/// Partitions in one answer, however many a client asks for.
const MOST_PARTITIONS: u32 = 2000;

impl Handler for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;
    type Response = DescribeTopicPartitionsResponse;
    const KEY: ApiKey = ApiKey::DescribeTopicPartitions;

    async fn handle(
        call: Call,
        request: DescribeTopicPartitionsRequest,
    ) -> Reply<DescribeTopicPartitionsResponse> {
        let broker = &call.server.broker;
        let names: BTreeSet<String> = if request.topics.is_empty() {
            broker.topics().iter().map(|topic| topic.name().to_string()).collect()
        } else {
            request.topics.iter().map(|topic| topic.name.to_string()).collect()
        };
        let (first, first_partition) = begin(request.cursor);
        let mut left = u32::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, MOST_PARTITIONS);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names.range(first.clone()..) {
            let from = if *name == first { first_partition } else { 0 };
            if left == 0 {
                return response.with_next_cursor(Some(cursor(name, from))).into();
            }
            let Ok(topic) = broker.topic(name) else {
                response.topics.push(unknown(name));
                continue;
            };
            let until = topic.partition_count().min(from.saturating_add(left));
            response.topics.push(describe(&topic, from..until));
            left -= until.saturating_sub(from);
            if until < topic.partition_count() {
                return response.with_next_cursor(Some(cursor(name, until))).into();
            }
        }
        response.into()
    }
}

/// Where a page begins.
fn begin(cursor: Option<describe_topic_partitions_request::Cursor>) -> (String, u32) {
    cursor.map_or_else(Default::default, |cursor| {
        (cursor.topic_name.to_string(), u32::try_from(cursor.partition_index).unwrap_or(0))
    })
}

fn cursor(topic: &str, partition: u32) -> Cursor {
    Cursor::default().with_topic_name(TopicName(text(topic))).with_partition_index(partition as i32)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_error_code(ResponseError::UnknownTopicOrPartition.code())
}

fn describe(topic: &Arc<Topic>, partitions: std::ops::Range<u32>) -> DescribeTopicPartitionsResponseTopic {
    let partition = |index: u32| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
            .with_eligible_leader_replicas(None)
            .with_last_known_elr(None)
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(&**topic.name()))))
        .with_topic_id(uuid(topic))
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.map(partition).collect())
}
