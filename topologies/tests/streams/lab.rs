//! Where stateful steps are tried: values in event time out of a seed, a log for their state, and troubles on their way.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo::prelude::*;
use topo::testing::{Seen, given_in_time};
use topo_core::StateSettings;
use topo_core::metrics::TopologySnapshot;
use topo_tests::memory_log::MemoryLog;

pub(crate) use topo_tests::seeds::for_seeds;

/// How much earlier a value may be than one before it, in milliseconds.
pub(crate) const DISORDER: i64 = 20;

/// A value: its key, a number to compute with, and one that tells it from all others.
pub(crate) type Value = (u8, i64, u32);

/// Values of a few keys, before and after 1970, many at equal times, none further out of order than [`DISORDER`].
pub(crate) fn values(seed: u64, count: u32) -> Vec<Timed<Value>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut values: Vec<_> = (0..count)
        .map(|id| {
            let at = random.random_range(-150..=150);
            let value = (random.random_range(0..5), random.random_range(-1_000..1_000), id);
            (at + random.random_range(0..=DISORDER), Timed { at, value })
        })
        .collect();
    values.sort_by_key(|(arrives, _)| *arrives);
    values.into_iter().map(|(_, value)| value).collect()
}

/// What goes wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Values and results fail at their first attempts now and then, or whoever handles them panics.
    Some,
}

/// Lets everything pass, but for first attempts that trouble befalls.
pub(crate) fn troubled<T: Tuple>(
    stream: &DataStream<T>,
    trouble: Trouble,
    seed: u64,
    of: impl Fn(&T) -> u64 + Send + Sync + 'static,
) -> DataStream<T> {
    let befallen = Mutex::new(HashSet::new());
    stream.try_map(move |value| {
        let number = hash(&(of(&value), seed));
        let fails = trouble == Trouble::Some && number.is_multiple_of(5);
        if fails && befallen.lock().unwrap_or_else(|lock| lock.into_inner()).insert(number) {
            assert!(!number.is_multiple_of(15), "the function panics, as it was told to");
            return Err(Fail::retry("not now"));
        }
        Ok(value)
    })
}

pub(crate) fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// A scheduler and a log, on which topologies run one after the other.
pub(crate) struct Lab {
    pub(crate) scheduler: Arc<Seeded>,
    pub(crate) log: Arc<MemoryLog>,
    /// How many values may be on their way at a time.
    pub(crate) max_pending: usize,
    seed: u64,
    runs: AtomicU64,
}

impl Lab {
    pub(crate) fn new(seed: u64) -> Self {
        let scheduler = Seeded::new(seed);
        scheduler.set_step_limit(3_000_000);
        let log = Arc::new(MemoryLog::new(scheduler.clone()));
        Self { scheduler, log, max_pending: 32, seed, runs: AtomicU64::new(0) }
    }

    /// Small batches and queues, so that little input already fills them.
    pub(crate) fn config(&self) -> Config {
        let runs = self.runs.fetch_add(1, Ordering::Relaxed);
        let state = StateSettings { log: Some(self.log.clone()), ..StateSettings::default() };
        let (batch_size, queue_tuples, max_pending) = (4, 16, self.max_pending);
        let seed = self.seed.wrapping_add(runs << 32);
        Config { seed, witness: true, batch_size, queue_tuples, max_pending, state, ..Config::default() }
    }

    /// Runs what `build` makes of `values` to the end of time and stops it in order; gives what came of it, and the numbers.
    pub(crate) fn run<T: Tuple, U: Tuple>(
        &self,
        values: &[Timed<T>],
        build: impl FnOnce(&DataStream<T>) -> DataStream<U>,
    ) -> (Vec<Timed<U>>, TopologySnapshot) {
        self.run_with(Topology::new("test"), values, build)
    }

    /// As [`run`](Self::run), on a topology that has something already.
    pub(crate) fn run_with<T: Tuple, U: Tuple>(
        &self,
        topology: Topology,
        values: &[Timed<T>],
        build: impl FnOnce(&DataStream<T>) -> DataStream<U>,
    ) -> (Vec<Timed<U>>, TopologySnapshot) {
        let disorder = Duration::from_millis(DISORDER as u64);
        let source = topology.spout("source", given_in_time(values.to_vec(), disorder));
        let seen = Seen::<Timed<U>>::default();
        build(&DataStream::of(&source)).bolt("seen", seen.bolt()).tasks(1);
        let config = self.config();
        let numbers = self.scheduler.block_on(async {
            let running = topology.launch(self.scheduler.clone(), config).await.expect("it starts");
            running.finished().await;
            running.end_time().await;
            running.kill(Duration::from_secs(3_600)).await.expect("it stops");
            running.verify_trees().expect("every tree came to its end");
            running.snapshot()
        });
        (seen.tuples(), numbers)
    }
}

/// How many values came late in a run.
pub(crate) fn late(numbers: &TopologySnapshot) -> u64 {
    numbers.components.iter().map(|component| component.total(|task| task.late)).sum()
}
