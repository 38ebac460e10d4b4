//! Where a topology is tried: a seeded scheduler, a witness beside the ledgers, and the demands that every run must meet.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use topo_core::metrics::{ComponentKind, ComponentSnapshot, TaskSnapshot, TopologySnapshot};
use topo_core::schedule::Seeded;
use topo_core::{Config, LaunchError, Running, Topology};

/// As many seeds as a quick scenario is worth.
pub(crate) const SEEDS: u64 = 25;

/// Runs `scenario` under many seeds; the one that fails is printed.
pub(crate) fn for_seeds(seeds: u64, scenario: impl Fn(u64)) {
    struct Told(u64);
    impl Drop for Told {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with seed {}", self.0);
            }
        }
    }
    for seed in 0..seeds {
        let _told = Told(seed);
        scenario(seed);
    }
}

/// A topology on a seeded scheduler.
pub(crate) struct Lab {
    pub(crate) scheduler: Arc<Seeded>,
    pub(crate) running: Running,
}

impl Drop for Lab {
    // Executors that never finish hold the scheduler that holds them.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.scheduler.abandon();
        }
    }
}

/// Small batches and queues, so that little input already fills them.
pub(crate) fn config(seed: u64) -> Config {
    Config { seed, witness: true, batch_size: 4, queue_tuples: 16, max_pending: 32, ..Config::default() }
}

impl Lab {
    pub(crate) fn launch(seed: u64, topology: Topology) -> Self {
        Self::launch_with(config(seed), topology)
    }

    pub(crate) fn launch_with(config: Config, topology: Topology) -> Self {
        Self::try_launch(config, topology).unwrap()
    }

    pub(crate) fn try_launch(config: Config, topology: Topology) -> Result<Self, LaunchError> {
        let scheduler = Seeded::new(config.seed);
        scheduler.set_step_limit(300_000);
        let launched = scheduler.block_on(topology.launch(scheduler.clone(), config));
        match launched {
            Ok(running) => Ok(Self { scheduler, running }),
            Err(error) => {
                assert_eq!(scheduler.unfinished(), [], "a task outlived the launch that failed");
                Err(error)
            }
        }
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.scheduler.block_on(future)
    }

    /// Runs until the spouts are finished and stops in order; every tree must have come to its end.
    pub(crate) fn finish(self) -> TopologySnapshot {
        self.block_on(self.running.finished());
        self.stop()
    }

    /// Drains and stops.
    pub(crate) fn stop(self) -> TopologySnapshot {
        let killed = self.running.clone();
        self.block_on(async move { killed.kill(Duration::from_secs(3_600)).await }).unwrap();
        self.running.verify_trees().unwrap();
        self.scheduler.run_until_stalled();
        assert_eq!(self.scheduler.unfinished(), [], "a task outlived its topology");
        let numbers = self.running.snapshot();
        balance(&numbers);
        carried(&numbers);
        for component in &numbers.components {
            let queued = component.total(|task| task.queue.tuples + task.queue.bytes);
            assert_eq!(queued, 0, "tuples and bytes queued at {}", component.name);
        }
        numbers
    }
}

/// What must be true of a topology's counters once all of its trees have ended.
pub(crate) fn balance(numbers: &TopologySnapshot) {
    for component in &numbers.components {
        let name = &component.name;
        assert_eq!(component.total(|task| task.pending), 0, "{name} has trees open");
        if component.kind == ComponentKind::Bolt {
            let executed = component.total(|task| task.executed);
            let answered = component.total(|task| task.acked + task.failed);
            assert_eq!(executed, answered, "{name} executed and answered");
        }
    }
}

/// What must be true of a topology's edges once nothing is under way: what went in was executed, after it had waited.
fn carried(numbers: &TopologySnapshot) {
    // What is taken back with a batch was never executed.
    if numbers.transactions.is_some() {
        return;
    }
    for component in numbers.components.iter().filter(|one| one.kind == ComponentKind::Bolt) {
        let edges = || numbers.edges.iter().filter(|edge| edge.to == component.name);
        let (name, executed) = (&component.name, component.total(|task| task.executed));
        assert_eq!(edges().map(|edge| edge.tuples).sum::<u64>(), executed, "{name} was sent and executed");
        for edge in edges() {
            let (from, queue) = (&edge.from, &edge.queue);
            assert_eq!((queue.tuples, queue.bytes), (0, 0), "queued from {from} to {name}");
            assert_eq!(edge.queue_wait.count(), edge.tuples, "waited from {from} to {name}");
        }
        let waited = component.latency(|task| &task.queue_wait);
        assert_eq!(waited.count(), executed, "{name} waited and executed");
    }
}

/// The numbers of one component.
pub(crate) fn component<'a>(numbers: &'a TopologySnapshot, name: &str) -> &'a ComponentSnapshot {
    numbers.components.iter().find(|one| &*one.name == name).unwrap()
}

/// One counter of one component, over its tasks.
pub(crate) fn total(numbers: &TopologySnapshot, name: &str, counter: impl Fn(&TaskSnapshot) -> u64) -> u64 {
    component(numbers, name).total(counter)
}
