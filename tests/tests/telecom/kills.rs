//! Kills in the middle: of the topology, which takes the broker in its process with it, and of the generator.
//!
//! A kill counts where some of the day was committed since the last one, and some was not. `TOPO_KILLS` sets how many there
//! are; 5 unless it is given.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo::ready_made::telecom::NETWORK;

use crate::compare::{Demand, with_truth};
use crate::process::{Serving, free_port, said, topo};
use crate::read;

const EVENTS: i64 = 60_000;

fn kills() -> i64 {
    std::env::var("TOPO_KILLS").map_or(5, |kills| kills.parse().expect("TOPO_KILLS is a number"))
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
    let (events, day) = (EVENTS.to_string(), random.random_range(0..1_000).to_string());
    let generate = ["generate", "telecom", "--events", &events, "--seed", &day];
    let run = ["run", "telecom", "--status", "off", "--delivery", delivery];
    let (mut before, mut midway) = (0, 0);
    for kill in 0..kills() {
        if before >= EVENTS {
            // A fast machine is through with the day sooner.
            break;
        }
        let address = free_port();
        let running = Serving::start(&run, &data, address);
        let mut generator = topo(&generate);
        generator.args(["--broker", &address.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut generator = generator.spawn().unwrap();
        // So much that the day lasts for all kills.
        let enough = before + random.random_range(1..=((EVENTS - before) / (kills() - kill + 1)).max(1));
        let begun = Instant::now();
        while read::committed(address, "telecom", NETWORK) < enough {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "no more than {before} of {EVENTS} are committed"
            );
        }
        generator.kill().unwrap();
        before = read::committed(address, "telecom", NETWORK);
        running.kill();
        generator.wait().unwrap();
        midway += i32::from(before < EVENTS);
        eprintln!("kill {kill} with {before} committed");
    }
    assert!(midway > 0, "the day was over before the first kill");
    said(topo(&generate).arg("--truth").arg(&truth).arg("--data-dir").arg(&data));
    said(topo(&run).args(["--listen", "off", "--until-idle", "--data-dir"]).arg(&data));
    let address = free_port();
    let broker = Serving::start(&["broker"], &data, address);
    let raw = read::all(address, NETWORK);
    let sources: HashSet<_> = raw.iter().map(|seen| seen.source.clone().unwrap()).collect();
    assert_eq!((raw.len(), sources.len()), (EVENTS as usize, EVENTS as usize), "each use is in the log once");
    with_truth(address, &truth, demand);
    broker.stop();
}

#[test]
fn at_least_once_nothing_is_lost_under_kills() {
    under_kills("at-least-once", Demand::NothingLost);
}

#[test]
fn exactly_once_the_results_are_the_truth_under_kills() {
    if std::env::var_os("TOPO_KILLS").is_none() {
        eprintln!("NOT RUN: set TOPO_KILLS to the number of kills; it takes minutes");
        return;
    }
    under_kills("exactly-once", Demand::Equal);
}
