//! Kills at random under load. `TOPO_KILLS` says how many, `TOPO_TEST_SEED` repeats a run.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::copying::{COPIES, Copiers};
use crate::load::{Load, TOPIC, create_topic};
use crate::process::{PATIENCE, Process, free_address};
use crate::reading::{check, consumer, ends, position};

const PARTITIONS: i32 = 4;
const PRODUCERS: u32 = 2;
/// A thousand kills fill some hundreds, each with its files open.
const SEGMENT_BYTES: &str = "262144";

/// Partitions that are copied in transactions, of so many records at most.
const COPIED: i32 = 2;
const IN_ONE: usize = 50;
/// How many records the load may be ahead of their copies.
const AHEAD: u64 = 2_000;

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

/// How many kills, and when.
pub(crate) fn begin(kills: u64) -> (u64, StdRng) {
    let (kills, seed) =
        (setting("TOPO_KILLS", kills), setting("TOPO_TEST_SEED", rand::random::<u32>().into()));
    eprintln!("TOPO_KILLS={kills} TOPO_TEST_SEED={seed}");
    (kills, StdRng::seed_from_u64(seed))
}

#[test]
fn what_is_acknowledged_survives_kills_at_random() {
    let (kills, mut random) = begin(100);
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (mut broker, mut slowest) = Process::topo(dir.path(), address);
    create_topic(address, TOPIC, PARTITIONS, SEGMENT_BYTES);
    let load = Load::begin(address, PRODUCERS, PARTITIONS);
    let committer = consumer(address, "g");
    let mut committed = 0;
    for _ in 0..kills {
        committed = commit(&committer, committed);
        let before = load.answered() + random.random_range(0..2_000);
        wait("acknowledged", || load.answered() > before);
        broker.kill();
        let (next, took) = Process::topo(dir.path(), address);
        (broker, slowest) = (next, slowest.max(took));
        assert!(position(&committer, 0) >= committed, "a committed offset went back");
    }
    let acknowledged = load.end();
    let records = check(address, PARTITIONS, &acknowledged);
    drop(committer);
    let (status, _, said) = broker.stop();
    assert!(status.success(), "{said}");
    eprintln!(
        "{kills} kills: {} records acknowledged, {records} in the log, 0 lost, 0 twice; the slowest start to the first \
         answer took {slowest:?}",
        acknowledged.len()
    );
}

/// Transactions are all there or not at all, and with them how far their input was read, whatever ends the broker's process,
/// and now and then an instance of a producer.
#[test]
fn transactions_survive_kills_at_random() {
    let (kills, mut random) = begin(50);
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (mut broker, mut slowest) = Process::topo(dir.path(), address);
    create_topic(address, TOPIC, COPIED, SEGMENT_BYTES);
    create_topic(address, COPIES, 2 * COPIED, SEGMENT_BYTES);
    let load = Load::begin(address, 1, COPIED);
    let copiers = Copiers::begin(address, COPIED, IN_ONE);
    let mut takeovers = 0;
    for _ in 0..kills {
        let before = copiers.committed() + random.random_range(0..10);
        wait("committed", || {
            load.allow(copiers.copied() + AHEAD);
            copiers.committed() > before
        });
        // Anywhere in a transaction.
        let before = load.answered() + random.random_range(0..100);
        wait("acknowledged", || {
            load.allow(copiers.copied() + AHEAD);
            load.answered() > before
        });
        if random.random_range(0..8) == 0 {
            copiers.take_over(random.random_range(0..COPIED as usize));
            takeovers += 1;
        }
        broker.kill();
        let (next, took) = Process::topo(dir.path(), address);
        (broker, slowest) = (next, slowest.max(took));
    }
    let acknowledged = load.end();
    check(address, COPIED, &acknowledged);
    let lengths: Vec<i64> = (0..COPIED).map(|partition| ends(address, TOPIC, partition).1).collect();
    let committed = copiers.end(&lengths);
    let (status, _, said) = broker.stop();
    assert!(status.success(), "{said}");
    eprintln!(
        "{kills} kills, {takeovers} producers taken over: {committed} transactions committed, {} records in the loaded \
         topic, each copied twice, 0 lost, 0 twice; the slowest start to the first answer took {slowest:?}",
        lengths.iter().sum::<i64>(),
    );
}

fn wait(what: &str, is_done: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_done() {
        assert!(began.elapsed() < PATIENCE, "nothing is {what} any more");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Commits one more than before, where the broker answers; what is committed for sure.
fn commit(consumer: &impl Consumer, committed: i64) -> i64 {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(TOPIC, 0, Offset::Offset(committed + 1)).unwrap();
    if consumer.commit(&offsets, CommitMode::Sync).is_ok() { committed + 1 } else { committed }
}
