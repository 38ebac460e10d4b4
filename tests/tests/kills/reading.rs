//! All that a topic holds, as consumers of librdkafka read it, held against what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::load::{Acknowledged, TOPIC, parse};
use crate::process::PATIENCE;

/// What a topic holds: by partition and offset, which producer's record and its number.
pub(crate) type Records = BTreeMap<(i32, i64), (u32, u64)>;

/// A consumer that belongs to no group's protocol; it may commit for that group.
pub(crate) fn consumer(address: SocketAddr, group: &str) -> BaseConsumer {
    config(address, group).create().unwrap()
}

fn config(address: SocketAddr, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("group.id", group);
    config.set("enable.auto.commit", "false").set("log_level", "0");
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
    config
}

/// The partitions' records from the first to the last that is stable.
pub(crate) fn read(address: SocketAddr, topic: &str, partitions: Range<i32>) -> Records {
    let mut config = config(address, "readers");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in partitions.clone() {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut records, mut ended) = (Records::new(), BTreeSet::new());
    let mut began = Instant::now();
    while ended.len() < partitions.len() {
        assert!(began.elapsed() < PATIENCE, "nothing is read any more; at their ends are {ended:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let at = (record.partition(), record.offset());
                assert_eq!(records.insert(at, parse(record.payload().unwrap())), None);
                began = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(_)) | None => {}
        }
    }
    records
}

/// Everything acknowledged is there at its offset; each producer's records are in order, without a gap and once.
///
/// Returns how many records there are.
pub(crate) fn check(address: SocketAddr, partitions: i32, acknowledged: &Acknowledged) -> usize {
    let records = read(address, TOPIC, 0..partitions);
    for (at, record) in acknowledged {
        assert_eq!(records.get(at), Some(record), "acknowledged at {at:?} and not there");
    }
    check_order(&records);
    records.len()
}

/// Each producer's records are in order, without a gap and once. Returns how many it has in each partition.
pub(crate) fn check_order(records: &Records) -> BTreeMap<(i32, u32), u64> {
    let mut next: BTreeMap<(i32, u32), u64> = BTreeMap::new();
    for ((partition, offset), (producer, number)) in records {
        let next = next.entry((*partition, *producer)).or_default();
        assert_eq!(number, next, "of producer {producer}, at {partition}-{offset}");
        *next += 1;
    }
    next
}

/// One past the last record that a reader of what is committed may read, and one past the last at all.
pub(crate) fn ends(address: SocketAddr, topic: &str, partition: i32) -> (i64, i64) {
    let [stable, high] = ["read_committed", "read_uncommitted"].map(|isolation| {
        let mut config = config(address, "readers");
        let consumer: BaseConsumer = config.set("isolation.level", isolation).create().unwrap();
        asked("the end", || consumer.fetch_watermarks(topic, partition, PATIENCE)).1
    });
    (stable, high)
}

/// What is committed for a partition of the loaded topic.
pub(crate) fn position(consumer: &impl Consumer, partition: i32) -> i64 {
    let mut of = TopicPartitionList::new();
    of.add_partition(TOPIC, partition);
    let offsets = asked("the position", || consumer.committed_offsets(of.clone(), PATIENCE));
    match offsets.elements()[0].offset() {
        Offset::Offset(offset) => offset,
        _ => 0,
    }
}

/// Asks until there is an answer.
fn asked<T>(what: &str, ask: impl Fn() -> KafkaResult<T>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{what}: {error}"),
        }
    }
}
