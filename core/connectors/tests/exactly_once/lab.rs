//! A word count that has to be exact: topic `in` of lines, a bolt that splits, one that counts in its state, topic `out`; and
//! somebody who makes things fail.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{LogSink, LogSpout, LogSpoutConfig, SourceProgress};
use topo_core::log::{Consumed, Log, Record, TopicPartition, TopicSpec};
use topo_core::metrics::TransactionSnapshot;
use topo_core::schedule::{Clock, Scheduler, Seeded};
use topo_core::state::State;
use topo_core::{
    Bolt, Config, Delivery, Emitter, Fail, Fault, LaunchError, MicroTransactions, Running, StateSettings,
    TaskContext, Topology,
};
use topo_tests::memory_log::{Call, Fate, MemoryLog};

pub(crate) const IN: &str = "in";
pub(crate) const OUT: &str = "out";
pub(crate) const DEAD: &str = "in.dead-letter";
pub(crate) const NAME: &str = "exact";

/// Where something may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The transactional id is taken over, as the topology starts.
    TakeOver,
    /// A line is fetched.
    Fetch,
    /// A line is split.
    Split,
    /// A word is counted; its count was changed.
    Count,
    /// A counter is started, as at the beginning and whenever everybody goes back.
    Prepare,
    /// An output or a change of state is appended.
    Append,
    /// The offsets are added to the transaction.
    Offsets,
    /// The transaction is committed.
    Commit,
    /// The transaction is committed, and the answer is lost.
    Answer,
    /// The transaction is aborted.
    Abort,
}

/// Decides what fails.
pub(crate) type Decide = Box<dyn FnMut(Step) -> bool + Send>;

/// Makes things fail, at random or as it is told.
#[derive(Clone)]
pub(crate) struct Trouble(Arc<Mutex<Decide>>);

impl Trouble {
    pub(crate) fn none() -> Self {
        Self::new(|_| false)
    }

    pub(crate) fn new(decide: impl FnMut(Step) -> bool + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(decide))))
    }

    /// At most `faults` of all steps, each with a probability of one in `odds`.
    pub(crate) fn random(seed: u64, mut faults: u32, odds: u32) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        Self::new(move |_| {
            let fails = faults > 0 && random.random_ratio(1, odds);
            faults -= u32::from(fails);
            fails
        })
    }

    pub(crate) fn strikes(&self, step: Step) -> bool {
        (*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))(step)
    }
}

/// How the topology is built.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) runtime: Config,
    pub(crate) spout_tasks: usize,
    pub(crate) split_tasks: usize,
    pub(crate) count_tasks: usize,
}

/// A log, and the topology that runs on it, if one does.
pub(crate) struct Lab {
    pub(crate) scheduler: Arc<Seeded>,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) setup: Setup,
    pub(crate) progress: SourceProgress,
    pub(crate) trouble: Trouble,
    lines: Vec<String>,
    running: Option<Running>,
    partitions: u32,
    build: fn(&Self) -> Topology,
}

impl Lab {
    pub(crate) fn new(seed: u64, partitions: u32) -> Self {
        let scheduler = Seeded::new(seed);
        scheduler.set_step_limit(3_000_000);
        let log = Arc::new(MemoryLog::new(scheduler.clone()));
        scheduler.block_on(async {
            let spec = TopicSpec { partitions, ..TopicSpec::default() };
            log.create_topic(IN, &spec).await.unwrap();
            log.create_topic(OUT, &TopicSpec::default()).await.unwrap();
        });
        let runtime = Config {
            seed,
            delivery: Delivery::ExactlyOnce,
            batch_size: 4,
            queue_tuples: 16,
            max_pending: 32,
            transactions: MicroTransactions { batch_records: 12, ..MicroTransactions::default() },
            state: StateSettings {
                log: Some(log.clone() as _),
                changelog_partitions: 2,
                ..StateSettings::default()
            },
            ..Config::default()
        };
        Self {
            scheduler,
            log,
            setup: Setup { runtime, spout_tasks: 1, split_tasks: 2, count_tasks: 2 },
            progress: SourceProgress::default(),
            trouble: Trouble::none(),
            lines: Vec::new(),
            running: None,
            partitions,
            build: Self::word_count,
        }
    }

    /// Has it run another topology.
    pub(crate) fn build(&mut self, build: fn(&Self) -> Topology) {
        self.build = build;
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.scheduler.block_on(future)
    }

    /// Has the log take a random time for each call, and fail as `trouble` says.
    pub(crate) fn trouble(&mut self, seed: u64, trouble: &Trouble) {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x5eed);
        self.trouble = trouble.clone();
        let (trouble, mut is_undecided) = (trouble.clone(), false);
        self.log.judge(move |call| {
            let takes = Duration::from_micros(random.random_range(0..3_000));
            let fails = Fate::fails;
            match call {
                Call::TakeOver(_) => {
                    is_undecided = false;
                    if trouble.strikes(Step::TakeOver) { fails() } else { Fate { takes, ..Fate::default() } }
                }
                Call::Fetch(..) if trouble.strikes(Step::Fetch) => fails(),
                Call::Append(..) if trouble.strikes(Step::Append) => fails(),
                Call::Commit(_) if trouble.strikes(Step::Offsets) => fails(),
                // Asked again after its answer was lost, a log does not say that nothing is committed.
                Call::CommitTransaction if !is_undecided && trouble.strikes(Step::Commit) => fails(),
                Call::CommitTransaction => {
                    is_undecided = trouble.strikes(Step::Answer);
                    if is_undecided { Fate::unanswered() } else { Fate { takes, ..Fate::default() } }
                }
                Call::AbortTransaction if trouble.strikes(Step::Abort) => fails(),
                _ => Fate { takes, ..Fate::default() },
            }
        });
    }

    /// Appends lines to the partitions of `in`, in turn.
    pub(crate) fn feed(&mut self, lines: impl IntoIterator<Item = String>) {
        let mut random = SmallRng::seed_from_u64(self.lines.len() as u64);
        for line in lines {
            let at = TopicPartition::new(IN, random.random_range(0..self.partitions));
            let record = Record { value: Some(line.clone().into()), ..Record::default() };
            // Whoever feeds does not stop at the first failure.
            while self.block_on(self.log.append(&at, vec![record.clone()])).is_err() {}
            self.lines.push(line);
        }
    }

    fn word_count(&self) -> Topology {
        let topology = Topology::new(NAME);
        let log = self.log.clone() as Arc<dyn Log>;
        let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
        let progress = self.progress.clone();
        let spout = move || LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode);
        let lines = topology.spout("lines", spout).tasks(self.setup.spout_tasks);
        let trouble = self.trouble.clone();
        let split = topology.bolt("split", move || Split(trouble.clone()));
        let words = split.tasks(self.setup.split_tasks).shuffle(&lines);
        let trouble = self.trouble.clone();
        let count = topology.bolt("count", move || Count { counts: None, trouble: trouble.clone() });
        let counts = count.tasks(self.setup.count_tasks).key_groups(&words, |word: &String| word);
        let log = self.log.clone() as Arc<dyn Log>;
        let sink = move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, |count| Ok(encode(count)));
        topology.rich_bolt(OUT, sink).global(&counts);
        topology
    }

    pub(crate) fn try_launch(&mut self) -> Result<(), LaunchError> {
        let launch = (self.build)(self).launch(self.scheduler.clone(), self.setup.runtime.clone());
        self.running = Some(self.block_on(launch)?);
        Ok(())
    }

    /// Launches, however often the log has to be asked.
    pub(crate) fn launch(&mut self) {
        for _ in 0..20 {
            if self.try_launch().is_ok() {
                return;
            }
            self.progress = SourceProgress::default();
        }
        panic!("it does not start");
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("a topology runs")
    }

    pub(crate) fn numbers(&self) -> TransactionSnapshot {
        self.running().snapshot().transactions.unwrap()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, duration: Duration) {
        self.block_on(self.scheduler.sleep_until(self.scheduler.now().after(duration)));
    }

    /// Waits until all that `in` holds is committed.
    pub(crate) fn finish(&self) {
        self.block_on(self.committed_all());
    }

    pub(crate) async fn committed_all(&self) {
        let mut ends = Vec::new();
        for number in 0..self.partitions {
            let at = TopicPartition::new(IN, number);
            let end = self.log.offsets(&at).await.unwrap().log_end;
            ends.push((at, end));
        }
        self.progress.reached(&ends).await;
    }

    /// Drains and stops.
    pub(crate) fn stop(&mut self) {
        let running = self.running.take().expect("a topology runs");
        self.block_on(running.kill(Duration::from_secs(3_600))).unwrap();
        self.scheduler.run_until_stalled();
        assert_eq!(self.scheduler.unfinished(), [], "a task outlived its topology");
    }

    /// Kills the process: nothing is closed, and what the next topology knows is in the log.
    pub(crate) fn crash(&mut self) {
        self.scheduler.abandon();
        self.running = None;
        self.progress = SourceProgress::default();
    }

    /// Demands that the outputs are those of `in`: each word counted from 1 up, once for each time it was written, but for
    /// the lines that were given up, each of which is a dead letter once.
    pub(crate) fn demand_truth(&self, given_up: impl Fn(&str) -> bool) {
        let mut truth: BTreeMap<&str, u64> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| !given_up(line)) {
            line.split_whitespace().for_each(|word| *truth.entry(word).or_default() += 1);
        }
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for record in self.log.records(OUT, 0) {
            let (word, count) = (text(record.key), text(record.value));
            let last = seen.entry(word.clone()).or_default();
            assert_eq!(count, (*last + 1).to_string(), "the next count of `{word}`");
            *last += 1;
        }
        let words: BTreeSet<&str> = truth.keys().copied().chain(seen.keys().map(String::as_str)).collect();
        for word in words {
            assert_eq!(seen.get(word), truth.get(word), "counts of `{word}` seen and true");
        }
        let mut dead: Vec<String> =
            self.log.records(DEAD, 0).into_iter().map(|one| text(one.value)).collect();
        let mut expected: Vec<String> = self.lines.iter().filter(|line| given_up(line)).cloned().collect();
        dead.sort();
        expected.sort();
        assert_eq!(dead, expected, "dead letters");
    }
}

impl Lab {
    /// Demands that each word is counted from 1 up.
    pub(crate) fn demand_truth_so_far(&self) {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for record in self.log.records(OUT, 0) {
            let last = seen.entry(text(record.key)).or_default();
            assert_eq!(text(record.value), (*last + 1).to_string());
            *last += 1;
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
    let first = std::env::var("TOPO_FIRST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let seeds = std::env::var("TOPO_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(seeds);
    for seed in first..first + seeds {
        let _told = Told(seed);
        scenario(seed);
    }
}

pub(crate) fn text(bytes: Option<bytes::Bytes>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

pub(crate) fn decode(record: &Consumed) -> Result<String, Fail> {
    match text(record.value.clone()) {
        line if line.starts_with("garbled") => Err(Fail::reject("it is garbled")),
        line => Ok(line),
    }
}

pub(crate) fn encode((word, count): &(String, u64)) -> Record {
    let (key, value) = (Some(word.clone().into()), Some(count.to_string().into()));
    Record { key, value, ..Record::default() }
}

/// Lines of a few words that occur again and again.
pub(crate) fn lines(seed: u64, count: usize) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let line = |_| {
        let words = random.random_range(0..5);
        let words = (0..words).map(|_| format!("w{}", random.random_range(0..9)));
        words.collect::<Vec<_>>().join(" ")
    };
    (0..count).map(line).collect()
}

pub(crate) struct Split(pub(crate) Trouble);

impl Bolt for Split {
    type In = String;
    type Out = String;

    async fn execute(&mut self, line: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        if line.starts_with("poison") {
            return Err(Fail::reject("poison"));
        }
        for word in line.split_whitespace() {
            out.emit(word.to_owned());
        }
        if self.0.strikes(Step::Split) {
            panic!("the splitter breaks");
        }
        Ok(())
    }
}

pub(crate) struct Count {
    pub(crate) counts: Option<State<String, u64>>,
    pub(crate) trouble: Trouble,
}

impl Bolt for Count {
    type In = String;
    type Out = (String, u64);

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        if self.trouble.strikes(Step::Prepare) {
            return Err("the counter does not start".into());
        }
        self.counts = Some(task.state("counts").await?);
        Ok(())
    }

    async fn execute(&mut self, word: String, out: &mut Emitter<(String, u64)>) -> Result<(), Fail> {
        let counts = self.counts.as_mut().ok_or_else(|| Fail::retry("not prepared"))?;
        let count = counts.update(&word, |count| {
            *count += 1;
            *count
        })?;
        out.emit((word.clone(), count));
        if word.starts_with("bad") {
            return Err(Fail::reject("bad"));
        }
        if self.trouble.strikes(Step::Count) {
            return Err(Fail::retry("the counter fails"));
        }
        Ok(())
    }
}
