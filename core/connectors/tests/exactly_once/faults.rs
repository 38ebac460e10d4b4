//! Runs in which things fail: bolts, the log, answers, whole processes.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::lab::{Lab, Trouble, for_seeds, lines};

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
