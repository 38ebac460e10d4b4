//! CreateTopics.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{ApiKey, BrokerId, CreateTopicsRequest, CreateTopicsResponse, TopicName};

use super::code::code;
use super::metadata::uuid;
use super::{Handler, NODE_ID, text};
use crate::error::BrokerError;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct CreateTopics;

/// The first versions that say what was created, and its id.
const SHOWN_FROM: i16 = 5;
const ID_FROM: i16 = 7;

/// A refusal, and why.
type Refusal = (ResponseError, String);

impl Handler for CreateTopics {
    type Request = CreateTopicsRequest;
    type Response = CreateTopicsResponse;
    const KEY: ApiKey = ApiKey::CreateTopics;

    async fn handle(call: Call, request: CreateTopicsRequest) -> Reply<CreateTopicsResponse> {
        let mut times = HashMap::<TopicName, usize>::new();
        for topic in &request.topics {
            *times.entry(topic.name.clone()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(times.len());
        for topic in request.topics {
            // The first of several by one name answers for all.
            let created = match times.remove(&topic.name) {
                None => continue,
                Some(1) => create(&call, &topic, request.validate_only).await,
                Some(_) => {
                    Err((ResponseError::InvalidRequest, "the topic is named more than once".to_owned()))
                }
            };
            let result = CreatableTopicResult::default().with_name(topic.name);
            results.push(match created {
                Ok(created) => created.with_name(result.name),
                Err((code, reason)) => {
                    result.with_error_code(code.code()).with_error_message(Some(text(reason)))
                }
            });
        }
        CreateTopicsResponse::default().with_topics(results).into()
    }
}

async fn create(
    call: &Call,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let refused = |error: BrokerError| (code(&error), error.to_string());
    let partitions = partitions(topic, call.server.config.default_partitions)?;
    let null = |name: &str| (ResponseError::InvalidConfig, format!("`{name}` has no value"));
    let config = topic.configs.iter().map(|config| {
        let value = config.value.as_ref().ok_or_else(|| null(&config.name))?;
        Ok((config.name.to_string(), value.to_string()))
    });
    let config = config.collect::<Result<BTreeMap<_, _>, Refusal>>()?;
    let broker = &call.server.broker;
    let mut result = CreatableTopicResult::default();
    if validate_only {
        broker.check_topic(&topic.name, partitions, &config).map_err(refused)?;
    } else {
        let created = broker.create_topic(&topic.name, partitions, config).await.map_err(refused)?;
        if call.version >= ID_FROM {
            result.topic_id = uuid(&created);
        }
    }
    if call.version >= SHOWN_FROM {
        result = result.with_num_partitions(partitions as i32).with_replication_factor(1).with_configs(None);
    }
    Ok(result)
}

/// How many partitions are asked for, by number or by assignment to the one node there is.
fn partitions(topic: &CreatableTopic, default: u32) -> Result<u32, Refusal> {
    let invalid = |code: ResponseError, reason: &str| Err((code, reason.to_owned()));
    if !topic.assignments.is_empty() {
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            return invalid(
                ResponseError::InvalidRequest,
                "with an assignment, partitions and replication factor are -1",
            );
        }
        let mut indexes: Vec<i32> =
            topic.assignments.iter().map(|assigned| assigned.partition_index).collect();
        indexes.sort_unstable();
        let is_dense = indexes.iter().enumerate().all(|(at, index)| *index as usize == at);
        let is_ours = topic.assignments.iter().all(|assigned| *assigned.broker_ids == [BrokerId(NODE_ID)]);
        if !is_dense || !is_ours {
            return invalid(
                ResponseError::InvalidReplicaAssignment,
                "partitions are numbered from 0, and there is one broker, 0",
            );
        }
        return Ok(topic.assignments.len() as u32);
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        return invalid(
            ResponseError::InvalidReplicationFactor,
            "there is one broker; the replication factor is 1",
        );
    }
    match topic.num_partitions {
        -1 => Ok(default),
        number => u32::try_from(number).or_else(|_| {
            invalid(
                ResponseError::InvalidPartitions,
                "a topic has at least one partition, or -1 for the default",
            )
        }),
    }
}
