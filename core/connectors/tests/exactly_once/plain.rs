//! Runs in which nothing fails, and what is refused.

use std::time::Duration;

use topo_core::log::{Log, TransactionalConfig};
use topo_tests::seeds::for_seeds;

use crate::lab::{Lab, NAME, lines};

#[test]
fn every_word_is_counted_once_and_batches_follow_one_another() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 2);
        lab.feed(lines(seed, 60));
        lab.launch();
        lab.finish();
        lab.feed(lines(seed + 1, 40));
        lab.finish();
        lab.demand_truth(|_| false);
        let numbers = lab.numbers();
        assert!(numbers.commits >= 4, "12 records a batch at most: {numbers:?}");
        assert_eq!((numbers.aborts, numbers.txid), (0, numbers.committed + 1));
        lab.stop();
        lab.demand_truth(|_| false);
    });
}

#[test]
fn a_stop_commits_what_is_under_way_and_the_next_run_goes_on_from_there() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.feed(lines(seed, 60));
        lab.launch();
        lab.pass(Duration::from_millis(seed * 20));
        lab.stop();
        lab.progress = Default::default();
        lab.launch();
        lab.finish();
        lab.stop();
        lab.demand_truth(|_| false);
    });
}

#[test]
fn who_is_fenced_stops_and_says_why() {
    let mut lab = Lab::new(1, 1);
    lab.launch();
    let _other = lab.block_on(lab.log.transactional(&TransactionalConfig::new(NAME))).unwrap();
    lab.feed(lines(1, 10));
    let why = lab.block_on(lab.running().stopped_itself());
    assert!(why.starts_with("the topology lost its transactions: another instance has `exact`"), "{why}");
    lab.demand_truth_so_far();
    lab.stop();
}

/// Nothing comes that it could try to commit, but the group divides its topic anew.
#[test]
fn who_is_fenced_and_has_nothing_to_do_stops_and_says_why() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 2);
        lab.feed(lines(seed, 10));
        lab.launch();
        lab.finish();
        // Nobody else is there: all goes on.
        lab.log.divide(NAME, &[0, 0]);
        lab.feed(lines(seed + 1, 10));
        lab.finish();
        lab.log.seize(NAME, &[0, 0]);
        lab.feed(lines(seed + 2, 10));
        lab.finish();
        let _other = lab.block_on(lab.log.transactional(&TransactionalConfig::new(NAME))).unwrap();
        if seed % 2 == 0 {
            lab.log.divide(NAME, &[7, 7])
        } else {
            lab.log.seize(NAME, &[7, 7])
        }
        let why = lab.block_on(lab.running().stopped_itself());
        assert!(why.contains("another instance has `exact`"), "{why}");
        lab.demand_truth(|_| false);
        lab.stop();
    });
}
