//! Topics and settings, as administrators see and change them.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::Served;
use super::requests::topic_name;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

fn with_config(topic: CreatableTopic, key: &str, value: &str) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)));
    topic.with_configs(vec![config])
}

#[tokio::test]
async fn topics_are_created_and_deleted_in_every_version() {
    let served = Served::start_with(|config| config.default_partitions = 4).await;
    let mut client = served.client().await;
    for version in 2..=7 {
        let name = format!("lines-{version}");
        let topics = vec![with_config(topic(&name, 3), "retention.ms", "1000"), topic("more", -1)];
        let only_checked =
            CreateTopicsRequest::default().with_topics(topics.clone()).with_validate_only(true);
        let response = client.ask(version, &only_checked).await;
        assert!(response.topics.iter().all(|topic| topic.error_code == 0));
        assert!(served.broker.topics().is_empty(), "only checked");
        let response = client.ask(version, &CreateTopicsRequest::default().with_topics(topics)).await;
        let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 0]);
        let created = served.broker.topic(&name).unwrap();
        assert_eq!((created.partition_count(), created.config_overrides().len()), (3, 1));
        assert_eq!(served.broker.topic("more").unwrap().partition_count(), 4);
        if version >= 5 {
            assert_eq!((response.topics[1].num_partitions, response.topics[1].replication_factor), (4, 1));
        }
        if version >= 7 {
            assert_eq!(response.topics[0].topic_id.into_bytes(), created.id().to_bytes());
        }
        let names = vec![topic_name(&name), topic_name("more"), topic_name("none")];
        let version = version - 1;
        let request = if version < 6 {
            DeleteTopicsRequest::default().with_topic_names(names)
        } else {
            let by_id =
                DeleteTopicState::default().with_name(None).with_topic_id(response.topics[0].topic_id);
            let by_name = |name| DeleteTopicState::default().with_name(Some(name));
            let topics = [by_id].into_iter().chain(names.into_iter().skip(1).map(by_name));
            DeleteTopicsRequest::default().with_topics(topics.collect())
        };
        let response = client.ask(version, &request).await;
        let codes: Vec<i16> = response.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 0, ResponseError::UnknownTopicOrPartition.code()], "{version}");
        assert_eq!(response.responses[0].name, Some(topic_name(&name)));
        assert!(served.broker.topics().is_empty());
    }
    served.stop().await;
}

#[tokio::test]
async fn topics_that_cannot_be_are_refused_one_by_one() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("taken", 1, [].into()).await.unwrap();
    let assigned = |brokers: &[i32]| {
        let assignment = CreatableReplicaAssignment::default()
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect());
        topic("assigned", -1).with_assignments(vec![assignment])
    };
    for (topic, code) in [
        (topic("taken", 1), ResponseError::TopicAlreadyExists),
        (topic("a b", 1), ResponseError::InvalidTopicException),
        (topic("__consumer_offsets", 1), ResponseError::InvalidTopicException),
        (topic("zero", 0), ResponseError::InvalidPartitions),
        (topic("minus", -2), ResponseError::InvalidPartitions),
        (topic("many", 1_000_000), ResponseError::InvalidPartitions),
        (topic("replicas", 1).with_replication_factor(3), ResponseError::InvalidReplicationFactor),
        (with_config(topic("odd", 1), "no.such.key", "1"), ResponseError::InvalidConfig),
        (with_config(topic("odd", 1), "retention.ms", "soon"), ResponseError::InvalidConfig),
        (assigned(&[1]), ResponseError::InvalidReplicaAssignment),
        (assigned(&[0, 1]), ResponseError::InvalidReplicaAssignment),
    ] {
        for validate_only in [true, false] {
            let topics = vec![topic.clone(), self::topic("sound", 1)];
            let request =
                CreateTopicsRequest::default().with_topics(topics).with_validate_only(validate_only);
            let response = client.ask(5, &request).await;
            let result = &response.topics[0];
            assert_eq!(result.error_code, code.code(), "{:?}", topic.name);
            assert!(result.error_message.is_some());
            assert_eq!(response.topics[1].error_code, 0);
        }
        served.broker.delete_topic("sound").await.unwrap();
    }
    let twice = CreateTopicsRequest::default().with_topics(vec![topic("twice", 1), topic("twice", 1)]);
    let response = client.ask(5, &twice).await;
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].error_code, ResponseError::InvalidRequest.code());
    let response = client.ask(5, &CreateTopicsRequest::default().with_topics(vec![assigned(&[0])])).await;
    assert_eq!(response.topics[0].error_code, 0);
    served.stop().await;
}

#[tokio::test]
async fn the_cluster_is_one_node_and_keeps_its_name() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let mut names = Vec::new();
    for version in 0..=1 {
        let response = client.ask(version, &DescribeClusterRequest::default()).await;
        let node = &response.brokers[0];
        assert_eq!((response.error_code, response.controller_id.0, response.brokers.len()), (0, 0, 1));
        assert_eq!((node.broker_id.0, node.port), (0, i32::from(served.address().port())));
        names.push(response.cluster_id.to_string());
    }
    let dir = served.stop().await;
    let served = Served::start_in(dir, |_| {}).await;
    let metadata = served.client().await.ask(9, &MetadataRequest::default()).await;
    names.push(metadata.cluster_id.unwrap().to_string());
    assert!(!names[0].is_empty() && names.iter().all(|name| *name == names[0]), "{names:?}");
    served.stop().await;
}

#[tokio::test]
async fn settings_are_described_with_where_they_are_from() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let config = [("retention.ms".to_owned(), "1000".to_owned())].into();
    served.broker.create_topic("lines", 1, config).await.unwrap();
    let of = |kind, name: &str| {
        DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name))
    };
    for version in 1..=4 {
        let all = |kind, name: &str| of(kind, name).with_configuration_keys(None);
        let some = of(2, "lines").with_configuration_keys(Some(vec![text("retention.ms")]));
        let resources = vec![all(2, "lines"), some, all(4, "0"), all(2, "none"), all(4, "7"), all(8, "x")];
        let response =
            client.ask(version, &DescribeConfigsRequest::default().with_resources(resources)).await;
        let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 0, 0, 3, 42, 42]);
        let value = |at: usize, key: &str| {
            let mut found = response.results[at].configs.iter().filter(|config| config.name.as_str() == key);
            found.next().map(|config| (config.value.as_deref().unwrap_or_default(), config.config_source))
        };
        assert_eq!(value(0, "retention.ms"), Some(("1000", 1)));
        assert_eq!(value(0, "max.message.bytes"), Some(("1048588", 5)));
        assert_eq!(response.results[1].configs.len(), 1);
        assert_eq!(value(2, "num.partitions"), Some(("1", 4)));
    }
    served.stop().await;
}
