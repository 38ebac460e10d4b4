//! DeleteRecords: everything below an offset.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest, DeleteRecordsResponse};

use super::code::code;
use super::{Handler, topic_partition};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct DeleteRecords;

/// Everything that may be read.
const ALL: i64 = -1;

impl Handler for DeleteRecords {
    type Request = DeleteRecordsRequest;
    type Response = DeleteRecordsResponse;
    const KEY: ApiKey = ApiKey::DeleteRecords;

    async fn handle(call: Call, request: DeleteRecordsRequest) -> Reply<DeleteRecordsResponse> {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let result =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                partitions.push(match delete(&call, &topic.name, &asked).await {
                    Ok(log_start) => result.with_low_watermark(log_start),
                    Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
                });
            }
            topics
                .push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics).into()
    }
}

async fn delete(call: &Call, topic: &str, asked: &DeleteRecordsPartition) -> Result<i64, ResponseError> {
    let unknown = ResponseError::UnknownTopicOrPartition;
    let of = topic_partition(topic, asked.partition_index).ok_or(unknown)?;
    let before = (asked.offset != ALL).then_some(asked.offset);
    call.server.broker.delete_records(&of, before).await.map_err(|error| code(&error))
}
