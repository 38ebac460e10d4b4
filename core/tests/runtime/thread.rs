//! The same on real threads, where the schedule is nobody's choice.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use topo_core::metrics::{TaskSnapshot, TopologySnapshot};
use topo_core::schedule::TokioScheduler;
use topo_core::{Bolt, Config, Emitter, Fail, Input, Topology};

use crate::dag::Dag;
use crate::lab::{balance, component, for_seeds, total};
use crate::part::{Desk, Seen, note, rich};

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

/// What a thread blocks at until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn block(&self) {
        let (opened, bell) = &*self.0;
        drop(bell.wait_while(opened.lock().unwrap(), |opened| !*opened).unwrap());
    }
}

/// Opens the gate, be it that the test fails: a runtime waits for its threads.
struct Opens(Gate);

impl Drop for Opens {
    fn drop(&mut self) {
        let (opened, bell) = &*self.0.0;
        *opened.lock().unwrap() = true;
        bell.notify_all();
    }
}

/// Blocks its thread at the number 7, the first time.
struct Blocks {
    gate: Gate,
    blocked: Arc<AtomicU32>,
}

impl Bolt for Blocks {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        if number == 7 && self.blocked.fetch_add(1, Relaxed) == 0 {
            self.gate.block();
        }
        out.emit(number);
        Ok(())
    }
}

#[test]
fn an_execute_that_blocks_its_thread_fails_its_tree_and_goes_on_when_it_returns() {
    const COUNT: u64 = 200;
    const REASON: &str = "`blocks` task 0 was still executing it after 1s";
    let threads = threads();
    for_seeds(2, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 2), Seen::default());
        let topology = Topology::new("blocks");
        let numbers = topology.spout("numbers", desk.source());
        let (gate, blocked) = (Gate::default(), Arc::<AtomicU32>::default());
        let opens = Opens(gate.clone());
        let blocks = move || Blocks { gate: gate.clone(), blocked: Arc::clone(&blocked) };
        let passed = topology.bolt("blocks", blocks).shuffle(&numbers);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let config = Config {
            seed,
            witness: true,
            batch_size: 8,
            execute_timeout: Some(Duration::from_secs(1)),
            ..Config::default()
        };
        let numbers = threads.block_on(async {
            let scheduler = Arc::new(TokioScheduler::current());
            let running = topology.launch(scheduler, config).await.unwrap();
            let told = async {
                loop {
                    match component(&running.snapshot(), "blocks").tasks[0].last_error.clone() {
                        Some(error) => return error.message,
                        None => tokio::task::yield_now().await,
                    }
                }
            };
            let told = tokio::time::timeout(PATIENCE, told).await.expect("it is told while it is blocked");
            assert_eq!(*told, *format!("{REASON}; it blocks its thread, and goes on when it returns"));
            drop(opens);
            tokio::time::timeout(PATIENCE, running.finished()).await.expect("it goes on");
            running.kill(PATIENCE).await.unwrap();
            running.verify_trees().unwrap();
            running.snapshot()
        });
        desk.assert_all_acked(COUNT);
        balance(&numbers);
        let failed: Vec<(u64, Arc<str>)> =
            desk.lock().failed.iter().map(|(number, failure)| (*number, failure.reason.clone())).collect();
        assert_eq!(failed, [(7, REASON.into())]);
        // It emitted after all, and what it emitted then was taken back.
        assert_eq!(seen.count() as u64, COUNT);
        let blocks = |counter: fn(&TaskSnapshot) -> u64| total(&numbers, "blocks", counter);
        assert_eq!((blocks(|task| task.timed_out), blocks(|task| task.failed)), (1, 1));
        assert_eq!(blocks(|task| task.restarted), 0);
        assert_eq!(total(&numbers, "numbers", |task| task.timed_out), 1);
    });
}
