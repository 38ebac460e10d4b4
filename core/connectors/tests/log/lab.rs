//! Where the connectors are tried: topic `in`, a bolt that answers as the test says, topic `out`, and the demands that
//! every run must meet.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topo_connectors::{LogSink, LogSpout, LogSpoutConfig, RecordId, SourceProgress};
use topo_core::log::{Consumed, Log, Record, TopicPartition, TopicSpec};
use topo_core::metrics::{TopologySnapshot, WindowSnapshot};
use topo_core::schedule::{Clock, Moment, Scheduler, Seeded};
use topo_core::{
    Bolt, Config, Emitter, Fail, Failure, Fault, LaunchError, Next, Running, Spout, SpoutEmitter,
    TaskContext, Topology,
};
use topo_tests::memory_log::MemoryLog;

use crate::flush::{Durable, Kept};

pub(crate) use topo_tests::seeds::for_seeds;

pub(crate) const IN: &str = "in";
pub(crate) const OUT: &str = "out";
pub(crate) const DEAD: &str = "in.dead-letter";
pub(crate) const GROUP: &str = "lab";

/// What the bolt answers to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    Retry,
    Reject,
    Panic,
    /// Never answers.
    Hang,
}

/// Answers by a record's value and how often it was seen, from 1.
type Script = Arc<dyn Fn(&str, usize) -> Answer + Send + Sync>;

/// When each record was executed, in the order of the executes.
pub(crate) type Seen = Vec<(String, Moment)>;

/// Countdowns to panics of the spout: after so many calls of `next`, and after so many acks. None below 0.
#[derive(Debug)]
pub(crate) struct Fuses {
    pub(crate) next: AtomicI64,
    pub(crate) ack: AtomicI64,
}

fn burn(fuse: &AtomicI64) {
    if fuse.fetch_sub(1, Ordering::Relaxed) == 0 {
        panic!("the fuse is burnt");
    }
}

/// How a topology is built on the lab's log.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) spout: LogSpoutConfig,
    pub(crate) runtime: Config,
    pub(crate) spout_tasks: usize,
    pub(crate) work_tasks: usize,
    pub(crate) sink_tasks: usize,
}

/// A log, and the topology that runs on it, if one does.
pub(crate) struct Lab {
    pub(crate) scheduler: Arc<Seeded>,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) setup: Setup,
    pub(crate) progress: SourceProgress,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) fuses: Arc<Fuses>,
    /// Records below this offset are not meant to be read.
    pub(crate) begins: i64,
    /// Has the bolt keep what it has done, and make it durable when it is told to.
    pub(crate) durable: Option<Arc<Durable>>,
    script: Script,
    /// Adds to the topology what runs beside.
    beside: Option<Beside>,
    running: Option<Running>,
}

/// Adds components to a topology.
type Beside = Box<dyn Fn(&Topology)>;

impl Lab {
    /// A log with topic `in` of so many partitions and topic `out` of one.
    pub(crate) fn new(seed: u64, partitions: u32) -> Self {
        let scheduler = Seeded::new(seed);
        scheduler.set_step_limit(2_000_000);
        let log = Arc::new(MemoryLog::new(scheduler.clone()));
        scheduler.block_on(async {
            let spec = TopicSpec { partitions, ..TopicSpec::default() };
            log.create_topic(IN, &spec).await.unwrap();
            log.create_topic(OUT, &TopicSpec::default()).await.unwrap();
        });
        let runtime = Config {
            seed,
            witness: true,
            batch_size: 4,
            queue_tuples: 16,
            max_pending: 32,
            ..Config::default()
        };
        let spout = LogSpoutConfig::new(IN, GROUP);
        Self {
            scheduler,
            log,
            setup: Setup { spout, runtime, spout_tasks: 1, work_tasks: 1, sink_tasks: 1 },
            progress: SourceProgress::default(),
            seen: Arc::default(),
            fuses: Arc::new(Fuses { next: AtomicI64::new(-1), ack: AtomicI64::new(-1) }),
            begins: 0,
            durable: None,
            script: Arc::new(|_, _| Answer::Ok),
            beside: None,
            running: None,
        }
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.scheduler.block_on(future)
    }

    /// Has the bolt answer by `script`.
    pub(crate) fn answer(&mut self, script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) {
        self.script = Arc::new(script);
    }

    /// Has the topology run what `add` adds, beside.
    pub(crate) fn beside(&mut self, add: impl Fn(&Topology) + 'static) {
        self.beside = Some(Box::new(add));
    }

    /// Appends `values` to a partition of `in`.
    pub(crate) fn feed(&self, partition: u32, values: impl IntoIterator<Item = String>) {
        let record = |value: String| Record { value: Some(value.into()), ..Record::default() };
        let records = values.into_iter().map(record).collect();
        let at = TopicPartition::new(IN, partition);
        self.block_on(self.log.append(&at, records)).unwrap();
    }

    /// Appends `PARTITION/0` up to `PARTITION/count - 1` to each partition of `in`.
    pub(crate) fn feed_all(&self, partitions: u32, count: usize) {
        for partition in 0..partitions {
            self.feed(partition, (0..count).map(|number| format!("{partition}/{number}")));
        }
    }

    fn topology(&self) -> Topology {
        let topology = Topology::new(GROUP);
        let (log, config, progress) =
            (self.log.clone() as Arc<dyn Log>, self.setup.spout.clone(), self.progress.clone());
        let fuses = Arc::clone(&self.fuses);
        let spout = move || Fused {
            spout: LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode as Decode),
            fuses: Arc::clone(&fuses),
        };
        let lines = topology.spout(IN, spout).tasks(self.setup.spout_tasks);
        let (script, seen) = (Arc::clone(&self.script), Arc::clone(&self.seen));
        let durable = self.durable.clone();
        let work = move || Work {
            script: Arc::clone(&script),
            seen: Arc::clone(&seen),
            durable: durable.clone(),
            kept: None,
            task: None,
        };
        let worked = topology.bolt("work", work).tasks(self.setup.work_tasks).shuffle(&lines);
        let log = self.log.clone() as Arc<dyn Log>;
        let sink = move || LogSink::new(Arc::clone(&log), OUT, partition, |text| Ok(encode(text)));
        topology.rich_bolt(OUT, sink).tasks(self.setup.sink_tasks).shuffle(&worked);
        if let Some(beside) = &self.beside {
            beside(&topology);
        }
        topology
    }

    pub(crate) fn try_launch(&mut self) -> Result<(), LaunchError> {
        let launch = self.topology().launch(self.scheduler.clone(), self.setup.runtime.clone());
        self.running = Some(self.block_on(launch)?);
        Ok(())
    }

    pub(crate) fn launch(&mut self) {
        self.try_launch().unwrap();
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("a topology runs")
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, duration: Duration) {
        self.block_on(self.scheduler.sleep_until(self.scheduler.now().after(duration)));
    }

    /// The end of every partition of `in`.
    pub(crate) fn ends(&self) -> Vec<(TopicPartition, i64)> {
        let partitions = self.block_on(self.log.topic(IN)).unwrap().unwrap().partitions;
        let at = (0..partitions).map(|number| TopicPartition::new(IN, number));
        at.map(|at| (at.clone(), self.block_on(self.log.offsets(&at)).unwrap().log_end)).collect()
    }

    /// Waits until all that `in` holds is done and committed.
    pub(crate) fn finish(&self) {
        let ends = self.ends();
        self.block_on(self.progress.reached(&ends));
    }

    /// Drains and stops, and demands what every run must meet.
    pub(crate) fn stop(&mut self) -> TopologySnapshot {
        let running = self.running.take().expect("a topology runs");
        self.block_on(running.kill(Duration::from_secs(3_600))).unwrap();
        running.verify_trees().unwrap();
        self.demand_output_below_commits();
        running.snapshot()
    }

    /// Kills the process: nothing is closed, and what the next topology knows is in the log.
    pub(crate) fn crash(&mut self) {
        self.scheduler.abandon();
        self.running = None;
        self.progress = SourceProgress::default();
        self.demand_output_below_commits();
    }

    pub(crate) fn committed(&self, partition: u32) -> Option<i64> {
        self.block_on(self.log.committed(GROUP, &TopicPartition::new(IN, partition))).unwrap()
    }

    /// The values in partition 0 of `topic`.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        self.log.records(topic, 0).iter().map(text).collect()
    }

    /// How often each value was executed.
    pub(crate) fn executed(&self) -> HashMap<String, usize> {
        let mut executed = HashMap::new();
        for (value, _) in &*self.seen.lock().unwrap() {
            *executed.entry(value.clone()).or_default() += 1;
        }
        executed
    }

    /// Every record below a committed offset had its output or its dead letter in the log when that was committed.
    pub(crate) fn demand_output_below_commits(&self) {
        let mut places: HashMap<String, Vec<(TopicPartition, i64)>> = HashMap::new();
        for topic in [OUT, DEAD] {
            let partitions = self.block_on(self.log.topic(topic)).unwrap().map_or(0, |info| info.partitions);
            for number in 0..partitions {
                for record in self.log.records(topic, number) {
                    let at = TopicPartition::new(topic, number);
                    places.entry(text(&record)).or_default().push((at, record.offset));
                }
            }
        }
        for commit in self.log.commits() {
            let records = self.log.records(IN, commit.at.partition);
            for record in
                records.iter().filter(|record| (self.begins..commit.offset).contains(&record.offset))
            {
                let there = |(at, offset): &(TopicPartition, i64)| *offset < commit.ends[at];
                let value = text(record);
                let held = places.get(&value).is_some_and(|places| places.iter().any(there));
                assert!(
                    held,
                    "{value} was not in the log when {} of {} was committed",
                    commit.offset, commit.at
                );
            }
        }
    }
}

impl Drop for Lab {
    // Executors that never finish hold the scheduler that holds them.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.scheduler.abandon();
        }
    }
}

pub(crate) type Decode = fn(&Consumed) -> Result<String, Fail>;

pub(crate) fn text(record: &Consumed) -> String {
    String::from_utf8(record.value.as_deref().unwrap_or_default().to_vec()).unwrap()
}

fn decode(record: &Consumed) -> Result<String, Fail> {
    match text(record) {
        value if value.starts_with("garbled") => Err(Fail::retry("it is garbled")),
        value if value.starts_with("bomb") => panic!("it went off"),
        value => Ok(value),
    }
}

/// `KEY=VALUE` has a key.
#[expect(clippy::ptr_arg, reason = "the sink hands on its tuples")]
fn encode(value: &String) -> Record {
    let key = value.split_once('=').map(|(key, _)| key.to_owned().into());
    Record { key, value: Some(value.clone().into()), ..Record::default() }
}

/// By the key's first byte.
fn partition(key: &[u8], partitions: u32) -> u32 {
    u32::from(key[0]) % partitions
}

/// The bolt between spout and sink.
struct Work {
    script: Script,
    seen: Arc<Mutex<Seen>>,
    durable: Option<Arc<Durable>>,
    kept: Option<Arc<Kept>>,
    task: Option<TaskContext>,
}

impl Bolt for Work {
    type In = String;
    type Out = String;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        self.kept = self.durable.as_ref().map(|durable| Kept::of(task, durable));
        Ok(())
    }

    async fn execute(&mut self, value: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        let times = {
            let mut seen = self.seen.lock().unwrap();
            seen.push((value.clone(), self.task.as_ref().unwrap().now()));
            seen.iter().filter(|(other, _)| *other == value).count()
        };
        match (self.script)(&value, times) {
            Answer::Ok => {
                if let Some(kept) = &self.kept {
                    kept.take(&value);
                }
                out.emit(value);
            }
            Answer::Retry => return Err(Fail::retry("not yet")),
            Answer::Reject => return Err(Fail::reject("never")),
            Answer::Panic => panic!("{value}"),
            Answer::Hang => pending().await,
        }
        Ok(())
    }
}

/// A log spout that panics when a fuse has burnt down.
struct Fused {
    spout: LogSpout<String, Decode>,
    fuses: Arc<Fuses>,
}

impl Spout for Fused {
    type Out = String;
    type Id = RecordId;

    fn open(&mut self, task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        self.spout.open(task)
    }

    fn next(&mut self, out: &mut SpoutEmitter<String, RecordId>) -> Result<Next, Fault> {
        burn(&self.fuses.next);
        self.spout.next(out)
    }

    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        self.spout.ready()
    }

    fn ack(&mut self, id: RecordId) {
        burn(&self.fuses.ack);
        self.spout.ack(id);
    }

    fn fail(&mut self, id: RecordId, failure: &Failure) {
        self.spout.fail(id, failure);
    }

    fn show_windows(&self, shown: &mut Vec<WindowSnapshot>) {
        self.spout.show_windows(shown);
    }

    fn close(&mut self) -> impl Future<Output = ()> + Send {
        self.spout.close()
    }
}

pub(crate) fn now(lab: &Lab) -> Moment {
    lab.scheduler.now()
}
