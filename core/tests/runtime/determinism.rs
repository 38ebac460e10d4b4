//! The same seed gives the same run, whatever the topology does; another seed gives another that is as right.

use std::collections::BTreeSet;
use std::time::Duration;

use topo_core::{Emitter, Fail, TaskContext, Topology};

use crate::lab::{Lab, for_seeds};
use crate::part::{Desk, Seen, act, note, pass};

/// Panics, fails, ticks, sleeps of an idle spout, two who wait for the end: the hash of all its steps, and what was seen.
fn run(seed: u64) -> (u64, Vec<(u32, u64)>) {
    let (desk, seen) = (Desk::new(50, 5), Seen::default());
    let topology = Topology::new("determinism");
    let numbers = topology.spout("numbers", desk.source()).tasks(2);
    let tried = Seen::default();
    let shaky = act(move |number: u64, out: &mut Emitter<u64>, _task: &TaskContext| {
        out.emit(number);
        tried.note(number);
        match tried.all().iter().filter(|&&one| one == number).count() {
            1 if number % 7 == 3 => panic!("three"),
            1 | 2 if number % 11 == 4 => Err(Fail::retry("four")),
            _ => Ok(()),
        }
    });
    let shaken = topology.bolt("shaky", shaky).tasks(3).partial_key(&numbers, |number| number);
    let passed = topology.bolt("pass", pass()).tasks(2).all(&shaken).tick_every(Duration::from_millis(1));
    topology.bolt("note", note(&seen)).tasks(2).shuffle(&passed);
    let lab = Lab::launch(seed, topology);
    let running = lab.running.clone();
    lab.block_on(async { tokio::join!(running.idle(), running.finished(), running.idle()) });
    let scheduler = lab.scheduler.clone();
    lab.finish();
    desk.assert_all_acked(50);
    (scheduler.trace_hash(), seen.all())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for_seeds(20, |seed| {
        let (first, again) = (run(seed), run(seed));
        assert_eq!(first, again);
        let numbers: BTreeSet<u64> = first.1.iter().map(|&(_, number)| number).collect();
        assert_eq!(numbers, (0..50).collect());
    });
    let hashes: BTreeSet<u64> = (0..20).map(|seed| run(seed).0).collect();
    assert_eq!(hashes.len(), 20, "every seed gives a run of its own");
}
