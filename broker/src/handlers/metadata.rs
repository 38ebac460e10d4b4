//! Metadata: who is there, and which topics and partitions exist; creates topics that clients ask for, where it may.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Handler, LEADER_EPOCH, NODE_ID};
use crate::error::BrokerError;
use crate::handlers::code::code;
use crate::server::{Call, NodeAddress, Reply, Shared};
use crate::topic::{Topic, TopicId, is_internal};

/// The API.
pub(crate) struct Metadata;

impl Handler for Metadata {
    type Request = MetadataRequest;
    type Response = MetadataResponse;
    const KEY: ApiKey = ApiKey::Metadata;

    async fn handle(call: Call, request: MetadataRequest) -> Reply<MetadataResponse> {
        let broker = &call.server.broker;
        // Before version 1 there is no null, and no topics are all topics.
        let asked = request.topics.filter(|topics| call.version > 0 || !topics.is_empty());
        let topics = match asked {
            None => broker.topics().iter().map(describe).collect(),
            Some(asked) => {
                let may_create = request.allow_auto_topic_creation && call.server.config.auto_create_topics;
                let mut topics = Vec::new();
                for topic in distinct(asked) {
                    topics.push(describe_asked(&call.server, topic, may_create).await);
                }
                topics
            }
        };
        // Without one, clients go on all the same.
        let cluster_id = broker.cluster_id().await.ok();
        MetadataResponse::default()
            .with_cluster_id(cluster_id.map(|id| StrBytes::from_string(id.to_string())))
            .with_brokers(vec![node(&call.peer.node)])
            .with_controller_id(BrokerId(NODE_ID))
            .with_topics(topics)
            .into()
    }
}

fn node(address: &NodeAddress) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(StrBytes::from_string(address.host.clone()))
        .with_port(address.port.into())
}

/// Every topic once, however often it is asked for: an answer is bounded by what exists and what was sent.
fn distinct(asked: Vec<MetadataRequestTopic>) -> impl Iterator<Item = MetadataRequestTopic> {
    let mut seen = HashSet::new();
    asked.into_iter().filter(move |topic| seen.insert((topic.name.clone(), topic.topic_id)))
}

async fn describe_asked(
    server: &Shared,
    asked: MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    let Some(name) = &asked.name else {
        let found = server.broker.topic_by_id(TopicId::from_bytes(asked.topic_id.into_bytes()));
        return found.as_ref().map(describe).unwrap_or_else(|error| {
            let unknown = MetadataResponseTopic::default().with_name(None).with_topic_id(asked.topic_id);
            unknown.with_error_code(code(error).code())
        });
    };
    let topic = match server.broker.topic(name) {
        Err(BrokerError::UnknownTopic(_)) if may_create && !is_internal(name) => create(server, name).await,
        topic => topic,
    };
    topic.as_ref().map(describe).unwrap_or_else(|error| {
        MetadataResponseTopic::default().with_name(Some(name.clone())).with_error_code(code(error).code())
    })
}

async fn create(server: &Shared, name: &str) -> Result<Arc<Topic>, BrokerError> {
    let created = server.broker.create_topic(name, server.config.default_partitions, BTreeMap::new()).await;
    match created {
        // By another connection.
        Err(BrokerError::TopicExists(_)) => server.broker.topic(name),
        created => created,
    }
}

fn describe(topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partition = |index: u32| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name().to_string()))))
        .with_topic_id(uuid(topic))
        .with_is_internal(topic.is_internal())
        .with_partitions((0..topic.partition_count()).map(partition).collect())
}

/// A topic's id as the protocol's messages hold it.
pub(super) fn uuid(topic: &Topic) -> Uuid {
    Uuid::from_bytes(topic.id().to_bytes())
}
