//! OffsetDelete: what a group committed for partitions of topics that none of its members reads.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest, OffsetDeleteResponse};

use super::Handler;
use super::code::code;
use super::group_code::group_code;
use super::join_group::arc;
use crate::broker::Broker;
use crate::server::{Call, Reply};
use crate::topic::TopicPartition;

/// The API.
pub(crate) struct OffsetDelete;

impl Handler for OffsetDelete {
    type Request = OffsetDeleteRequest;
    type Response = OffsetDeleteResponse;
    const KEY: ApiKey = ApiKey::OffsetDelete;

    async fn handle(call: Call, request: OffsetDeleteRequest) -> Reply<OffsetDeleteResponse> {
        let broker = &call.server.broker;
        let mut offsets = Vec::new();
        for topic in &request.topics {
            let known = topic.partitions.iter().filter_map(|partition| of(broker, topic, partition).ok());
            offsets.extend(known);
        }
        let response = OffsetDeleteResponse::default();
        let subscribed: HashSet<_> = match broker.groups().delete_offsets(&request.group_id, &offsets).await {
            Ok(subscribed) => subscribed.into_iter().collect(),
            Err(error) => return response.with_error_code(group_code(&error).code()).into(),
        };
        let answer = |topic: OffsetDeleteRequestTopic| {
            let refused = subscribed.contains(&arc(&topic.name));
            let partition = |partition: &OffsetDeleteRequestPartition| {
                let error = match of(broker, &topic, partition) {
                    Err(error) => error.code(),
                    Ok(_) if refused => ResponseError::GroupSubscribedToTopic.code(),
                    Ok(_) => 0,
                };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error)
            };
            let partitions = topic.partitions.iter().map(partition).collect();
            OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
        };
        response.with_topics(request.topics.into_iter().map(answer).collect()).into()
    }
}

fn of(
    broker: &Broker,
    topic: &OffsetDeleteRequestTopic,
    partition: &OffsetDeleteRequestPartition,
) -> Result<TopicPartition, ResponseError> {
    let index =
        u32::try_from(partition.partition_index).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
    let topic = broker.topic(&topic.name).map_err(|error| code(&error))?;
    topic.partition(index).map_err(|error| code(&error))?;
    Ok(TopicPartition::new(topic.name().clone(), index))
}
