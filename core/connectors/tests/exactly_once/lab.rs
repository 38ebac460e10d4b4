//! A word count that has to be exact: topic `in` of lines, a bolt that splits, one that counts in its state, topic `out`; and
//! somebody who makes things fail.

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{LogSink, LogSpout, LogSpoutConfig, SourceProgress};
use topo_core::log::{Log, Record, TopicPartition, TopicSpec};
use topo_core::metrics::TransactionSnapshot;
use topo_core::schedule::{Clock, Scheduler, Seeded};
use topo_core::{Config, Delivery, LaunchError, MicroTransactions, Running, StateSettings, Topology};
use topo_tests::memory_log::MemoryLog;

use crate::tally::Tally;
use crate::trouble::Trouble;
use crate::word_count::{Breaking, Count, Split, decode, encode};

pub(crate) const IN: &str = "in";
pub(crate) const OUT: &str = "out";
pub(crate) const DEAD: &str = "in.dead-letter";
pub(crate) const NAME: &str = "exact";

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
    build: Rc<dyn Fn(&Self) -> Topology>,
    tally: Tally,
}

impl Lab {
    pub(crate) fn new(seed: u64, partitions: u32) -> Self {
        let scheduler = Seeded::new(seed);
        Trouble::none().be_here();
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
            build: Rc::new(Self::word_count),
            tally: Tally { runs: 1, ..Tally::default() },
        }
    }

    /// Has it run another topology.
    pub(crate) fn build(&mut self, build: impl Fn(&Self) -> Topology + 'static) {
        self.build = Rc::new(build);
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.scheduler.block_on(future)
    }

    /// Has the log take a random time for each call, and all of it fail as `trouble` says.
    pub(crate) fn trouble(&mut self, seed: u64, trouble: &Trouble) {
        self.trouble = trouble.clone();
        trouble.be_here();
        self.log.judge(trouble.judge(seed));
    }

    /// Appends lines to the partitions of `in`, in turn.
    pub(crate) fn feed(&mut self, lines: impl IntoIterator<Item = String>) {
        let mut random = SmallRng::seed_from_u64(self.lines.len() as u64);
        for line in lines {
            self.feed_to(random.random_range(0..self.partitions), line.clone());
            self.lines.push(line);
        }
    }

    /// Appends a line to this partition of `in`.
    pub(crate) fn feed_to(&self, partition: u32, line: String) {
        let at = TopicPartition::new(IN, partition);
        let record = Record { value: Some(line.into()), ..Record::default() };
        // Whoever feeds does not stop at the first failure.
        while self.block_on(self.log.append(&at, vec![record.clone()])).is_err() {}
    }

    fn word_count(&self) -> Topology {
        let topology = Topology::new(NAME);
        let log = self.log.clone() as Arc<dyn Log>;
        let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
        let progress = self.progress.clone();
        let trouble = self.trouble.clone();
        let spout = move || Breaking {
            spout: LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode),
            trouble: trouble.clone(),
        };
        let lines = topology.spout("lines", spout).tasks(self.setup.spout_tasks);
        let trouble = self.trouble.clone();
        let split = topology.bolt("split", move || Split(trouble.clone()));
        let words = split.tasks(self.setup.split_tasks).shuffle(&lines);
        let trouble = self.trouble.clone();
        let count = topology.bolt("count", move || Count::new(trouble.clone()));
        let counts = count.tasks(self.setup.count_tasks).key_groups(&words, |word: &String| word);
        let log = self.log.clone() as Arc<dyn Log>;
        let sink = move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, |count| Ok(encode(count)));
        topology.rich_bolt(OUT, sink).global(&counts);
        topology
    }

    pub(crate) fn try_launch(&mut self) -> Result<(), LaunchError> {
        let build = Rc::clone(&self.build);
        let launch = build(self).launch(self.scheduler.clone(), self.setup.runtime.clone());
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
        self.note_numbers();
        let running = self.running.take().expect("a topology runs");
        self.block_on(running.kill(Duration::from_secs(3_600))).unwrap();
        self.scheduler.run_until_stalled();
        assert_eq!(self.scheduler.unfinished(), [], "a task outlived its topology");
    }

    /// Kills the process: nothing is closed, and what the next topology knows is in the log.
    pub(crate) fn crash(&mut self) {
        self.note_numbers();
        self.tally.kills += 1;
        self.scheduler.abandon();
        self.running = None;
        self.progress = SourceProgress::default();
    }

    fn note_numbers(&mut self) {
        if let Some(running) = &self.running
            && let Some(numbers) = running.snapshot().transactions
        {
            self.tally.batches += numbers.commits;
            self.tally.aborts += numbers.aborts;
        }
    }

    /// What was run here so far.
    pub(crate) fn numbers_so_far(&self) -> Tally {
        self.tally
    }

    /// What was run here, beside what is not as it has to be.
    pub(crate) fn tally(&self, given_up: impl Fn(&str) -> bool) -> Tally {
        let mut tally = self.tally;
        let mut truth: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut words: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &self.lines {
            if given_up(line) {
                *truth.entry((DEAD.to_owned(), line.clone())).or_default() += 1;
                continue;
            }
            for word in line.split_whitespace() {
                let count = words.entry(word).or_default();
                *count += 1;
                *truth.entry((word.to_owned(), count.to_string())).or_default() += 1;
            }
        }
        let counts = self.log.records(OUT, 0).into_iter().map(|one| (text(one.key), text(one.value)));
        let letters = self.log.records(DEAD, 0).into_iter().map(|one| (DEAD.to_owned(), text(one.value)));
        for seen in counts.chain(letters) {
            match truth.get_mut(&seen) {
                Some(left @ 1..) => *left -= 1,
                _ => tally.duplicated += 1,
            }
        }
        tally.lost += truth.values().sum::<u64>();
        tally
    }

    /// Demands that the outputs are those of `in`: each word counted from 1 up, once for each time it was written, but for
    /// the lines that were given up, each of which is a dead letter once. What was run.
    pub(crate) fn demand_truth(&self, given_up: impl Fn(&str) -> bool) -> Tally {
        self.demand_truth_so_far();
        let tally = self.tally(given_up);
        assert_eq!((tally.lost, tally.duplicated), (0, 0), "records lost and duplicated");
        tally
    }

    /// Demands that each word is counted from 1 up.
    pub(crate) fn demand_truth_so_far(&self) {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for record in self.log.records(OUT, 0) {
            let (word, count) = (text(record.key), text(record.value));
            let last = seen.entry(word.clone()).or_default();
            assert_eq!(count, (*last + 1).to_string(), "the next count of `{word}`");
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

pub(crate) fn text(bytes: Option<bytes::Bytes>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
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
