//! A kill at every operation of the storage in a fixed run: before it, and with half of it done.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use crate::load::{Acknowledged, TOPIC, client, producer, send};
use crate::process::{PATIENCE, Process, free_address};
use crate::random::position;
use crate::reading::{check, consumer};

const PARTITIONS: i32 = 2;
const RECORDS: u64 = 8;

/// Creates the topic that is loaded, with segments that a run fills; it may be there.
pub(crate) fn create_topic(address: SocketAddr, partitions: i32) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("log_level", "0");
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
    let admin: AdminClient<_> = config.create().unwrap();
    let topic = NewTopic::new(TOPIC, partitions, TopicReplication::Fixed(1)).set("segment.bytes", "1024");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    loop {
        let created = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
        match created.map(|mut topics| topics.remove(0)) {
            Ok(Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists))) => return,
            other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
        }
    }
}

/// The fixed run: a topic, records one after the other to each partition, a commit after each. Returns what was
/// acknowledged, and the last offset whose commit was.
fn run(address: SocketAddr) -> (Acknowledged, i64) {
    create_topic(address, PARTITIONS);
    let told = client();
    let producer = producer(address, told.clone());
    let committer = consumer(address);
    let mut committed = 0;
    for number in 0..RECORDS {
        for partition in 0..PARTITIONS {
            send(&producer, 0, partition, number);
        }
        producer.flush(PATIENCE).unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(TOPIC, 0, Offset::Offset(number as i64 + 1)).unwrap();
        if committer.commit(&offsets, CommitMode::Sync).is_ok() {
            committed = number as i64 + 1;
        }
    }
    (told.acknowledged(), committed)
}

/// Runs it on a broker that `plan` ends, and goes on with one that has none; whether the plan ended it.
fn is_killed_and_survives(plan: &str) -> bool {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (mut broken, _) = Process::failing(dir.path(), address, &[plan.to_owned()]);
    let running = std::thread::spawn(move || run(address));
    let mut successor = None;
    while !running.is_finished() {
        if successor.is_none() && broken.has_ended() {
            successor = Some(Process::topo(dir.path(), address).0);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let (acknowledged, committed) = running.join().unwrap();
    let is_killed = match successor {
        Some(successor) => {
            successor.kill();
            true
        }
        None => !broken.stop().0.success(),
    };
    let (last, _) = Process::topo(dir.path(), address);
    let records = check(address, PARTITIONS, &acknowledged);
    assert_eq!(records as u64, RECORDS * PARTITIONS as u64, "{plan}: in the log");
    assert!(position(&consumer(address)) >= committed, "{plan}: a committed offset went back");
    let (status, _, said) = last.stop();
    assert!(status.success() && said.lines().all(|line| line.starts_with("  ")), "{plan}: {said}");
    is_killed
}

/// Runs at once, each of its own kills: the clients mostly wait.
const AT_ONCE: u64 = 4;

fn survives_each(plan: &str) {
    let kills: u64 = std::thread::scope(|scope| {
        let survive = |first: u64| {
            let numbers = (first..).step_by(AT_ONCE as usize);
            numbers.take_while(|number| is_killed_and_survives(&format!("{plan}={number}"))).count() as u64
        };
        let threads: Vec<_> = (1..=AT_ONCE).map(|first| scope.spawn(move || survive(first))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(kills > 50, "the run has no more than {kills} operations");
    eprintln!("{plan}: {kills} kills, each at another operation; 0 lost, 0 twice");
}

#[test]
fn a_kill_before_each_operation_loses_nothing() {
    survives_each("kill-before");
}

#[test]
fn a_kill_within_each_operation_loses_nothing() {
    survives_each("kill-within");
}
