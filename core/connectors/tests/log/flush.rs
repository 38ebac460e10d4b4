//! State is durable before what led to it is committed.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo_core::log::TopicPartition;
use topo_core::{Fault, TaskContext, TaskStore};
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{Answer, GROUP, IN, Lab, for_seeds, text};

/// What all tasks of the bolt have made durable, and how their flushes go.
pub(crate) struct Durable {
    values: Mutex<HashSet<String>>,
    fate: Mutex<Box<dyn FnMut() -> (Duration, bool) + Send>>,
    flushes: Mutex<usize>,
}

impl Durable {
    fn new(fate: impl FnMut() -> (Duration, bool) + Send + 'static) -> Arc<Self> {
        let (values, flushes) = Default::default();
        Arc::new(Self { values, fate: Mutex::new(Box::new(fate)), flushes })
    }

    fn holds(&self, value: &str) -> bool {
        self.values.lock().unwrap().contains(value)
    }
}

/// The state of one task: what it has taken and not flushed.
pub(crate) struct Kept {
    taken: Mutex<Vec<String>>,
    durable: Arc<Durable>,
    task: TaskContext,
}

impl Kept {
    /// The state of `task`, which outlives its instances.
    pub(crate) fn of(task: &TaskContext, durable: &Arc<Durable>) -> Arc<Self> {
        task.store("kept").unwrap_or_else(|| {
            let kept =
                Arc::new(Self { taken: Mutex::default(), durable: Arc::clone(durable), task: task.clone() });
            task.keep_store("kept", Arc::clone(&kept) as _);
            kept
        })
    }

    pub(crate) fn take(&self, value: &str) {
        self.taken.lock().unwrap().push(value.to_owned());
    }
}

#[async_trait]
impl TaskStore for Kept {
    async fn flush(&self) -> Result<(), Fault> {
        let (takes, fails) = (self.durable.fate.lock().unwrap_or_else(PoisonError::into_inner))();
        *self.durable.flushes.lock().unwrap() += 1;
        self.task.sleep(takes).await;
        if fails {
            return Err("the changelog is away".into());
        }
        let taken = std::mem::take(&mut *self.taken.lock().unwrap());
        self.durable.values.lock().unwrap().extend(taken);
        Ok(())
    }
}

/// Notes each record that is not durable when an offset behind it is committed.
fn judge(lab: &Lab, durable: &Arc<Durable>, seed: u64, failing: f64) -> Arc<Mutex<Vec<String>>> {
    let (early, durable) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(durable));
    let noted = Arc::clone(&early);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(!seed);
    let values: Vec<Vec<String>> = lab
        .ends()
        .iter()
        .map(|(at, _)| lab.log.records(IN, at.partition).iter().map(text).collect())
        .collect();
    lab.log.judge(move |call| {
        if let Call::Commit(offsets) = call {
            for (TopicPartition { partition, .. }, offset) in offsets {
                let below = &values[*partition as usize][..*offset as usize];
                noted.lock().unwrap().extend(below.iter().filter(|value| !durable.holds(value)).cloned());
            }
        }
        let takes = Duration::from_micros(random.random_range(0..3_000));
        if random.random_bool(failing) {
            Fate { takes, ..Fate::fails() }
        } else {
            Fate { takes, ..Fate::default() }
        }
    });
    early
}

#[test]
fn whatever_happens_state_is_durable_before_offsets_are_committed() {
    for_seeds(80, |seed| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (partitions, records) = (random.random_range(1..4), random.random_range(20..100));
        let mut lab = Lab::new(seed, partitions);
        lab.scheduler.set_step_cost(Duration::from_micros(random.random_range(0..200)));
        lab.setup.spout_tasks = random.random_range(1..4);
        lab.setup.work_tasks = random.random_range(1..4);
        lab.setup.spout.commit_interval = Duration::from_millis(random.random_range(1..100));
        lab.setup.spout.longest_backoff = Duration::from_millis(200);
        lab.setup.spout.attempts = u32::MAX;
        lab.answer(|value, times| match value.len() % 4 {
            1 if times < 3 => Answer::Retry,
            2 if times < 2 => Answer::Panic,
            _ => Answer::Ok,
        });
        lab.feed_all(partitions, records);
        let mut fates = Xoshiro256PlusPlus::seed_from_u64(seed ^ 77);
        let failing = fates.random_range(0.0..0.5);
        let durable = Durable::new(move || {
            (Duration::from_micros(fates.random_range(0..5_000)), fates.random_bool(failing))
        });
        lab.durable = Some(Arc::clone(&durable));
        let early = judge(&lab, &durable, seed, random.random_range(0.0..0.2));
        lab.launch();
        for _ in 0..random.random_range(0..5) {
            lab.fuses.ack.store(random.random_range(0..40), Ordering::Relaxed);
            lab.pass(Duration::from_millis(random.random_range(0..60)));
            let owners: Vec<u32> =
                (0..partitions).map(|_| random.random_range(0..lab.setup.spout_tasks as u32)).collect();
            if random.random_bool(0.4) {
                lab.log.divide(GROUP, &owners);
            }
            if random.random_bool(0.4) {
                lab.crash();
                while lab.try_launch().is_err() {}
            }
        }
        lab.finish();
        lab.stop();
        assert_eq!(*early.lock().unwrap(), Vec::<String>::new(), "committed before their state was durable");
        assert!(*durable.flushes.lock().unwrap() > 0);
        for partition in 0..partitions {
            assert_eq!(lab.committed(partition), Some(records as i64));
        }
    });
}

#[test]
fn a_flush_that_fails_delays_the_commit_and_is_reported() {
    let mut lab = Lab::new(4, 1);
    lab.feed_all(1, 20);
    let away = Arc::new(Mutex::new(true));
    let fails = Arc::clone(&away);
    let durable = Durable::new(move || (Duration::ZERO, *fails.lock().unwrap()));
    lab.durable = Some(Arc::clone(&durable));
    lab.launch();
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.committed(0), None, "nothing is durable");
    assert_eq!(lab.executed().len(), 20, "and everything is done");
    let snapshot = lab.running().snapshot();
    let work = snapshot.components.iter().find(|one| &*one.name == "work").unwrap();
    let error = work.tasks[0].last_error.as_ref().unwrap();
    assert_eq!(&*error.message, "state could not be flushed, so nothing is committed: the changelog is away");
    *away.lock().unwrap() = false;
    lab.finish();
    assert_eq!(lab.committed(0), Some(20));
    lab.stop();
}

#[test]
fn a_drain_commits_behind_a_last_flush_and_an_abort_commits_nothing_else() {
    for_seeds(30, |seed| {
        let mut lab = Lab::new(seed, 2);
        lab.feed_all(2, 40);
        lab.setup.work_tasks = 2;
        lab.setup.spout.commit_interval = Duration::from_secs(3_600);
        let durable = Durable::new(|| (Duration::from_millis(3), false));
        lab.durable = Some(Arc::clone(&durable));
        let early = judge(&lab, &durable, seed, 0.0);
        lab.launch();
        lab.pass(Duration::from_millis(20));
        let wait = if seed % 2 == 0 { Duration::from_secs(3_600) } else { Duration::ZERO };
        lab.block_on(lab.running().kill(wait)).unwrap();
        assert_eq!(*early.lock().unwrap(), Vec::<String>::new());
        if seed % 2 == 0 {
            assert!(lab.committed(0).is_some_and(|offset| offset > 0), "the drain commits");
        }
    });
}
