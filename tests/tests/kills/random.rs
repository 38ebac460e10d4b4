//! Kills at random under load. `TOPO_KILLS` says how many, `TOPO_TEST_SEED` repeats a run.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::load::{Load, TOPIC};
use crate::process::{PATIENCE, Process, free_address};
use crate::reading::{check, consumer};

const PARTITIONS: i32 = 4;
const PRODUCERS: u32 = 2;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

#[test]
fn what_is_acknowledged_survives_kills_at_random() {
    let (kills, seed) = (setting("TOPO_KILLS", 100), setting("TOPO_TEST_SEED", rand::random::<u32>().into()));
    eprintln!("TOPO_KILLS={kills} TOPO_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (mut broker, mut slowest) = Process::topo(dir.path(), address);
    crate::every_operation::create_topic(address, PARTITIONS);
    let load = Load::begin(address, PRODUCERS, PARTITIONS);
    let committer = consumer(address);
    let mut committed = 0;
    for _ in 0..kills {
        committed = commit(&committer, committed);
        let (before, began) = (load.answered(), Instant::now());
        let least = random.random_range(1..2_000);
        while load.answered() < before + least {
            assert!(began.elapsed() < PATIENCE, "nothing is acknowledged any more");
            std::thread::sleep(Duration::from_micros(200));
        }
        broker.kill();
        let (next, took) = Process::topo(dir.path(), address);
        (broker, slowest) = (next, slowest.max(took));
        assert!(position(&committer) >= committed, "a committed offset went back");
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

/// Commits one more than before, where the broker answers; what is committed for sure.
fn commit(consumer: &impl Consumer, committed: i64) -> i64 {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(TOPIC, 0, Offset::Offset(committed + 1)).unwrap();
    if consumer.commit(&offsets, CommitMode::Sync).is_ok() { committed + 1 } else { committed }
}

/// What is committed now.
pub(crate) fn position(consumer: &impl Consumer) -> i64 {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(TOPIC, 0);
    let began = Instant::now();
    loop {
        match consumer.committed_offsets(asked.clone(), PATIENCE) {
            Ok(offsets) => match offsets.elements()[0].offset() {
                Offset::Offset(offset) => return offset,
                _ => return 0,
            },
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    }
}
