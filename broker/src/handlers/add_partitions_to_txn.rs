//! AddPartitionsToTxn: partitions that the producer is about to write to; all of them become part of its transaction, or none.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, TopicName};

use super::code::code;
use super::transaction_code::{instance, result_code};
use super::{Handler, topic_partition};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::server::{Call, Reply};
use crate::topic::{TopicPartition, is_internal};

/// The API.
pub(crate) struct AddPartitionsToTxn;

/// The first version whose clients know a producer that was fenced.
const FENCED_FROM: i16 = 2;

impl Handler for AddPartitionsToTxn {
    type Request = AddPartitionsToTxnRequest;
    type Response = AddPartitionsToTxnResponse;
    const KEY: ApiKey = ApiKey::AddPartitionsToTxn;

    async fn handle(call: Call, request: AddPartitionsToTxnRequest) -> Reply<AddPartitionsToTxnResponse> {
        let broker = &call.server.broker;
        let mut partitions = Vec::new();
        let mut refused = Vec::new();
        for topic in &request.v3_and_below_topics {
            for index in &topic.partitions {
                match check(broker, &topic.name, *index) {
                    Ok(partition) => {
                        partitions.push(partition);
                        refused.push(None);
                    }
                    Err(error) => refused.push(Some(code(&error).code())),
                }
            }
        }
        let others = if refused.iter().any(Option::is_some) {
            ResponseError::OperationNotAttempted.code()
        } else {
            let id = request.v3_and_below_transactional_id.as_str();
            let producer = instance(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
            let added = broker.transactions().add_partitions(id, producer, &partitions).await;
            result_code(&added, call.version >= FENCED_FROM)
        };
        let mut codes = refused.into_iter().map(|refused| refused.unwrap_or(others));
        let topics = request.v3_and_below_topics.into_iter();
        let results = topics.map(|topic| answer(topic.name, topic.partitions, &mut codes)).collect();
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results).into()
    }
}

/// The partition, if a producer may write to it.
fn check(broker: &Broker, topic: &str, index: i32) -> Result<TopicPartition, BrokerError> {
    if is_internal(topic) {
        return Err(BrokerError::InternalTopic(topic.into()));
    }
    let unknown = || BrokerError::UnknownTopic(topic.into());
    let partition = topic_partition(topic, index).ok_or_else(unknown)?;
    let known = broker.topic(topic)?;
    known.partition(partition.partition)?;
    // With the name that all of the topic's partitions share.
    Ok(TopicPartition::new(known.name().clone(), partition.partition))
}

fn answer(
    name: TopicName,
    partitions: Vec<i32>,
    codes: &mut impl Iterator<Item = i16>,
) -> AddPartitionsToTxnTopicResult {
    let results = partitions.into_iter().zip(codes).map(|(index, code)| {
        AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(index)
            .with_partition_error_code(code)
    });
    AddPartitionsToTxnTopicResult::default().with_name(name).with_results_by_partition(results.collect())
}
