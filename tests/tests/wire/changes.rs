//! Topics that grow, change and lose records; and pages of them.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_request;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, DeleteRecordsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::Served;
use super::requests::*;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[tokio::test]
async fn topics_get_more_partitions_and_never_fewer() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("lines", 1, [].into()).await.unwrap();
    let count = || served.broker.topic("lines").unwrap().partition_count();
    let grow = |name: &str, count| {
        CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(None)
    };
    let assigned = |brokers: &[i32]| {
        let assign = |id: &i32| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(*id)]);
        Some(brokers.iter().map(assign).collect())
    };
    for version in 0..=3 {
        let more = grow("lines", count() as i32 + 2);
        let request = CreatePartitionsRequest::default().with_topics(vec![more]);
        let before = count();
        let checked = client.ask(version, &request.clone().with_validate_only(true)).await;
        assert_eq!((checked.results[0].error_code, count()), (0, before), "only checked");
        let response = client.ask(version, &request).await;
        assert_eq!((response.results[0].error_code, count()), (0, before + 2));
    }
    let count = count() as i32;
    for (topic, code) in [
        (grow("lines", count), ResponseError::InvalidPartitions),
        (grow("lines", -1), ResponseError::InvalidPartitions),
        (grow("none", 3), ResponseError::UnknownTopicOrPartition),
        (grow("lines", count + 1).with_assignments(assigned(&[1])), ResponseError::InvalidReplicaAssignment),
        (grow("lines", count + 1).with_assignments(assigned(&[])), ResponseError::InvalidReplicaAssignment),
    ] {
        let response =
            client.ask(2, &CreatePartitionsRequest::default().with_topics(vec![topic.clone()])).await;
        assert_eq!(response.results[0].error_code, code.code(), "{topic:?}");
        assert!(response.results[0].error_message.is_some());
    }
    let last = grow("lines", count + 1).with_assignments(assigned(&[0]));
    let response = client.ask(2, &CreatePartitionsRequest::default().with_topics(vec![last])).await;
    assert_eq!(response.results[0].error_code, 0);
    served.stop().await;
}

#[tokio::test]
async fn settings_are_set_and_taken_back() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("lines", 1, [].into()).await.unwrap();
    let change = |operation, key: &str, value: Option<&str>| {
        let config = AlterableConfig::default().with_name(text(key)).with_config_operation(operation);
        config.with_value(value.map(text))
    };
    let of = |kind, name: &str, configs| {
        let resource = AlterConfigsResource::default().with_resource_type(kind);
        resource.with_resource_name(text(name)).with_configs(configs)
    };
    let set = || served.broker.topic("lines").unwrap().config_overrides().clone();
    for version in 0..=1 {
        let resources = vec![of(2, "lines", vec![change(0, "retention.ms", Some("77"))])];
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        let checked = client.ask(version, &request.clone().with_validate_only(true)).await;
        assert_eq!((checked.responses[0].error_code, set().len()), (0, 0), "only checked");
        let response = client.ask(version, &request).await;
        assert_eq!((response.responses[0].error_code, set()["retention.ms"].as_str()), (0, "77"));
        let resources = vec![of(2, "lines", vec![change(1, "retention.ms", None)])];
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        let response = client.ask(version, &request).await;
        assert_eq!((response.responses[0].error_code, set().len()), (0, 0));
    }
    for (resource, code) in [
        (of(2, "none", vec![]), ResponseError::UnknownTopicOrPartition),
        (of(4, "0", vec![]), ResponseError::InvalidRequest),
        (of(2, "lines", vec![change(0, "no.such", Some("1"))]), ResponseError::InvalidConfig),
        (of(2, "lines", vec![change(0, "retention.ms", None)]), ResponseError::InvalidConfig),
        (of(2, "lines", vec![change(2, "retention.ms", Some("1"))]), ResponseError::InvalidConfig),
        (
            of(2, "lines", vec![change(0, "retention.ms", Some("1")), change(1, "retention.ms", None)]),
            ResponseError::InvalidRequest,
        ),
    ] {
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource.clone()]);
        let response = client.ask(1, &request).await;
        assert_eq!(response.responses[0].error_code, code.code(), "{resource:?}");
        assert!(response.responses[0].error_message.is_some());
    }
    let stamped = vec![of(2, "lines", vec![change(0, "message.timestamp.type", Some("LogAppendTime"))])];
    client.ask(1, &IncrementalAlterConfigsRequest::default().with_resources(stamped)).await;
    let response = client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["stamped"]))).await;
    assert!(produced(&response).log_append_time_ms > 1_000_000_000_000);
    served.stop().await;
}

#[tokio::test]
async fn all_settings_are_replaced_at_once() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("lines", 1, [("segment.ms".to_owned(), "7".to_owned())].into()).await.unwrap();
    let of = |configs: &[(&str, Option<&str>)]| {
        let config = |(key, value): &(&str, Option<&str>)| {
            alter_configs_request::AlterableConfig::default().with_name(text(key)).with_value(value.map(text))
        };
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("lines"))
            .with_configs(configs.iter().map(config).collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    let set = || served.broker.topic("lines").unwrap().config_overrides().clone();
    for version in 0..=2 {
        let value = format!("10{version}");
        let request = of(&[("retention.ms", Some(&value))]);
        let before = set();
        let checked = client.ask(version, &request.clone().with_validate_only(true)).await;
        assert_eq!((checked.responses[0].error_code, set()), (0, before), "only checked");
        let response = client.ask(version, &request).await;
        assert_eq!(response.responses[0].error_code, 0);
        assert_eq!(set().into_iter().collect::<Vec<_>>(), [("retention.ms".to_owned(), value)]);
    }
    for (configs, code) in [
        (&[("retention.ms", None)][..], ResponseError::InvalidConfig),
        (&[("no.such", Some("1"))], ResponseError::InvalidConfig),
        (&[("segment.ms", Some("1")), ("segment.ms", Some("2"))], ResponseError::InvalidRequest),
    ] {
        let response = client.ask(2, &of(configs)).await;
        assert_eq!(response.responses[0].error_code, code.code(), "{configs:?}");
    }
    assert_eq!(set().len(), 1);
    served.stop().await;
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("lines", 1, [].into()).await.unwrap();
    for number in 0..10 {
        client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&[&number.to_string()]))).await;
    }
    let delete = |partition, offset| {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic =
            DeleteRecordsTopic::default().with_name(topic_name("lines")).with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    };
    for version in 0..=2 {
        let before = i64::from(version) + 3;
        let response = client.ask(version, &delete(0, before)).await;
        let result = &response.topics[0].partitions[0];
        assert_eq!((result.error_code, result.low_watermark), (0, before));
    }
    let response = client.ask(11, &fetch("lines", vec![from(0, 4, 1000)], 0)).await;
    assert_eq!(fetched(&response, 0).error_code, ResponseError::OffsetOutOfRange.code());
    let response = client.ask(11, &fetch("lines", vec![from(0, 5, 1000)], 0)).await;
    assert_eq!((values(fetched(&response, 0))[0].as_str(), fetched(&response, 0).log_start_offset), ("5", 5));
    for (partition, offset, code) in [
        (0, 11, ResponseError::OffsetOutOfRange),
        (0, -2, ResponseError::OffsetOutOfRange),
        (1, 0, ResponseError::UnknownTopicOrPartition),
        (-1, 0, ResponseError::UnknownTopicOrPartition),
    ] {
        let response = client.ask(1, &delete(partition, offset)).await;
        let result = &response.topics[0].partitions[0];
        assert_eq!((result.error_code, result.low_watermark), (code.code(), -1), "{partition} {offset}");
    }
    let response = client.ask(1, &delete(0, -1)).await;
    assert_eq!(response.topics[0].partitions[0].low_watermark, 10, "all of them");
    served.stop().await;
}

#[tokio::test]
async fn the_one_epoch_ends_where_the_log_does() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("lines", 1, [].into()).await.unwrap();
    client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["a", "b"]))).await;
    for version in 2..=4 {
        for (partition, current, epoch, expected) in
            [(0, -1, 0, (0, 0, 2)), (0, 0, 1, (0, -1, -1)), (0, 1, 0, (75, -1, -1)), (7, -1, 0, (3, -1, -1))]
        {
            let asked = OffsetForLeaderPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(current)
                .with_leader_epoch(epoch);
            let topic =
                OffsetForLeaderTopic::default().with_topic(topic_name("lines")).with_partitions(vec![asked]);
            let response =
                client.ask(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic])).await;
            let end = &response.topics[0].partitions[0];
            assert_eq!((end.error_code, end.leader_epoch, end.end_offset), expected, "{version}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn what_partitions_take_is_told() {
    let served = Served::start().await;
    let mut client = served.client().await;
    served.broker.create_topic("lines", 2, [].into()).await.unwrap();
    let records = batch(&["a line"]);
    client.ask(9, &produce("lines", 1, ACKS_ALL, records.clone())).await;
    let some =
        DescribableLogDirTopic::default().with_topic(topic_name("lines")).with_partitions(vec![1, 1, 9]);
    for version in 1..=4 {
        let response = client.ask(version, &DescribeLogDirsRequest::default().with_topics(None)).await;
        let directory = &response.results[0];
        assert_eq!(directory.log_dir.as_str(), served.dir.path().display().to_string());
        let sizes: Vec<i64> = directory.topics[0].partitions.iter().map(|p| p.partition_size).collect();
        assert_eq!(sizes, [0, records.len() as i64]);
        let (total, usable) = (directory.total_bytes, directory.usable_bytes);
        if version < 4 {
            assert_eq!((total, usable), (-1, -1));
        } else {
            assert!((1..total).contains(&usable), "{usable} of {total}");
        }
        let request = DescribeLogDirsRequest::default().with_topics(Some(vec![some.clone()]));
        let response = client.ask(version, &request).await;
        let indexes: Vec<i32> =
            response.results[0].topics[0].partitions.iter().map(|p| p.partition_index).collect();
        assert_eq!(indexes, [1]);
    }
    served.stop().await;
}

#[tokio::test]
async fn topics_and_partitions_are_told_in_pages() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for (name, partitions) in [("a", 3), ("b", 1), ("c", 4)] {
        served.broker.create_topic(name, partitions, [].into()).await.unwrap();
    }
    for limit in 1..10 {
        let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(limit);
        let mut told = Vec::new();
        loop {
            let response = client.ask(0, &request).await;
            let partitions = response.topics.iter().flat_map(|topic| {
                assert_eq!(topic.error_code, 0);
                let name = topic.name.as_ref().unwrap();
                topic.partitions.iter().map(move |p| format!("{}-{}", name.as_str(), p.partition_index))
            });
            let before = told.len();
            told.extend(partitions);
            assert!(told.len() - before <= limit as usize);
            let Some(next) = response.next_cursor else { break };
            let cursor =
                Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
            request.cursor = Some(cursor);
        }
        assert_eq!(told, ["a-0", "a-1", "a-2", "b-0", "c-0", "c-1", "c-2", "c-3"], "{limit}");
    }
    let some = ["c", "none"].map(|name| TopicRequest::default().with_name(topic_name(name)));
    let request = DescribeTopicPartitionsRequest::default().with_topics(some.into());
    let response = client.ask(0, &request).await;
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, ResponseError::UnknownTopicOrPartition.code()]);
    served.stop().await;
}
