//! What tasks spend their time on, and what edges carry: on a clock that moves only where a bolt takes its time.

use std::time::Duration;

use topo_core::tap::TapView;
use topo_core::{Bolt, Emitter, Fail, Fault, TaskContext, Topology};

use crate::lab::{Lab, SEEDS, component, config, for_seeds};
use crate::part::{Desk, Seen, note, pass};

const TAKES: Duration = Duration::from_millis(10);
const COUNT: u64 = 200;

/// Takes [`TAKES`] for each tuple.
struct Slow(Option<TaskContext>);

impl Bolt for Slow {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.0 = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        self.0.as_ref().unwrap().sleep(TAKES).await;
        out.emit(number);
        Ok(())
    }
}

/// `numbers` → `pass` → `slow` → `note`.
fn chain(desk: &Desk) -> Topology {
    let topology = Topology::new("chain");
    let numbers = topology.spout("numbers", desk.source());
    let passed = topology.bolt("pass", pass()).shuffle(&numbers);
    let slowed = topology.bolt("slow", || Slow(None)).shuffle(&passed);
    topology.bolt("note", note(&Seen::default())).shuffle(&slowed);
    topology
}

#[test]
fn time_is_spent_executing_where_it_is_and_blocked_where_that_holds_up() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let mut config = config(seed);
        config.max_pending = 1_000;
        let lab = Lab::launch_with(config, chain(&desk));
        let halfway = TAKES * COUNT as u32 / 2;
        lab.block_on(async {
            use topo_core::schedule::Scheduler;
            lab.scheduler.sleep_until(lab.running.now().after(halfway)).await;
        });
        let numbers = lab.running.snapshot();
        let spent = |name: &str| component(&numbers, name).tasks[0].spent;
        let (uptime, slow) = (numbers.uptime, spent("slow"));
        assert!(slow.executing > uptime * 95 / 100, "{slow:?} of {uptime:?}, seen before the batch is over");
        assert!(spent("pass").blocked > uptime * 80 / 100, "{:?} of {uptime:?}", spent("pass"));
        assert!(spent("numbers").blocked > uptime * 80 / 100, "{:?} of {uptime:?}", spent("numbers"));
        assert_eq!((spent("note").blocked, spent("numbers").full), (Duration::ZERO, Duration::ZERO));
        let executed = component(&numbers, "slow").total(|task| task.executed);
        assert!((COUNT / 2).abs_diff(executed) <= 2, "{executed} were executed halfway");
        let edge = &numbers.edges[1];
        assert!(edge.refused > 0 && edge.fullest >= 0.5 && edge.queue.tuples >= 8, "{edge:?}");
        assert_eq!(edge.queue.tuples, component(&numbers, "slow").total(|task| task.queue.tuples));
        let numbers = lab.finish();
        let slow = component(&numbers, "slow").tasks[0].spent;
        assert!(slow.executing >= TAKES * COUNT as u32, "{slow:?}");
    });
}

#[test]
fn a_spout_that_may_not_open_more_trees_is_full_and_not_blocked() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let mut config = config(seed);
        (config.max_pending, config.queue_tuples) = (8, 1_000);
        let numbers = Lab::launch_with(config, chain(&desk)).finish();
        let spent = component(&numbers, "numbers").tasks[0].spent;
        assert!(spent.full > numbers.uptime * 80 / 100, "{spent:?} of {:?}", numbers.uptime);
        assert_eq!(spent.blocked, Duration::ZERO);
    });
}

#[test]
fn each_subscription_counts_for_itself() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("twice");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
        topology.bolt("note", note(&seen)).tasks(2).shuffle(&numbers).all(&passed);
        let numbers = Lab::launch(seed, topology).finish();
        let tuples: Vec<(&str, &str, u64)> =
            numbers.edges.iter().map(|edge| (&*edge.from, &*edge.grouping, edge.tuples)).collect();
        let expected =
            [("numbers", "shuffle", COUNT), ("numbers", "shuffle", COUNT), ("pass", "all", 2 * COUNT)];
        assert_eq!(tuples, expected);
        assert!(numbers.edges.iter().all(|edge| edge.batches > 0 && edge.bytes > 0 && !edge.feedback));
    });
}

#[test]
fn a_tap_sees_what_goes_through_its_edge_and_no_other() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(40, 1);
        let lab = Lab::launch(seed, chain(&desk));
        assert!(lab.running.tap(1, None, Duration::from_secs(3_600)));
        assert!(!lab.running.tap(4, None, Duration::ZERO));
        lab.block_on(lab.running.finished());
        let TapView { on, seen, matched, tuples, .. } = lab.running.tapped(1, Duration::ZERO).unwrap();
        let mut values: Vec<u64> =
            tuples.iter().map(|tapped| rmp_serde::from_slice(&tapped.value).unwrap()).collect();
        values.sort_unstable();
        assert_eq!((on, seen, matched, values), (true, 40, 40, (0..40).collect()));
        assert_eq!(lab.running.tapped(0, Duration::ZERO), Some(TapView::default()));
        lab.running.untap(1);
        assert_eq!(lab.running.tapped(1, Duration::ZERO), Some(TapView::default()));
        lab.stop();
    });
}
