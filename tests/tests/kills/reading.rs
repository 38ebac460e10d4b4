//! All that a topic holds, as a consumer of librdkafka reads it, held against what was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::load::{Acknowledged, TOPIC, parse};
use crate::process::PATIENCE;

/// A consumer that belongs to no group's protocol; it may commit for `g`.
pub(crate) fn consumer(address: SocketAddr) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("group.id", "g");
    config.set("enable.auto.commit", "false").set("log_level", "0");
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
    config.create().unwrap()
}

/// Each partition's records from the first to the last.
pub(crate) fn read(address: SocketAddr, partitions: i32) -> BTreeMap<(i32, i64), (u32, u64)> {
    let consumer = consumer(address);
    let mut list = TopicPartitionList::new();
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    for partition in 0..partitions {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        let (_, end) = consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap();
        left.insert(partition, end);
    }
    left.retain(|_, end| *end > 0);
    consumer.assign(&list).unwrap();
    let mut records = BTreeMap::new();
    let began = std::time::Instant::now();
    while !left.is_empty() {
        assert!(began.elapsed() < PATIENCE, "not all is read: {left:?}");
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let at = (record.partition(), record.offset());
        assert_eq!(records.insert(at, parse(record.payload().unwrap())), None);
        if left.get(&at.0).is_some_and(|end| at.1 + 1 >= *end) {
            left.remove(&at.0);
        }
    }
    records
}

/// Everything acknowledged is there at its offset; each producer's records are in order, without a gap and once.
///
/// Returns how many records there are.
pub(crate) fn check(address: SocketAddr, partitions: i32, acknowledged: &Acknowledged) -> usize {
    let records = read(address, partitions);
    for (at, record) in acknowledged {
        assert_eq!(records.get(at), Some(record), "acknowledged at {at:?} and not there");
    }
    let mut next: BTreeMap<(i32, u32), u64> = BTreeMap::new();
    for ((partition, offset), (producer, number)) in &records {
        let next = next.entry((*partition, *producer)).or_default();
        assert_eq!(number, next, "of producer {producer}, at {partition}-{offset}");
        *next += 1;
    }
    records.len()
}
