//! Kills in the middle: of the topology, which takes the broker in its process with it, or has one of its own, which is killed
//! as well; and of the generator.
//!
//! A kill counts where some of the day was committed since the last one, and some was not. `TOPO_KILLS` sets how many there
//! are, 3 unless it is given, and `TOPO_EVENTS` how long the day is.

use std::collections::HashSet;
use std::path::Path;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo::ready_made::telecom::NETWORK;

use crate::compare::{Demand, with_truth};
use crate::process::{Process, free_port, said, topo};
use crate::read::{self, Committed};

fn set(name: &str, unless_given: i64) -> i64 {
    std::env::var(name).map_or(unless_given, |number| number.parse().expect("a number"))
}

fn kills() -> i64 {
    set("TOPO_KILLS", 3)
}

fn events() -> i64 {
    set("TOPO_EVENTS", 20_000)
}

fn seed() -> u64 {
    let seed = std::env::var("TOPO_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("TOPO_SEED={seed}");
    seed
}

fn under_kills(delivery: &str, demand: Demand) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let (all, day) = (events(), random.random_range(0..1_000).to_string());
    let events = all.to_string();
    let generate = ["generate", "telecom", "--events", &events, "--seed", &day];
    let run = ["run", "telecom", "--status", "off", "--delivery", delivery];
    let (mut before, mut midway) = (0, 0);
    for kill in 0..kills() {
        if before >= all {
            // A fast machine is through with the day sooner.
            break;
        }
        let address = free_port();
        let running = Process::serving(&run, &data, address);
        let mut generator = topo(&generate);
        let generator = Process::start(generator.args(["--broker", &address.to_string()]));
        // So much that the day lasts for all kills.
        let enough = before + random.random_range(1..=((all - before) / (kills() - kill + 1)).max(1));
        let committed = Committed::of(address, "telecom", NETWORK);
        committed.reaches(enough);
        generator.kill();
        before = committed.now();
        running.kill();
        midway += i32::from(before < all);
        eprintln!("kill {kill} with {before} committed");
    }
    assert!(midway > 0, "the day was over before the first kill");
    said(topo(&generate).arg("--truth").arg(&truth).arg("--data-dir").arg(&data));
    said(topo(&run).args(["--listen", "off", "--until-idle", "--data-dir"]).arg(&data));
    compare(&data, &truth, all, demand);
}

/// Serves the log, and compares what is in it with the truth.
fn compare(data: &Path, truth: &Path, events: i64, demand: Demand) {
    let address = free_port();
    let broker = Process::serving(&["broker"], data, address);
    let raw = read::all(address, NETWORK);
    let sources: HashSet<_> = raw.iter().map(|seen| seen.source.clone().unwrap()).collect();
    assert_eq!((raw.len(), sources.len()), (events as usize, events as usize), "each use is in the log once");
    with_truth(address, truth, demand);
    broker.stop();
}

#[test]
fn at_least_once_nothing_is_lost_under_kills() {
    under_kills("at-least-once", Demand::NothingLost);
}

#[test]
fn exactly_once_the_results_are_the_truth_under_kills() {
    under_kills("exactly-once", Demand::Equal);
}

/// The topology and the broker are killed in turn, as is the generator; the group waits for the member that was killed, which
/// takes a session timeout each time.
#[test]
fn exactly_once_at_a_broker_the_results_are_the_truth_under_kills_of_both() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let (all, day) = (events(), random.random_range(0..1_000).to_string());
    let address = free_port();
    let (events, place) = (all.to_string(), address.to_string());
    let mut broker = Process::serving(&["broker"], &data, address);
    let generate = ["generate", "telecom", "--events", &events, "--seed", &day, "--broker", &place];
    let run = ["run", "telecom", "--status", "off", "--delivery", "exactly-once", "--broker", &place];
    let mut running = Process::start(&mut topo(&run));
    let (mut before, mut midway) = (0, 0);
    for kill in 0..kills() {
        if before >= all {
            // A fast machine is through with the day sooner.
            break;
        }
        let generator = Process::start(&mut topo(&generate));
        let committed = Committed::of(address, "telecom", NETWORK);
        // So much that the day lasts for all kills.
        committed.holds(before + random.random_range(1..=((all - before) / (kills() - kill + 1)).max(1)));
        generator.kill();
        committed.reaches(before + 1);
        if kill % 2 == 0 {
            running.kill();
            running = Process::start(&mut topo(&run));
        } else {
            broker.kill();
            broker = Process::serving(&["broker"], &data, address);
        }
        before = committed.now();
        midway += i32::from(before < all);
        eprintln!("kill {kill} with {before} committed");
    }
    assert!(midway > 0, "the day was over before the first kill");
    said(topo(&generate).arg("--truth").arg(&truth));
    running.kill();
    said(topo(&run).arg("--until-idle"));
    broker.stop();
    compare(&data, &truth, all, Demand::Equal);
}
