//! The same on real threads, where the schedule is nobody's choice.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use topo_core::metrics::TopologySnapshot;
use topo_core::schedule::TokioScheduler;
use topo_core::{Config, Emitter, Input, Topology};

use crate::dag::Dag;
use crate::lab::{balance, for_seeds, total};
use crate::part::{Desk, rich};

/// Longer than any of these takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap()
}

/// Runs `topology` to its end and stops it.
fn run(threads: &Runtime, config: Config, topology: Topology) -> TopologySnapshot {
    threads.block_on(async {
        let scheduler = Arc::new(TokioScheduler::current());
        let running = topology.launch(scheduler, config).await.unwrap();
        tokio::time::timeout(PATIENCE, running.finished()).await.expect("it comes to its end");
        running.kill(PATIENCE).await.unwrap();
        running.verify_trees().unwrap();
        let numbers = running.snapshot();
        balance(&numbers);
        numbers
    })
}

#[test]
fn random_topologies_lose_nothing_on_threads() {
    let threads = threads();
    for_seeds(12, |seed| {
        let (topology, trial) = Dag::new(seed).trial(60);
        let config = Config {
            seed,
            witness: true,
            batch_size: 8,
            queue_tuples: 32,
            max_pending: 64,
            restart_delay: Duration::from_micros(10),
            ..Config::default()
        };
        let numbers = run(&threads, config, topology);
        trial.verify();
        assert_eq!(total(&numbers, "numbers", |task| task.acked), 60);
    });
}

#[test]
fn inputs_are_answered_on_another_thread() {
    let threads = threads();
    for_seeds(4, |seed| {
        const COUNT: u64 = 5_000;
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("hand-off");
        let numbers = topology.spout("numbers", desk.source());
        let (hand, mut handed) = mpsc::unbounded_channel::<Input<u64>>();
        let off = rich(move |input: Input<u64>, out: &mut Emitter<u64>| {
            out.emit_anchored(&[&input], *input);
            Ok(hand.send(input)?)
        });
        let passed = topology.rich_bolt("off", off).tasks(2).shuffle(&numbers);
        topology.bolt("pass", crate::part::pass()).tasks(2).shuffle(&passed);
        let answers = std::thread::spawn(move || {
            while let Some(input) = handed.blocking_recv() {
                input.ack();
            }
        });
        let config = Config { seed, witness: true, max_pending: 500, ..Config::default() };
        run(&threads, config, topology);
        desk.assert_all_acked(COUNT);
        answers.join().unwrap();
    });
}
