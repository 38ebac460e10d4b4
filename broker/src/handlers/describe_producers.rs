//! DescribeProducers: who appends to partitions, and which transactions are open there.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState as State, TopicResponse,
};
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, DescribeProducersResponse};
use topo_log::ProducerState;

use super::code::code;
use super::{Handler, partition, text};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct DescribeProducers;

/// Of a client that believes nothing.
const NO_EPOCH: i32 = -1;
/// The first offset of no transaction.
const NOT_OPEN: i64 = -1;

impl Handler for DescribeProducers {
    type Request = DescribeProducersRequest;
    type Response = DescribeProducersResponse;
    const KEY: ApiKey = ApiKey::DescribeProducers;

    async fn handle(call: Call, request: DescribeProducersRequest) -> Reply<DescribeProducersResponse> {
        let mut charge = call.server.responses.charge(0);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in topic.partition_indexes {
                let response = PartitionResponse::default().with_partition_index(index);
                let found = producers(&call, &topic.name, index);
                charge.grow(found.as_ref().map_or(0, |found| size_of::<State>() * found.len())).await;
                partitions.push(match found {
                    Ok(found) => response.with_active_producers(found.into_iter().map(state).collect()),
                    Err(error) => {
                        let message = "there is no such partition";
                        let unknown = error == ResponseError::UnknownTopicOrPartition;
                        response
                            .with_error_code(error.code())
                            .with_error_message(unknown.then(|| text(message)))
                    }
                });
            }
            topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        Reply::charged(DescribeProducersResponse::default().with_topics(topics), charge)
    }
}

fn producers(call: &Call, topic: &str, index: i32) -> Result<Vec<ProducerState>, ResponseError> {
    let partition = partition(&call.server.broker, topic, index, NO_EPOCH)?;
    partition.producers().map_err(|error| code(&error))
}

fn state(producer: ProducerState) -> State {
    State::default()
        .with_producer_id(producer.producer_id.into())
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp_ms)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.transaction_start.unwrap_or(NOT_OPEN))
}
