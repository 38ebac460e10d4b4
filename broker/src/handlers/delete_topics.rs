//! DeleteTopics, by name or by id.

use std::collections::HashSet;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{ApiKey, DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

use super::code::code;
use super::metadata::uuid;
use super::{Handler, text};
use crate::error::BrokerError;
use crate::server::{Call, Reply};
use crate::topic::TopicId;

/// The API.
pub(crate) struct DeleteTopics;

/// The first versions that say why, and which id.
const REASON_FROM: i16 = 5;
const ID_FROM: i16 = 6;

impl Handler for DeleteTopics {
    type Request = DeleteTopicsRequest;
    type Response = DeleteTopicsResponse;
    const KEY: ApiKey = ApiKey::DeleteTopics;

    async fn handle(call: Call, request: DeleteTopicsRequest) -> Reply<DeleteTopicsResponse> {
        let by_name = |name| DeleteTopicState::default().with_name(Some(name));
        let asked = request.topics.into_iter().chain(request.topic_names.into_iter().map(by_name));
        let mut seen = HashSet::new();
        let mut responses = Vec::new();
        for topic in asked {
            if !seen.insert((topic.name.clone(), topic.topic_id)) {
                continue;
            }
            let mut result = DeletableTopicResult::default().with_name(topic.name.clone());
            if call.version >= ID_FROM {
                result.topic_id = topic.topic_id;
            }
            if let Err(error) = delete(&call, &topic, &mut result).await {
                result.error_code = code(&error).code();
                if call.version >= REASON_FROM {
                    result.error_message = Some(text(error.to_string()));
                }
            }
            responses.push(result);
        }
        DeleteTopicsResponse::default().with_responses(responses).into()
    }
}

async fn delete(
    call: &Call,
    asked: &DeleteTopicState,
    result: &mut DeletableTopicResult,
) -> Result<(), BrokerError> {
    let broker = &call.server.broker;
    let topic = match &asked.name {
        Some(name) => broker.topic(name)?,
        None => broker.topic_by_id(TopicId::from_bytes(asked.topic_id.into_bytes()))?,
    };
    broker.delete_topic(topic.name()).await?;
    result.name = Some(TopicName(text(&**topic.name())));
    if call.version >= ID_FROM {
        result.topic_id = uuid(&topic);
    }
    Ok(())
}
