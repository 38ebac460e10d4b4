//! Requests as tests put them together.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room, records};

pub(crate) const ACKS_ALL: i16 = -1;

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A batch of these values, the first one's timestamp given and each other's one later.
pub(crate) fn batch_at(values: &[&str], timestamp_ms: i64, compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(1 << 20);
    for (value, timestamp_ms) in values.iter().zip(timestamp_ms..) {
        let record = NewRecord { timestamp_ms, value: Some(value.as_bytes()), ..NewRecord::default() };
        assert_eq!(builder.append(&record).expect("a small record"), Room::Taken);
    }
    builder.finish(compression).expect("at least one record")
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_at(values, 0, Compression::None).freeze()
}

/// A producer's batch.
pub(crate) fn sequenced(value: &str, producer_id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut batch = batch_at(&[value], 0, Compression::None);
    batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

pub(crate) fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// The one partition's part of the answer.
pub(crate) fn produced(response: &ProduceResponse) -> &PartitionProduceResponse {
    &response.responses[0].partition_responses[0]
}

pub(crate) fn from(partition: i32, offset: i64, max_bytes: i32) -> FetchPartition {
    let from = FetchPartition::default().with_partition(partition).with_fetch_offset(offset);
    from.with_partition_max_bytes(max_bytes)
}

/// A fetch that returns as soon as there is a byte, and waits for `max_wait_ms`.
pub(crate) fn fetch(topic: &str, partitions: Vec<FetchPartition>, max_wait_ms: i32) -> FetchRequest {
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic])
}

pub(crate) fn fetched(response: &FetchResponse, at: usize) -> &PartitionData {
    &response.responses[0].partitions[at]
}

/// The values in a fetched partition.
pub(crate) fn values(data: &PartitionData) -> Vec<String> {
    let mut rest = data.records.clone().expect("records, if none");
    let mut values = Vec::new();
    while !rest.is_empty() {
        let bytes = BatchHeader::parse(&rest).expect("whole batches").total_bytes();
        for record in records(rest.split_to(bytes), 1 << 20).expect("a batch") {
            let value = record.expect("a record").value.expect("a value");
            values.push(String::from_utf8(value.into()).expect("text"));
        }
    }
    values
}
