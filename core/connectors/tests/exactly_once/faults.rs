//! Runs in which things fail: bolts, the log, answers, whole processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_tests::seeds::for_seeds;

use crate::lab::{Lab, lines};
use crate::tally::Tally;
use crate::trouble::{Lost, Trouble, bad_connection};

/// A broker that is reached through a connection which delays and loses what passes, with kills in between.
#[test]
fn whatever_a_connection_loses_the_counts_are_true() {
    let (mut all, lost) = (Tally::default(), Arc::new(Mutex::new(Lost::default())));
    for_seeds(1_000, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = Lab::new(seed, random.random_range(1..3));
        lab.setup.spout_tasks = random.random_range(1..3);
        lab.setup.split_tasks = random.random_range(1..3);
        lab.setup.count_tasks = random.random_range(1..3);
        lab.feed(lines(seed, random.random_range(1..20)));
        lab.log.judge(bad_connection(seed, Arc::clone(&lost)));
        for _ in 0..random.random_range(0..3) {
            lab.launch();
            lab.pass(Duration::from_millis(random.random_range(0..600)));
            lab.crash();
        }
        lab.launch();
        lab.finish();
        lab.stop();
        all += lab.demand_truth(|_| false);
    });
    let Lost { requests, answers, commits } = *lost.lock().unwrap();
    eprintln!(
        "a bad connection: {all}; {requests} requests, {commits} answers to commits and {answers} others were dropped"
    );
    assert!(commits > all.runs / 10, "{commits} answers to commits were dropped");
}

#[test]
fn whatever_fails_the_counts_are_true() {
    for_seeds(100, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = Lab::new(seed, random.random_range(1..4));
        lab.setup.spout_tasks = random.random_range(1..3);
        lab.setup.split_tasks = random.random_range(1..4);
        lab.setup.count_tasks = random.random_range(1..4);
        lab.feed(lines(seed, 40));
        lab.trouble(seed, &Trouble::random(seed, random.random_range(1..8), 60));
        lab.launch();
        lab.finish();
        lab.feed(lines(seed + 7, 20));
        lab.finish();
        lab.stop();
        lab.demand_truth(|_| false);
    });
}

#[test]
fn a_process_that_is_killed_again_and_again_leaves_the_counts_true() {
    for_seeds(60, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = Lab::new(seed, 2);
        lab.feed(lines(seed, 60));
        for life in 0..4 {
            lab.trouble(seed + life, &Trouble::random(seed + life, 3, 80));
            lab.launch();
            lab.pass(Duration::from_millis(random.random_range(0..300)));
            lab.crash();
        }
        lab.launch();
        lab.finish();
        lab.stop();
        lab.demand_truth(|_| false);
    });
}

#[test]
fn poison_is_left_out_with_its_dead_letter() {
    for_seeds(40, |seed| {
        let mut lab = Lab::new(seed, 2);
        let mut all = lines(seed, 30);
        all.insert(3, "poison w1 w2".into());
        all.insert(9, "w1 bad-word w2".into());
        all.insert(20, "garbled".into());
        all.insert(21, "poison w3".into());
        lab.feed(all);
        lab.trouble(seed, &Trouble::random(seed, 3, 100));
        lab.launch();
        lab.finish();
        lab.stop();
        lab.demand_truth(|line| ["poison", "bad", "garbled"].iter().any(|bad| line.contains(bad)));
    });
}
