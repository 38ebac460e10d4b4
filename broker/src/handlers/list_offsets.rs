//! ListOffsets: where a partition begins and ends, and where a time begins in it.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ApiKey, ListOffsetsRequest, ListOffsetsResponse};

use topo_log::TimestampedOffset;

use super::code::code;
use super::{Handler, LEADER_EPOCH, isolation, partition};
use crate::broker::OffsetSpec;
use crate::partition::Isolation;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct ListOffsets;

/// The first version that may ask for [`OffsetSpec::MaxTimestamp`].
const MAX_TIMESTAMP_FROM: i16 = 7;
/// The first version that says the epoch of an offset.
const EPOCH_FROM: i16 = 4;

impl Handler for ListOffsets {
    type Request = ListOffsetsRequest;
    type Response = ListOffsetsResponse;
    const KEY: ApiKey = ApiKey::ListOffsets;

    async fn handle(call: Call, request: ListOffsetsRequest) -> Reply<ListOffsetsResponse> {
        let isolation = isolation(request.isolation_level);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let response =
                    ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                partitions.push(match look_up(&call, isolation, &topic.name, &asked).await {
                    Ok(found) => answer(response, found, call.version),
                    Err(code) => response.with_error_code(code.code()),
                });
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics).into()
    }
}

async fn look_up(
    call: &Call,
    isolation: Isolation,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<Option<TimestampedOffset>, ResponseError> {
    let broker = &call.server.broker;
    let partition = partition(broker, topic, asked.partition_index, asked.current_leader_epoch)?;
    let spec = OffsetSpec::from_timestamp(asked.timestamp)
        .filter(|spec| *spec != OffsetSpec::MaxTimestamp || call.version >= MAX_TIMESTAMP_FROM);
    let spec = spec.ok_or(ResponseError::UnsupportedVersion)?;
    broker.list_offset(partition.at(), spec, isolation).await.map_err(|error| code(&error))
}

fn answer(
    response: ListOffsetsPartitionResponse,
    found: Option<TimestampedOffset>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let Some(found) = found else { return response.with_offset(-1).with_timestamp(-1) };
    let response = response.with_offset(found.offset).with_timestamp(found.timestamp_ms);
    if version >= EPOCH_FROM { response.with_leader_epoch(LEADER_EPOCH) } else { response }
}
