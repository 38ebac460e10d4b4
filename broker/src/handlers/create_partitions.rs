//! CreatePartitions: more partitions for topics that are there.

use std::collections::HashMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, TopicName,
};

use super::code::code;
use super::{Handler, NODE_ID, text};
use crate::error::BrokerError;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct CreatePartitions;

impl Handler for CreatePartitions {
    type Request = CreatePartitionsRequest;
    type Response = CreatePartitionsResponse;
    const KEY: ApiKey = ApiKey::CreatePartitions;

    async fn handle(call: Call, request: CreatePartitionsRequest) -> Reply<CreatePartitionsResponse> {
        let mut times = HashMap::<TopicName, usize>::new();
        for topic in &request.topics {
            *times.entry(topic.name.clone()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(times.len());
        for topic in request.topics {
            let grown = match times.remove(&topic.name) {
                None => continue,
                Some(1) => grow(&call, &topic, request.validate_only).await,
                Some(_) => {
                    Err((ResponseError::InvalidRequest, "the topic is named more than once".to_owned()))
                }
            };
            let result = CreatePartitionsTopicResult::default().with_name(topic.name);
            results.push(match grown {
                Ok(()) => result,
                Err((code, reason)) => {
                    result.with_error_code(code.code()).with_error_message(Some(text(reason)))
                }
            });
        }
        CreatePartitionsResponse::default().with_results(results).into()
    }
}

async fn grow(
    call: &Call,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ResponseError, String)> {
    let refused = |error: BrokerError| (code(&error), error.to_string());
    let broker = &call.server.broker;
    let partitions = u32::try_from(topic.count).unwrap_or(0);
    broker.check_partitions(&topic.name, partitions).map_err(refused)?;
    if let Some(assignments) = &topic.assignments {
        let more = partitions - broker.topic(&topic.name).map_err(refused)?.partition_count();
        let is_ours = assignments.iter().all(|assigned| *assigned.broker_ids == [BrokerId(NODE_ID)]);
        if assignments.len() != more as usize || !is_ours {
            let reason = "one assignment for each new partition, to broker 0, the only one";
            return Err((ResponseError::InvalidReplicaAssignment, reason.to_owned()));
        }
    }
    if !validate_only {
        broker.create_partitions(&topic.name, partitions).await.map_err(refused)?;
    }
    Ok(())
}
