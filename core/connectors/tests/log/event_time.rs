//! Event time as a log spout tells it: as far as its records, less their disorder, and never past one that is not done.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo_connectors::{EventTimeConfig, LogSpout, LogSpoutConfig, SourceProgress, record_time, timed};
use topo_core::log::{Consumed, Log, Record, TopicPartition, TopicSpec};
use topo_core::schedule::{Clock, Scheduler, Seeded};
use topo_core::{Bolt, Config, Emitter, Fail, Fault, Running, TaskContext, Timed, Topology, Watermark};
use topo_tests::memory_log::{Call, Fate, MemoryLog};

use crate::lab::{GROUP, IN, for_seeds, text};

const DISORDER: i64 = 40;

/// What the bolt did and heard.
#[derive(Default)]
struct Heard {
    /// How often each value was executed.
    executed: HashMap<String, usize>,
    done: HashSet<String>,
    /// What was executed behind a watermark that had passed it, and had not been done before.
    late: Vec<(String, Watermark)>,
    /// What the bolt heard, by task.
    times: HashMap<u32, Vec<Watermark>>,
    /// Values that were executed and not acknowledged, whatever for.
    failed: usize,
}

/// What becomes of a value at its so-and-so-manieth execute.
type Script = fn(&str, usize) -> Result<(), Fail>;

struct Hear {
    heard: Arc<Mutex<Heard>>,
    script: Script,
    task: Option<TaskContext>,
}

impl Bolt for Hear {
    type In = Timed<String>;
    type Out = ();

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, timed: Timed<String>, _out: &mut Emitter<()>) -> Result<(), Fail> {
        let now = self.task.as_ref().unwrap().watermark();
        let mut heard = self.heard.lock().unwrap();
        let times = heard.executed.entry(timed.value.clone()).or_default();
        *times += 1;
        let done = (self.script)(&timed.value, *times);
        // Given up counts as done: read again after a commit that failed, it may be late.
        let is_done = matches!(done, Ok(()) | Err(Fail::Reject(_))) || *times >= 4;
        heard.failed += usize::from(done.is_err());
        if timed.at < now.0 && !heard.done.contains(&timed.value) {
            heard.late.push((timed.value.clone(), now));
        }
        if is_done {
            heard.done.insert(timed.value);
        }
        done
    }

    async fn on_watermark(&mut self, at: Watermark, _out: &mut Emitter<()>) -> Result<(), Fault> {
        let task = self.task.as_ref().unwrap().task();
        self.heard.lock().unwrap().times.entry(task).or_default().push(at);
        Ok(())
    }
}

struct Lab {
    scheduler: Arc<Seeded>,
    log: Arc<MemoryLog>,
    heard: Arc<Mutex<Heard>>,
    progress: SourceProgress,
    running: Option<Running>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.scheduler.abandon();
        }
    }
}

impl Lab {
    fn new(seed: u64, partitions: u32) -> Self {
        let scheduler = Seeded::new(seed);
        scheduler.set_step_limit(2_000_000);
        let log = Arc::new(MemoryLog::new(scheduler.clone()));
        let spec = TopicSpec { partitions, ..TopicSpec::default() };
        scheduler.block_on(log.create_topic(IN, &spec)).unwrap();
        let (heard, progress) = Default::default();
        Self { scheduler, log, heard, progress, running: None }
    }

    fn feed(&self, partition: u32, records: impl IntoIterator<Item = (String, i64)>) {
        let records = records.into_iter().map(|(value, at)| Record {
            value: Some(value.into()),
            timestamp_ms: Some(at),
            ..Record::default()
        });
        let at = TopicPartition::new(IN, partition);
        self.scheduler.block_on(self.log.append(&at, records.collect())).unwrap();
    }

    /// Runs spouts that read `in` and one bolt that hears them.
    fn launch(&mut self, config: EventTimeConfig, tasks: [usize; 2], script: Script) {
        let topology = Topology::new(GROUP);
        let (log, progress) = (self.log.clone() as Arc<dyn Log>, self.progress.clone());
        let decode = timed(
            |record: &Consumed| match text(record) {
                value if value.starts_with("garbled") => Err(Fail::reject("it is garbled")),
                value => Ok(value),
            },
            record_time,
        );
        let spout_config = LogSpoutConfig {
            attempts: 4,
            backoff: Duration::from_millis(5),
            commit_interval: Duration::from_millis(20),
            ..LogSpoutConfig::new(IN, GROUP)
        };
        let spout = move || {
            LogSpout::new(Arc::clone(&log), spout_config.clone(), progress.clone(), decode.clone())
                .event_time(config)
        };
        let lines = topology.spout(IN, spout).tasks(tasks[0]);
        let heard = Arc::clone(&self.heard);
        let hear = move || Hear { heard: Arc::clone(&heard), script, task: None };
        topology.bolt("hear", hear).tasks(tasks[1]).shuffle(&lines);
        let runtime = Config { seed: 1, witness: true, batch_size: 4, queue_tuples: 16, ..Config::default() };
        let launch = topology.launch(self.scheduler.clone(), runtime);
        self.running = Some(self.scheduler.block_on(launch).unwrap());
    }

    fn pass(&self, time: Duration) {
        self.scheduler.block_on(self.scheduler.sleep_until(self.scheduler.now().after(time)));
    }

    /// Waits until all is done and committed.
    fn finish(&self, partitions: u32) {
        let ends = (0..partitions).map(|number| {
            let at = TopicPartition::new(IN, number);
            let end = self.scheduler.block_on(self.log.offsets(&at)).unwrap().log_end;
            (at, end)
        });
        let ends: Vec<_> = ends.collect();
        self.scheduler.block_on(self.progress.reached(&ends));
    }

    fn stop(&mut self) {
        let running = self.running.take().unwrap();
        self.scheduler.block_on(running.kill(Duration::from_secs(3_600))).unwrap();
        running.verify_trees().unwrap();
    }

    /// The newest watermark of each task of the bolt.
    fn newest(&self) -> HashSet<Watermark> {
        self.heard.lock().unwrap().times.values().filter_map(|times| times.last().copied()).collect()
    }
}

fn config() -> EventTimeConfig {
    EventTimeConfig::new(Duration::from_millis(DISORDER as u64))
}

/// Fails, or refuses, by the value's last digit.
fn shaky(value: &str, times: usize) -> Result<(), Fail> {
    match value.as_bytes().last() {
        Some(b'1') if times < 3 => Err(Fail::retry("not yet")),
        Some(b'4') if value.ends_with("34") => Err(Fail::reject("never")),
        Some(b'7') if value.ends_with("57") => Err(Fail::retry("never")),
        _ => Ok(()),
    }
}

#[test]
fn no_record_is_late_whatever_fails() {
    for_seeds(60, |seed| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let partitions = random.random_range(1..4);
        let mut lab = Lab::new(seed, partitions);
        lab.scheduler.set_step_cost(Duration::from_micros(random.random_range(0..100)));
        lab.log.limit_fetches(random.random_range(1..30));
        let mut latest = i64::MAX;
        for partition in 0..partitions {
            let records: Vec<(String, i64)> = (0..80)
                .map(|number| {
                    let name = if random.random_bool(0.03) { "garbled" } else { "p" };
                    (format!("{name}{partition}/{number}"), number * 10 - random.random_range(0..=DISORDER))
                })
                .collect();
            let readable = records.iter().filter(|(value, _)| !value.starts_with("garbled"));
            latest = latest.min(readable.map(|(_, at)| *at).max().unwrap());
            lab.feed(partition, records);
        }
        let mut fates = Xoshiro256PlusPlus::seed_from_u64(!seed);
        lab.log.judge(move |_| {
            let takes = Duration::from_micros(fates.random_range(0..3_000));
            if fates.random_bool(0.1) {
                Fate { takes, ..Fate::fails() }
            } else {
                Fate { takes, ..Fate::default() }
            }
        });
        // Nothing is idle while the log is slow.
        let config = EventTimeConfig { idle_after: Duration::from_secs(60), ..config() };
        let spouts = random.random_range(1..4);
        lab.launch(config, [spouts, random.random_range(1..4)], shaky);
        for _ in 0..random.random_range(0..5) {
            lab.pass(Duration::from_millis(random.random_range(0..40)));
            let owners: Vec<u32> = (0..partitions).map(|_| random.random_range(0..spouts as u32)).collect();
            lab.log.divide(GROUP, &owners);
        }
        lab.finish(partitions);
        lab.pass(Duration::from_secs(2));
        {
            let heard = lab.heard.lock().unwrap();
            assert_eq!(heard.late, [], "late");
            assert!(heard.failed > 0);
        }
        let reached = lab.newest();
        assert!(reached.iter().all(|at| at.0 <= latest - DISORDER) && reached.len() == 1, "{reached:?}");
        lab.log.be_kind();
        lab.stop();
    });
}

#[test]
fn what_awaits_another_attempt_or_its_dead_letter_holds_time_back() {
    let mut lab = Lab::new(3, 1);
    lab.feed(0, [("first".to_owned(), 100), ("never57".to_owned(), 300), ("last".to_owned(), 1_000)]);
    // Dead letters cannot be written.
    lab.log.judge(|call| match call {
        Call::Append(at, _) if *at.topic != *IN => Fate::fails(),
        _ => Fate::default(),
    });
    lab.launch(config(), [1, 1], shaky);
    lab.pass(Duration::from_secs(20));
    assert_eq!(lab.heard.lock().unwrap().executed["never57"], 4);
    assert_eq!(lab.newest(), HashSet::from([Watermark(300)]), "its dead letter is not durable");
    lab.log.be_kind();
    lab.finish(1);
    lab.pass(Duration::from_millis(10));
    assert_eq!(lab.newest(), HashSet::from([Watermark(1_000 - DISORDER)]));
    lab.stop();
}

#[test]
fn a_partition_that_is_quiet_is_not_waited_for_and_one_that_cannot_be_read_is() {
    let mut lab = Lab::new(5, 2);
    lab.feed(0, [("a".to_owned(), 1_000)]);
    lab.feed(1, [("b".to_owned(), 500)]);
    lab.launch(config(), [1, 1], |_, _| Ok(()));
    lab.finish(2);
    lab.pass(Duration::from_millis(100));
    assert_eq!(lab.newest(), HashSet::from([Watermark(500 - DISORDER)]));
    // Partition 1 cannot be read: nobody knows what would come.
    lab.log.judge(|call| match call {
        Call::Fetch(at, _) if at.partition == 1 => Fate::fails(),
        _ => Fate::default(),
    });
    lab.pass(Duration::from_secs(60));
    lab.feed(0, [("c".to_owned(), 2_000)]);
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.newest(), HashSet::from([Watermark(500 - DISORDER)]));
    lab.log.be_kind();
    // Longer than the waits before another fetch, and than it takes to be idle.
    lab.pass(Duration::from_secs(60));
    assert_eq!(lab.newest(), HashSet::from([Watermark(2_000 - DISORDER)]), "all are idle");
    lab.feed(1, [("d".to_owned(), 1_000), ("e".to_owned(), 5_000)]);
    lab.feed(0, [("f".to_owned(), 6_000)]);
    lab.pass(Duration::from_millis(300));
    assert_eq!(lab.newest(), HashSet::from([Watermark(5_000 - DISORDER)]), "it is back");
    lab.scheduler.block_on(lab.running.as_ref().unwrap().end_time());
    assert_eq!(lab.newest(), HashSet::from([Watermark::MAX]));
    lab.stop();
}

#[test]
fn by_the_clock_time_goes_on_while_nothing_comes() {
    let mut lab = Lab::new(5, 2);
    let begun = lab.scheduler.clock().wall_ms();
    lab.feed(0, [("a".to_owned(), begun)]);
    lab.launch(EventTimeConfig { follows_clock: true, ..config() }, [1, 1], |_, _| Ok(()));
    lab.finish(1);
    lab.pass(Duration::from_secs(10));
    let newest: Vec<Watermark> = lab.newest().into_iter().collect();
    let behind = lab.scheduler.clock().wall_ms() - newest[0].0;
    let quiet = i64::try_from(config().idle_after.as_millis()).unwrap() + DISORDER;
    assert!((quiet..=quiet + 200).contains(&behind), "{behind} ms behind the clock");
    let now = lab.scheduler.clock().wall_ms();
    lab.feed(1, [("b".to_owned(), now)]);
    lab.finish(2);
    assert_eq!(lab.heard.lock().unwrap().late, []);
    lab.stop();
}

#[test]
fn time_does_not_go_back_behind_its_floor() {
    let mut lab = Lab::new(9, 1);
    lab.feed(0, [("a".to_owned(), 100)]);
    lab.launch(EventTimeConfig { floor: Watermark(700), ..config() }, [1, 2], |_, _| Ok(()));
    lab.finish(1);
    lab.feed(0, [("b".to_owned(), 800)]);
    lab.finish(1);
    lab.pass(Duration::from_millis(100));
    let times = lab.heard.lock().unwrap().times.clone();
    assert_eq!(
        times.into_values().collect::<HashSet<_>>(),
        HashSet::from([vec![Watermark(700), Watermark(760)]])
    );
    lab.stop();
}
