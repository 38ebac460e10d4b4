//! What is spoken, and who and what is there.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use topo_broker::NodeAddress;
use topo_protocol::guard;
use topo_tests::wire_client::{WireClient, frame};

use super::Served;

fn software(version: i16) -> ApiVersionsRequest {
    let named = |request: ApiVersionsRequest| {
        request
            .with_client_software_name(StrBytes::from_static_str("wire-client"))
            .with_client_software_version(StrBytes::from_static_str("1"))
    };
    if version >= 3 { named(ApiVersionsRequest::default()) } else { ApiVersionsRequest::default() }
}

fn asked(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| {
        let name = TopicName(StrBytes::from_string((*name).to_owned()));
        MetadataRequestTopic::default().with_name(Some(name))
    };
    MetadataRequest::default().with_topics(Some(names.iter().map(topic).collect()))
}

fn name(topic: &MetadataResponseTopic) -> &str {
    topic.name.as_ref().map_or("", |name| name.as_str())
}

fn names(response: &MetadataResponse) -> Vec<&str> {
    response.topics.iter().map(name).collect()
}

#[tokio::test]
async fn every_version_of_api_versions_names_the_same_apis() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for version in 0..=4 {
        let response = client.ask(version, &software(version)).await;
        assert_eq!(response.error_code, 0);
        let of = |key| response.api_keys.iter().find(|api| api.api_key == key);
        assert_eq!(of(18).map(|api| (api.min_version, api.max_version)), Some((0, 4)));
        assert_eq!(of(3).map(|api| (api.min_version, api.max_version)), Some((0, 13)));
        for api in &response.api_keys {
            let shape = guard::request(api.api_key).unwrap();
            let served = (shape.versions.first, shape.versions.last);
            assert_eq!((api.min_version, api.max_version), served, "{}", shape.name);
        }
        assert_eq!(of(0).map(|api| (api.min_version, api.max_version)), Some((0, 11)), "librdkafka wants 0");
        assert!(of(71).is_none() && of(72).is_none(), "no client is to send telemetry");
        assert_eq!(response.finalized_features_epoch, -1);
    }
    served.stop().await;
}

#[tokio::test]
async fn an_api_versions_of_the_future_is_answered_in_version_0_with_error_35() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let mut request = frame(9, 4, &software(4));
    request[6..8].copy_from_slice(&7_i16.to_be_bytes());
    client.send_bytes(&request).await;
    let response = client.receive::<ApiVersionsRequest>(0, 9).await;
    assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
    assert!(response.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 4));
    // The connection goes on, as the client asks again.
    assert_eq!(client.ask(4, &software(4)).await.error_code, 0);
    served.stop().await;
}

#[tokio::test]
async fn every_version_of_metadata_says_which_topics_and_partitions_there_are() {
    let served = Served::start().await;
    let topic = served.broker.create_topic("lines", 3, [].into()).await.unwrap();
    let mut client = served.client().await;
    for version in 0..=13 {
        let all = if version == 0 { asked(&[]) } else { MetadataRequest::default().with_topics(None) };
        for request in [all, asked(&["lines", "lines"])] {
            let response = client.ask(version, &request).await;
            assert_eq!(names(&response), ["lines"], "{version}");
            let lines = &response.topics[0];
            let partitions: Vec<i32> = lines.partitions.iter().map(|p| p.partition_index).collect();
            assert_eq!((lines.error_code, partitions), (0, vec![0, 1, 2]));
            assert!(lines.partitions.iter().all(|p| (p.error_code, p.leader_id.0) == (0, 0)));
            if version >= 7 {
                assert!(lines.partitions.iter().all(|p| p.leader_epoch == 0));
            }
            if version >= 10 {
                assert_eq!(lines.topic_id.into_bytes(), topic.id().to_bytes());
            }
            let node = &response.brokers[0];
            assert_eq!((node.node_id.0, node.port), (0, i32::from(served.address().port())));
            assert!(version == 0 || response.controller_id.0 == 0);
        }
        if version > 0 {
            assert_eq!(client.ask(version, &asked(&[])).await.topics.len(), 0, "none were asked for");
        }
    }
    let by_id = |id: [u8; 16]| {
        let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(uuid::Uuid::from_bytes(id));
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    assert_eq!(names(&client.ask(12, &by_id(topic.id().to_bytes())).await), ["lines"]);
    let unknown = client.ask(12, &by_id([7; 16])).await;
    assert_eq!(unknown.topics[0].error_code, ResponseError::UnknownTopicId.code());
    served.stop().await;
}

#[tokio::test]
async fn clients_are_told_the_address_that_they_reached() {
    let served = Served::start().await;
    for address in served.server.local_addrs() {
        let mut client = WireClient::connect(*address).await;
        let response = client.ask(9, &asked(&[])).await;
        assert_eq!(response.brokers[0].host.as_str(), address.ip().to_string());
    }
    served.stop().await;

    let advertise = NodeAddress { host: "broker.example".to_owned(), port: 19092 };
    let served = Served::start_with(|config| config.advertise = Some(advertise)).await;
    let response = served.client().await.ask(9, &asked(&[])).await;
    assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("broker.example", 19092));
    served.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_asked_for_is_created_where_that_is_allowed() {
    let served = Served::start_with(|config| config.default_partitions = 2).await;
    let mut client = served.client().await;
    let no = asked(&["lines"]).with_allow_auto_topic_creation(false);
    let response = client.ask(9, &no).await;
    assert_eq!(response.topics[0].error_code, ResponseError::UnknownTopicOrPartition.code());
    let response = client.ask(9, &asked(&["lines", "a b", "__consumer_offsets"])).await;
    let codes: Vec<(&str, i16)> =
        response.topics.iter().map(|topic| (name(topic), topic.error_code)).collect();
    assert_eq!(codes, [("lines", 0), ("a b", 17), ("__consumer_offsets", 3)]);
    assert_eq!(response.topics[0].partitions.len(), 2);
    let dir = served.stop().await;

    let served = Served::start_in(dir, |config| config.auto_create_topics = false).await;
    let mut client = served.client().await;
    let response = client.ask(9, &asked(&["lines", "more"])).await;
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, ResponseError::UnknownTopicOrPartition.code()]);
    served.stop().await;
}
