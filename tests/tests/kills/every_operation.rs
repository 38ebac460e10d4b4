//! A kill at every operation of the storage in a fixed run: before it, and with half of it done.
//!
//! Runs with transactions are killed at one of sixteen operations, another one each time; `TOPO_EVERY=1` has it be all.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use crate::compacted::LOOKS_OFTEN;
use crate::copying::{COPIES, Copier, GROUP};
use crate::load::{Acknowledged, TOPIC, client, create_topic, producer, send};
use crate::process::{PATIENCE, Process, build, free_address};
use crate::random::setting;
use crate::reading::{check, consumer, ends, position};

const PARTITIONS: i32 = 2;
const RECORDS: u64 = 8;
/// A run fills several.
pub(crate) const SEGMENT_BYTES: &str = "1024";
/// Of a run with transactions, one record each.
const COPIED: u64 = 4;

/// What is done while the broker is killed, and what must be there in the end.
pub(crate) trait Run: Sync {
    fn run(&self);

    /// The broker has just ended.
    fn broker_ended(&self) {}

    fn check(&self, plan: &str);
}

/// Records one after the other to each partition, a commit after each.
struct Records {
    address: SocketAddr,
    /// What was acknowledged, and the last offset whose commit was.
    done: Mutex<(Acknowledged, i64)>,
}

impl Run for Records {
    fn run(&self) {
        create_topic(self.address, TOPIC, PARTITIONS, SEGMENT_BYTES);
        let told = client();
        let producer = producer(self.address, told.clone());
        let committer = consumer(self.address, "g");
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
        *self.done.lock().unwrap() = (told.acknowledged(), committed);
    }

    fn check(&self, plan: &str) {
        let (acknowledged, committed) = &*self.done.lock().unwrap();
        let records = check(self.address, PARTITIONS, acknowledged);
        assert_eq!(records as u64, RECORDS * PARTITIONS as u64, "{plan}: in the log");
        let now = position(&consumer(self.address, "g"), 0);
        assert!(now >= *committed, "{plan}: a committed offset went back");
    }
}

/// Records, and a transaction that copies each; one of the transactions is aborted.
struct Copies {
    copier: Copier,
    address: SocketAddr,
    /// Whether the producer ends with the broker, and another instance takes over.
    is_taken_over: bool,
}

impl Run for Copies {
    fn run(&self) {
        create_topic(self.address, TOPIC, 1, SEGMENT_BYTES);
        create_topic(self.address, COPIES, 2, SEGMENT_BYTES);
        let producer = producer(self.address, client());
        (0..COPIED).for_each(|number| send(&producer, 0, 0, number));
        producer.flush(PATIENCE).unwrap();
        self.copier.end_at(COPIED as i64);
        self.copier.copy();
    }

    fn broker_ended(&self) {
        if self.is_taken_over {
            self.copier.take_over();
        }
    }

    fn check(&self, plan: &str) {
        self.copier.check(COPIED as i64);
        assert_eq!(position(&consumer(self.address, GROUP), 0), COPIED as i64, "{plan}: committed");
        let (stable, high) = ends(self.address, "__consumer_offsets", 0);
        assert_eq!(stable, high, "{plan}: a transaction with offsets has no end");
    }
}

/// Runs it on a broker that `plan` ends, and goes on with one that has none; how long the slower start after took, if the
/// plan ended it.
fn start_after_kill(plan: &str, run: impl FnOnce(SocketAddr) -> Box<dyn Run>) -> Option<Duration> {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (mut broken, _) = Process::failing(dir.path(), address, &[plan.to_owned()]);
    let run = run(address);
    let successor = std::thread::scope(|scope| {
        let running = scope.spawn(|| run.run());
        let mut successor = None;
        while !running.is_finished() {
            if successor.is_none() && broken.has_ended() {
                run.broker_ended();
                successor = Some(Process::topo_with(dir.path(), address, &LOOKS_OFTEN));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        successor
    });
    let mut slowest = match successor {
        Some((successor, took)) => {
            successor.kill();
            Some(took)
        }
        None => (!broken.stop().0.success()).then_some(Duration::ZERO),
    };
    let (last, took) = Process::topo(dir.path(), address);
    slowest = slowest.map(|slowest| slowest.max(took));
    run.check(plan);
    let (status, _, said) = last.stop();
    assert!(status.success() && said.lines().all(|line| line.starts_with("  ")), "{plan}: {said}");
    slowest
}

/// Runs at once, each of its own kills: the clients mostly wait. How long a start takes is best told of one.
fn at_once() -> u64 {
    setting("TOPO_AT_ONCE", 8).max(1)
}

/// Kills at one of `every` operations.
pub(crate) fn survives_each(plan: &str, every: u64, run: impl Fn(SocketAddr) -> Box<dyn Run> + Sync) {
    build();
    let (skipped, at_once) = (rand::random::<u64>() % every, at_once());
    let survive = |first: u64| {
        let numbers = (first * every - skipped..).step_by((at_once * every) as usize);
        let starts = numbers.map_while(|number| start_after_kill(&format!("{plan}={number}"), &run));
        starts.collect::<Vec<_>>()
    };
    let starts: Vec<Duration> = std::thread::scope(|scope| {
        let survive = &survive;
        let threads: Vec<_> = (1..=at_once).map(|first| scope.spawn(move || survive(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let (kills, slowest) = (starts.len(), starts.iter().max().unwrap());
    assert!(kills as u64 * every > 50, "the run has no more than {kills} operations");
    eprintln!(
        "{plan}: {kills} kills, at one of {every} operations each; 0 lost, 0 twice; the slowest start to the first answer, \
         among {at_once} runs at once, took {slowest:?}"
    );
}

fn records(address: SocketAddr) -> Box<dyn Run> {
    Box::new(Records { address, done: Mutex::default() })
}

fn copies(address: SocketAddr, is_taken_over: bool) -> Box<dyn Run> {
    Box::new(Copies { copier: Copier::new(address, 0, 1, 1), address, is_taken_over })
}

/// Of how many operations one is, in a run with transactions.
pub(crate) fn every() -> u64 {
    setting("TOPO_EVERY", 16)
}

#[test]
fn a_kill_before_each_operation_loses_nothing() {
    survives_each("kill-before", 1, records);
}

#[test]
fn a_kill_within_each_operation_loses_nothing() {
    survives_each("kill-within", 1, records);
}

#[test]
fn a_kill_before_each_operation_of_transactions_leaves_all_of_them_or_nothing() {
    survives_each("kill-before", every(), |address| copies(address, false));
}

#[test]
fn a_kill_within_each_operation_of_transactions_leaves_all_of_them_or_nothing() {
    survives_each("kill-within", every(), |address| copies(address, false));
}

#[test]
fn another_instance_takes_over_after_a_kill_before_each_operation() {
    survives_each("kill-before", every(), |address| copies(address, true));
}

#[test]
fn another_instance_takes_over_after_a_kill_within_each_operation() {
    survives_each("kill-within", every(), |address| copies(address, true));
}
