//! OffsetForLeaderEpoch: where the records of an epoch end. There is one epoch, and it lasts.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{ApiKey, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::code::code;
use super::{Handler, partition};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct OffsetForLeaderEpoch;

impl Handler for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;
    type Response = OffsetForLeaderEpochResponse;
    const KEY: ApiKey = ApiKey::OffsetForLeaderEpoch;

    async fn handle(call: Call, request: OffsetForLeaderEpochRequest) -> Reply<OffsetForLeaderEpochResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let find = |asked: &OffsetForLeaderPartition| {
                // An epoch that never was ends nowhere: -1 and -1.
                let result = EpochEndOffset::default().with_partition(asked.partition);
                match end(&call, &topic.topic, asked) {
                    Ok(Some((epoch, end))) => result.with_leader_epoch(epoch).with_end_offset(end),
                    Ok(None) => result.with_leader_epoch(-1).with_end_offset(-1),
                    Err(code) => {
                        result.with_leader_epoch(-1).with_end_offset(-1).with_error_code(code.code())
                    }
                }
            };
            let partitions = topic.partitions.iter().map(find).collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect()).into()
    }
}

fn end(
    call: &Call,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ResponseError> {
    let broker = &call.server.broker;
    let partition = partition(broker, topic, asked.partition, asked.current_leader_epoch)?;
    let end = broker.epoch_end(partition.at(), asked.leader_epoch).map_err(|error| code(&error))?;
    Ok(end.map(|end| (end.leader_epoch, end.end_offset)))
}
