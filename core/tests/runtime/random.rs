//! Random topologies that fail, panic and replay until every effect has been seen.

use std::cell::Cell;
use std::time::Duration;

use crate::dag::Dag;
use crate::lab::{Lab, config, for_seeds, total};

#[test]
fn every_effect_of_every_tuple_is_seen_and_every_tree_ends_once() {
    let broke = Cell::new(0);
    for_seeds(200, |seed| {
        let (topology, trial) = Dag::new(seed).trial(12);
        let mut config = config(seed);
        // Joins fail innocent neighbours, and delays cost nothing on this clock.
        config.restart_delay = Duration::from_micros(10);
        config.batch_size = 1 + (seed % 7) as usize;
        config.queue_tuples = 1 + (seed % 17) as usize;
        config.max_pending = 1 + (seed % 40) as usize;
        let lab = Lab::launch_with(config, topology);
        lab.block_on(lab.running.finished());
        // Tuples of trees that have failed may still go round a cycle.
        lab.scheduler.advance(Duration::from_secs(1));
        let numbers = lab.stop();
        trial.verify();
        let ended = total(&numbers, "numbers", |task| task.acked + task.failed);
        assert_eq!(total(&numbers, "numbers", |task| task.emitted), ended);
        assert_eq!(total(&numbers, "numbers", |task| task.acked), 12);
        broke.set(broke.get() + trial.broke());
    });
    assert!(broke.get() > 1_000, "the plans broke only {} times", broke.get());
}
