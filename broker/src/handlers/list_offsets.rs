//! ListOffsets: where a partition begins and ends, and where a time begins in it.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ApiKey, ListOffsetsRequest, ListOffsetsResponse};

use super::code::code;
use super::{Handler, LEADER_EPOCH, partition};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct ListOffsets;

/// Times that ask for something else: the end, the start, and the record with the largest time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first version that may ask for [`MAX_TIMESTAMP`].
const MAX_TIMESTAMP_FROM: i16 = 7;
/// The first version that says the epoch of an offset.
const EPOCH_FROM: i16 = 4;

impl Handler for ListOffsets {
    type Request = ListOffsetsRequest;
    type Response = ListOffsetsResponse;
    const KEY: ApiKey = ApiKey::ListOffsets;

    async fn handle(call: Call, request: ListOffsetsRequest) -> Reply<ListOffsetsResponse> {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let response =
                    ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                partitions.push(match look_up(&call, &topic.name, &asked).await {
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

/// An offset and the time of its record, -1 where the offset is no record's; `None` where there is no such record.
type Found = Option<(i64, i64)>;

async fn look_up(call: &Call, topic: &str, asked: &ListOffsetsPartition) -> Result<Found, ResponseError> {
    let broker = &call.server.broker;
    let partition = partition(broker, topic, asked.partition_index, asked.current_leader_epoch)?;
    let found = match asked.timestamp {
        LATEST => {
            return partition.offsets().map(|held| Some((held.high_watermark, -1))).map_err(|e| code(&e));
        }
        EARLIEST => return partition.offsets().map(|held| Some((held.log_start, -1))).map_err(|e| code(&e)),
        MAX_TIMESTAMP if call.version >= MAX_TIMESTAMP_FROM => partition.max_timestamp().await,
        time @ 0.. => partition.offset_for_time(time).await,
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    let found = found.map_err(|error| code(&error))?;
    Ok(found.map(|found| (found.offset, found.timestamp_ms)))
}

fn answer(
    response: ListOffsetsPartitionResponse,
    found: Found,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let Some((offset, timestamp)) = found else { return response.with_offset(-1).with_timestamp(-1) };
    let response = response.with_offset(offset).with_timestamp(timestamp);
    if version >= EPOCH_FROM { response.with_leader_epoch(LEADER_EPOCH) } else { response }
}
