//! Cycles: they come to their end, they cannot deadlock, and over their budget they fail with that reason.

use std::collections::BTreeMap;

use topo_core::{Emitter, FailKind, TaskContext, Topology};

use crate::lab::{Lab, SEEDS, config, for_seeds, total};
use crate::part::{Desk, Seen, act, note};

const COUNT: u64 = 40;

/// Halves numbers until they are odd, and hands on what is left; each number also comes back `copies` times less one.
fn halve(desk: &Desk, seen: &Seen<(u32, u64)>, copies: u64) -> Topology {
    let topology = Topology::new("halve");
    let numbers = topology.spout("numbers", desk.source());
    let again = topology.feedback::<u64>("again");
    let halve = act(move |number: u64, out: &mut Emitter<u64>, _task: &TaskContext| {
        if number > 0 && number.is_multiple_of(2) {
            (0..copies).for_each(|_| out.emit(number / 2));
        }
        Ok(())
    });
    let halves = topology.bolt("halve", halve).tasks(2).shuffle(&numbers).fields(&again, |number| number);
    topology.bolt("note", note(seen)).shuffle(&halves);
    again.connect(&halves);
    topology
}

#[test]
fn a_tuple_goes_round_until_it_is_done() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let numbers = Lab::launch(seed, halve(&desk, &seen, 1)).finish();
        desk.assert_all_acked(COUNT);
        let rounds = |number: u64| if number == 0 { 0 } else { u64::from(number.trailing_zeros()) };
        assert_eq!(seen.count() as u64, (0..COUNT).map(rounds).sum::<u64>());
        let edges: Vec<(&str, &str)> =
            numbers.edges.iter().map(|edge| (&*edge.from, &*edge.grouping)).collect();
        assert_eq!(edges, [("numbers", "shuffle"), ("halve", "fields"), ("halve", "shuffle")]);
    });
}

#[test]
fn a_cycle_that_multiplies_its_tuples_does_not_wait_for_itself() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(65, 1), Seen::default());
        let mut config = config(seed);
        (config.queue_tuples, config.batch_size) = (2, 2);
        Lab::launch_with(config, halve(&desk, &seen, 3)).finish();
        desk.assert_all_acked(65);
        // 64 alone comes back 3 + 9 + 27 + 81 + 243 + 729 times.
        assert!(seen.count() > 1_092);
    });
}

#[test]
fn over_its_budget_a_feedback_edge_fails_what_it_carries_by_name() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let mut config = config(seed);
        config.feedback_bytes = 0;
        let numbers = Lab::launch_with(config, halve(&desk, &seen, 1)).finish();
        let ledger = desk.lock();
        let odd: Vec<u64> = (0..COUNT).filter(|&number| number == 0 || number % 2 == 1).collect();
        assert_eq!(ledger.acked.keys().copied().collect::<Vec<_>>(), odd);
        let failed: BTreeMap<u64, String> =
            ledger.failed.iter().map(|(number, failure)| (*number, failure.to_string())).collect();
        assert_eq!((failed.len(), ledger.failed.len()), (19, 19));
        let expected = "the feedback edge `again` is over its budget of 0 bytes (in halve, attempt 1)";
        assert!(failed.values().all(|reason| reason == expected), "{failed:?}");
        assert!(ledger.failed.iter().all(|(_, failure)| failure.kind == FailKind::Retry));
        assert_eq!(total(&numbers, "numbers", |task| task.failed), 19);
    });
}

#[test]
fn a_cycle_drains_when_the_topology_is_killed() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(1_000, 1), Seen::default());
        let lab = Lab::launch(seed, halve(&desk, &seen, 1));
        // Somewhere in the middle.
        while desk.lock().acked.len() < 100 {
            lab.block_on(tokio::task::yield_now());
        }
        lab.stop();
        assert_eq!(desk.lock().open(), 0, "what was emitted was answered");
        assert!(desk.lock().acked.len() < 1_000);
    });
}
