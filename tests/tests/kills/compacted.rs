//! Kills while a compacted topic is written to and compacted: the last record of each key is there, at its offset.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::RngExt;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::every_operation::{Run, SEGMENT_BYTES, every, survives_each};
use crate::load::{Acknowledged, Client, TOPIC, client, create_topic_with, producer};
use crate::process::{PATIENCE, Process, free_address};
use crate::random::begin;
use crate::reading::read;

const PARTITIONS: i32 = 2;
/// In each partition; a record's number says which it has.
const KEYS: u64 = 5;
/// Records to each partition in a fixed run.
const RECORDS: u64 = 20;
/// The broker looks often what there is to compact.
pub(crate) const LOOKS_OFTEN: [&str; 2] = ["--log-cleaner-backoff-ms", "10"];

fn create(address: SocketAddr, segment_bytes: &str) {
    let config = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.bytes", segment_bytes),
    ];
    create_topic_with(address, TOPIC, PARTITIONS, &config);
}

fn send(producer: &ThreadedProducer<Client>, partition: i32, number: u64) {
    let (key, value) = ((number % KEYS).to_string(), format!("0:{number}{}", ".".repeat(100)));
    let record = BaseRecord::to(TOPIC).partition(partition).key(&key).payload(&value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

/// The last record of each key that was acknowledged is there at its offset, nothing is there that was not sent, and of each
/// key in the order of its numbers. Returns how many records are left.
fn check(address: SocketAddr, acknowledged: &Acknowledged, context: &str) -> usize {
    let records = read(address, TOPIC, 0..PARTITIONS);
    let mut last: BTreeMap<(i32, u64), (i64, u64)> = BTreeMap::new();
    for (&(partition, offset), &(_, number)) in &records {
        let before = last.insert((partition, number % KEYS), (offset, number));
        assert!(
            before.is_none_or(|(_, before)| before < number),
            "{context}: {before:?}, then {number} at {offset}"
        );
        if let Some(was) = acknowledged.get(&(partition, offset)) {
            assert_eq!(was.1, number, "{context}: at {partition}-{offset}");
        }
    }
    let mut expected: BTreeMap<(i32, u64), (i64, u64)> = BTreeMap::new();
    for (&(partition, offset), &(_, number)) in acknowledged {
        expected.insert((partition, number % KEYS), (offset, number));
    }
    assert_eq!(last, expected, "{context}: the last of each key");
    records.len()
}

/// Waits until compaction has removed some of so many records.
fn wait_until_compacted(address: SocketAddr, sent: usize) {
    let began = Instant::now();
    while read(address, TOPIC, 0..PARTITIONS).len() >= sent {
        assert!(began.elapsed() < PATIENCE, "nothing is compacted");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_last_of_each_key_survives_kills_at_random() {
    let (kills, mut random) = begin(20);
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (mut broker, mut slowest) = Process::topo_with(dir.path(), address, &LOOKS_OFTEN);
    create(address, "16384");
    let told = client();
    let producer = producer(address, told.clone());
    let mut sent = 0;
    for _ in 0..kills {
        let more = random.random_range(1..400);
        (0..more).for_each(|number| (0..PARTITIONS).for_each(|of| send(&producer, of, sent + number)));
        sent += more;
        let (began, before) = (Instant::now(), told.answered() + random.random_range(0..more));
        while told.answered() < before {
            assert!(began.elapsed() < PATIENCE, "nothing is acknowledged any more");
            std::thread::sleep(Duration::from_micros(200));
        }
        broker.kill();
        let (next, took) = Process::topo_with(dir.path(), address, &LOOKS_OFTEN);
        (broker, slowest) = (next, slowest.max(took));
    }
    producer.flush(PATIENCE).unwrap();
    wait_until_compacted(address, sent as usize * PARTITIONS as usize);
    let acknowledged = told.acknowledged();
    let left = check(address, &acknowledged, "at random");
    let (status, _, said) = broker.stop();
    assert!(status.success(), "{said}");
    eprintln!(
        "{kills} kills: {} records acknowledged, {left} left by compaction, the last of each key among them; the slowest \
         start to the first answer took {slowest:?}",
        acknowledged.len()
    );
}

/// Records of a few keys, until some of them are gone.
struct Keyed {
    address: SocketAddr,
    acknowledged: Mutex<Acknowledged>,
}

impl Run for Keyed {
    fn run(&self) {
        create(self.address, SEGMENT_BYTES);
        let told = client();
        let producer = producer(self.address, told.clone());
        for number in 0..RECORDS {
            (0..PARTITIONS).for_each(|partition| send(&producer, partition, number));
            producer.flush(PATIENCE).unwrap();
        }
        wait_until_compacted(self.address, RECORDS as usize * PARTITIONS as usize);
        *self.acknowledged.lock().unwrap() = told.acknowledged();
    }

    fn check(&self, plan: &str) {
        check(self.address, &self.acknowledged.lock().unwrap(), plan);
    }
}

fn keyed(address: SocketAddr) -> Box<dyn Run> {
    Box::new(Keyed { address, acknowledged: Mutex::default() })
}

#[test]
fn a_kill_before_each_operation_of_compaction_loses_no_last_value() {
    survives_each("kill-before", every(), keyed);
}

#[test]
fn a_kill_within_each_operation_of_compaction_loses_no_last_value() {
    survives_each("kill-within", every(), keyed);
}
