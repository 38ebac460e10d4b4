//! Keyed state in whole topologies: flushed before offsets are committed, restored by other numbers of tasks, asked while it
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{LogSpout, LogSpoutConfig, SourceProgress};
use topo_core::log::{Consumed, Log, Record, TopicPartition, TopicSpec};
use topo_core::schedule::Seeded;
use topo_core::state::State;
use topo_core::{
    Bolt, Config, Emitter, Fail, Fault, LaunchError, Running, StateSettings, TaskContext, Topology,
};
use topo_tests::memory_log::{Call, Fate, MemoryLog};

use crate::lab::{for_seeds, text};

const TOPIC: &str = "visits";
const CHANGELOG: &str = "shop.seen.changelog";
const KEYS: u64 = 7;
const PARTITIONS: u32 = 3;
const RECORDS: u64 = 60;

/// Which numbers were seen with each key: replays change nothing, and what is lost is missing.
type Seen = BTreeMap<String, BTreeSet<u64>>;

struct Remember {
    seen: Option<State<String, BTreeSet<u64>>>,
    /// Counts down to a panic.
    fuse: Arc<AtomicI64>,
}

impl Bolt for Remember {
    type In = String;
    type Out = ();

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.seen = Some(task.state("seen").await?);
        Ok(())
    }

    async fn execute(&mut self, value: String, _: &mut Emitter<()>) -> Result<(), Fail> {
        let (key, number) = value.split_once('=').unwrap();
        let number = number.parse().unwrap();
        self.seen.as_mut().unwrap().update(key, |seen| {
            seen.insert(number);
            // Amid a change, with the value as it is.
            assert!(self.fuse.fetch_sub(1, Ordering::Relaxed) != 0, "the fuse is burnt");
        })?;
        Ok(())
    }
}

/// A log with all its records, and what runs on it.
struct Shop {
    scheduler: Arc<Seeded>,
    log: Arc<MemoryLog>,
    progress: SourceProgress,
    fuse: Arc<AtomicI64>,
    seed: u64,
}

impl Shop {
    fn new(seed: u64) -> Self {
        let scheduler = Seeded::new(seed);
        scheduler.set_step_limit(5_000_000);
        let log = Arc::new(MemoryLog::new(scheduler.clone()));
        scheduler.block_on(async {
            let spec = TopicSpec { partitions: PARTITIONS, ..TopicSpec::default() };
            log.create_topic(TOPIC, &spec).await.unwrap();
            for partition in 0..PARTITIONS {
                let numbers =
                    (0..RECORDS).map(|number| number * u64::from(PARTITIONS) + u64::from(partition));
                let record = |number: u64| Record {
                    value: Some(format!("k{}={number}", number % KEYS).into()),
                    ..Record::default()
                };
                let at = TopicPartition::new(TOPIC, partition);
                log.append(&at, numbers.map(record).collect()).await.unwrap();
            }
        });
        let fuse = Arc::new(AtomicI64::new(-1));
        Self { scheduler, log, progress: SourceProgress::default(), fuse, seed }
    }

    fn launch(&mut self, tasks: usize) -> Result<Running, LaunchError> {
        self.progress = SourceProgress::default();
        let topology = Topology::new("shop");
        let (log, progress) = (self.log.clone() as Arc<dyn Log>, self.progress.clone());
        let decode: fn(&Consumed) -> Result<String, Fail> = |record| Ok(text(record));
        let config = LogSpoutConfig { attempts: 1_000, ..LogSpoutConfig::new(TOPIC, "shop") };
        let spout = move || LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode);
        let visits = topology.spout("visits", spout);
        let fuse = Arc::clone(&self.fuse);
        let remember = move || Remember { seen: None, fuse: Arc::clone(&fuse) };
        let key = |value: &String| value.split_once('=').unwrap().0.to_owned();
        topology.bolt("remember", remember).tasks(tasks).key_groups_by(&visits, key);
        let state = StateSettings { log: Some(self.log.clone()), ..StateSettings::default() };
        let (batch_size, queue_tuples) = (4, 16);
        let config = Config { seed: self.seed, batch_size, queue_tuples, state, ..Config::default() };
        self.scheduler.block_on(topology.launch(self.scheduler.clone(), config))
    }

    /// What the changelog's last records say.
    fn kept(&self) -> Seen {
        let mut kept = Seen::new();
        for record in (0..8).flat_map(|partition| self.log.records(CHANGELOG, partition)) {
            let (_, key): (u8, String) = rmp_serde::from_slice(&record.key.unwrap()).unwrap();
            kept.insert(key, rmp_serde::from_slice(&record.value.unwrap()).unwrap());
        }
        kept
    }

    /// What was committed as done is in the changelog.
    fn demand_kept_below_commits(&self) {
        let kept = self.kept();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(TOPIC, partition);
            let committed = self.scheduler.block_on(self.log.committed("shop", &at)).unwrap().unwrap_or(0);
            for record in &self.log.records(TOPIC, partition)[..committed as usize] {
                let value = text(record);
                let (key, number) = value.split_once('=').unwrap();
                let is_kept = kept.get(key).is_some_and(|seen| seen.contains(&number.parse().unwrap()));
                assert!(is_kept, "{value} is committed, up to {committed} of {at}, and not kept");
            }
        }
    }

    fn all() -> Seen {
        let mut all = Seen::new();
        for number in 0..u64::from(PARTITIONS) * RECORDS {
            all.entry(format!("k{}", number % KEYS)).or_default().insert(number);
        }
        all
    }

    /// What the tasks answer.
    fn asked(&self, running: &Running) -> Seen {
        let mut asked = Seen::new();
        for key in 0..KEYS {
            let key = format!("k{key}");
            let form = rmp_serde::to_vec(&key).unwrap();
            let value = self.scheduler.block_on(running.states().get("seen", &[form])).unwrap();
            asked.extend(value.map(|value| (key, rmp_serde::from_slice(&value).unwrap())));
        }
        asked
    }
}

#[test]
fn through_panics_crashes_and_a_log_that_fails_nothing_that_was_committed_is_lost() {
    for_seeds(20, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut shop = Shop::new(seed);
        for tasks in [1, 4, 2, 3] {
            let mut fates = StdRng::seed_from_u64(rng.random());
            shop.log.judge(move |call| {
                let takes = Duration::from_millis(fates.random_range(0..40));
                let fails = matches!(call, Call::Append(..)) && fates.random_range(0..6) == 0;
                let lies = fates.random();
                let fate = if fails { Fate::fails() } else { Fate::default() };
                Fate { takes, lies: fails && lies, ..fate }
            });
            let restored = shop.kept();
            let running = shop.launch(tasks).unwrap();
            let asked = shop.asked(&running);
            assert!(
                restored.iter().all(|(key, seen)| asked[key].is_superset(seen)),
                "{asked:?} of {restored:?}"
            );
            shop.fuse.store(rng.random_range(5..80), Ordering::Relaxed);
            shop.scheduler.advance(Duration::from_millis(rng.random_range(0..3_000)));
            shop.scheduler.abandon();
            shop.demand_kept_below_commits();
        }
        shop.log.be_kind();
        let running = shop.launch(2).unwrap();
        let ends: Vec<_> =
            (0..PARTITIONS).map(|number| (TopicPartition::new(TOPIC, number), RECORDS as i64)).collect();
        shop.scheduler.block_on(shop.progress.reached(&ends));
        assert_eq!(shop.asked(&running), Shop::all());
        let infos = running.states().states();
        let [info] = &infos[..] else { panic!("{infos:?}") };
        assert_eq!((&*info.component, &*info.state, info.len), ("remember", "seen", KEYS));
        assert_eq!(info.changelog.as_deref(), Some(CHANGELOG));
        shop.scheduler.block_on(running.kill(Duration::from_secs(60))).unwrap();
        assert_eq!(shop.kept(), Shop::all());
        shop.demand_kept_below_commits();
        let form = rmp_serde::to_vec("k1").unwrap();
        let error = shop.scheduler.block_on(running.states().get("seen", &[form])).unwrap_err();
        assert_eq!(error.to_string(), "the task that has the key has ended");
    });
}

#[test]
fn a_state_that_cannot_be_restored_stops_the_launch_with_its_reason() {
    let mut shop = Shop::new(1);
    let at = TopicPartition::new(CHANGELOG, 0);
    shop.scheduler.block_on(async {
        let spec = TopicSpec { partitions: 8, ..TopicSpec::default() };
        shop.log.create_topic(CHANGELOG, &spec).await.unwrap();
        let record = Record { key: Some("rubbish".into()), ..Record::default() };
        shop.log.append(&at, vec![record]).await.unwrap();
    });
    let error = shop.launch(1).unwrap_err().to_string();
    let sentence =
        "`remember` could not start: shop.seen.changelog-0 at offset 0 is no change of state `seen`";
    assert!(error.starts_with(sentence), "{error}");
    shop.scheduler.abandon();
}

#[test]
fn a_question_that_no_state_can_answer_says_why() {
    let mut shop = Shop::new(1);
    let running = shop.launch(2).unwrap();
    let ask = |state: &str, form: Vec<u8>| {
        shop.scheduler.block_on(running.states().get(state, &[form])).map_err(|error| error.to_string())
    };
    let key = |key: &str| rmp_serde::to_vec(key).unwrap();
    assert_eq!(ask("none", key("k1")), Err("there is no state `none`; there are: seen".to_owned()));
    let number = rmp_serde::to_vec(&7).unwrap();
    assert_eq!(ask("seen", number), Err("state `seen` has keys of another type".to_owned()));
    assert_eq!(ask("seen", key("nobody")), Ok(None));
    shop.scheduler.block_on(running.kill(Duration::from_secs(60))).unwrap();
}
