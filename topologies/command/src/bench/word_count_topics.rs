//! The word count from topic to topic, on an embedded log of its own: how fast it goes through what is there, and how long
//! a record takes from its append until what it led to can be read.
//!
//! Both deliveries run the same bolts, with counts kept as state, so that what differs is what delivery costs. The rate is that of
//! lines that wait in the topic, over the time from the launch until their offsets are committed. The latency is taken at a
//! rate of lines that the topology keeps up with: now and then a line has a word that tells when it was appended, and a
//! reader of what is committed waits for that word's count.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::Serialize;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo::launcher::{Durability, duration};
use topo::ready_made::word_count::{CountInState, Line, Split, Word, WordCount};
use topo_broker::BrokerConfig;
use topo_connectors::{LogSink, LogSpout, LogSpoutConfig, SourceProgress};
use topo_core::log::{Consumed, FetchLimit, Log, LogError, Record, TopicPartition, TopicSpec};
use topo_core::schedule::TokioScheduler;
use topo_core::{Config, Delivery, Fail, MicroTransactions, Running, StateSettings, Topology};

use super::{cpu_seconds, print};
use crate::failure::Failure;

const LINES: &str = "lines";
const COUNTS: &str = "counts";
const NAME: &str = "word-count-topics";

/// Words of a line.
const WORDS: usize = 9;
/// Lines of one append.
const LINES_PER_APPEND: u64 = 1_000;
/// How often lines are appended while the latency is taken; the first of them tells the time.
const TICK: Duration = Duration::from_millis(2);
/// What a word that tells the time begins with; no other does.
const STAMP: char = '@';
/// How long the topology may take to come to the end of what was appended.
const LONGEST: Duration = Duration::from_secs(120);

/// How to measure it.
#[derive(Debug, Args)]
pub(super) struct WordCountTopics {
    /// What becomes of a line whose tree does not complete
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    delivery: Mode,
    /// How long a micro-transaction gathers input, under `--delivery exactly-once`
    #[arg(long, value_parser = duration, default_value = "100ms", value_name = "D")]
    batch_interval: Duration,
    /// When records are synced to disk
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    durability: Synced,
    /// Lines that wait in the topic where the rate is taken; 0 leaves the rate out
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    lines: u64,
    /// Different words that the lines are made of; the first ones are the most frequent
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    vocabulary: u64,
    /// Lines that are appended in a second where the latency is taken
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How long the latency is taken, after a second to settle; 0 leaves it out
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    seconds: f64,
    /// Where to write: into a directory of its own there, which is removed at the end
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// What fails is replayed
    AtLeastOnce,
    /// Outputs, changes of state and offsets are committed together, in batches
    #[default]
    ExactlyOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Synced {
    /// Before they are acknowledged
    #[default]
    Fsync,
    /// When the system pleases
    Os,
}

/// What a run gave.
#[derive(Debug, Default, Serialize)]
struct Report {
    workload: &'static str,
    delivery: Mode,
    batch_interval_ms: Option<f64>,
    durability: Synced,
    lines: u64,
    seconds: Option<f64>,
    lines_per_second: Option<f64>,
    cpu_seconds: Option<f64>,
    transactions: Option<u64>,
    rate: Option<u64>,
    samples: u64,
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    latency_max_ms: Option<f64>,
}

impl WordCountTopics {
    /// Measures, and prints what came of it.
    ///
    /// # Errors
    /// [`Failure`]: the log or the topology refused, or nobody reads.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let dir = tempfile::Builder::new().prefix("topo-bench-").tempdir_in(&self.data_dir);
        let dir = dir.map_err(Failure::System)?;
        let mut broker = BrokerConfig::default();
        broker.topic_defaults.durability = match self.durability {
            Synced::Fsync => Durability::Fsync,
            Synced::Os => Durability::Os,
        };
        let config = EmbeddedConfig { broker, ..EmbeddedConfig::default() };
        let clock = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(dir.path().join("data"), config, clock)?;
        let measured = self.measure(&log).await;
        let closed = log.close().await;
        let report = measured?;
        closed?;
        self.tell(&report)
    }

    async fn measure(&self, log: &EmbeddedLog) -> Result<Report, Failure> {
        for topic in [LINES, COUNTS] {
            log.create_topic(topic, &TopicSpec::default()).await?;
        }
        let mut feed = Feed { log: log.clone(), vocabulary: self.vocabulary, random: 1, appended: 0 };
        let is_exactly_once = self.delivery == Mode::ExactlyOnce;
        let mut report = Report {
            workload: NAME,
            delivery: self.delivery,
            batch_interval_ms: is_exactly_once.then_some(self.batch_interval.as_secs_f64() * 1e3),
            durability: self.durability,
            lines: self.lines,
            ..Report::default()
        };
        while feed.appended < self.lines {
            feed.append(LINES_PER_APPEND.min(self.lines - feed.appended), None).await?;
        }
        let (begun, cpu) = (Instant::now(), cpu_seconds()?);
        let (running, progress) = self.launch(log).await?;
        feed.done(&progress, &running).await?;
        if self.lines > 0 {
            let seconds = begun.elapsed().as_secs_f64();
            report.seconds = Some(seconds);
            report.lines_per_second = Some(self.lines as f64 / seconds);
            report.cpu_seconds = Some(cpu_seconds()? - cpu);
        }
        report.transactions = running.snapshot().transactions.map(|numbers| numbers.commits);
        if self.seconds > 0.0 {
            self.latency(&mut feed, &mut report).await?;
            feed.done(&progress, &running).await?;
        }
        let stopped = running.kill(LONGEST).await;
        stopped.map_err(|error| Failure::Topology(error.to_string()))?;
        Ok(report)
    }

    async fn launch(&self, log: &EmbeddedLog) -> Result<(Running, SourceProgress), Failure> {
        let (shared, progress) = (Arc::new(log.clone()) as Arc<dyn Log>, SourceProgress::default());
        let config = Config {
            delivery: match self.delivery {
                Mode::AtLeastOnce => Delivery::AtLeastOnce,
                Mode::ExactlyOnce => Delivery::ExactlyOnce,
            },
            transactions: MicroTransactions { interval: self.batch_interval, ..MicroTransactions::default() },
            state: StateSettings { log: Some(Arc::clone(&shared)), ..StateSettings::default() },
            ..Config::default()
        };
        let topology = topology(&shared, &progress);
        let launched = topology.launch(Arc::new(TokioScheduler::current()), config).await;
        Ok((launched.map_err(|error| Failure::Topology(error.to_string()))?, progress))
    }

    /// Appends lines at the rate that was asked for, and reads what came of those that tell the time.
    async fn latency(&self, feed: &mut Feed, report: &mut Report) -> Result<(), Failure> {
        let origin = Instant::now();
        let settled = origin + Duration::from_secs(1);
        let until = settled + Duration::from_secs_f64(self.seconds.clamp(0.0, 3_600.0));
        let counts = TopicPartition::new(COUNTS, 0);
        let (log, from) = (feed.log.clone(), feed.log.offsets(&counts).await?.high_watermark);
        let reading = tokio::spawn(async move { read(&log, &counts, from, origin, settled).await });
        let (mut at, mut owed) = (origin, 0.0);
        let mut stamps = 0;
        while Instant::now() < until {
            tokio::time::sleep_until(at.into()).await;
            let now = Instant::now();
            owed += self.rate as f64 * now.duration_since(at).saturating_add(TICK).as_secs_f64();
            at = now + TICK;
            let lines = owed.floor();
            owed -= lines;
            feed.append((lines as u64).max(1), Some(now.duration_since(origin))).await?;
            stamps += 1;
        }
        feed.append(1, Some(Duration::MAX)).await?;
        let read = tokio::time::timeout(LONGEST, reading).await;
        let read = read.map_err(|_| Failure::Topology("the last count is not committed".to_owned()))?;
        let histogram = read.map_err(|error| Failure::Topology(error.to_string()))??;
        let at =
            |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3);
        (report.rate, report.samples) = (Some(self.rate), histogram.len().min(stamps));
        (report.latency_p50_ms, report.latency_p99_ms, report.latency_max_ms) = (at(0.5), at(0.99), at(1.0));
        Ok(())
    }

    fn tell(&self, report: &Report) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string(report).map_err(|error| Failure::System(error.into()))?;
            return print(&json);
        }
        let mut line = format!("{NAME} ({:?}, {:?}):", self.delivery, self.durability);
        if let Some(rate) = report.lines_per_second {
            line += &format!(" {rate:.0} lines/s");
        }
        if let (Some(median), Some(high)) = (report.latency_p50_ms, report.latency_p99_ms) {
            line += &format!("; at {} lines/s p50 {median:.1} ms, p99 {high:.1} ms", self.rate);
        }
        print(&line)
    }
}

/// Times from the append of a line until the count of its word can be read, in microseconds; of those that were appended from
/// `settled` on, up to the last.
async fn read(
    log: &EmbeddedLog,
    counts: &TopicPartition,
    from: i64,
    origin: Instant,
    settled: Instant,
) -> Result<Histogram<u64>, LogError> {
    let mut times = Histogram::new(3).map_err(|error| LogError::Invalid(error.to_string()))?;
    let settled = settled.duration_since(origin);
    let limit = FetchLimit { max_wait: Duration::from_secs(1), ..FetchLimit::default() };
    let mut next = from;
    loop {
        let fetched = log.fetch(counts, next, limit).await?;
        let now = origin.elapsed();
        next = fetched.next_offset;
        for record in &fetched.records {
            let word = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            let Some(nanos) = word.and_then(|word| word.strip_prefix(STAMP)?.parse().ok()) else { continue };
            if nanos == u64::MAX {
                return Ok(times);
            }
            let appended = Duration::from_nanos(nanos);
            if appended >= settled {
                times.saturating_record(now.saturating_sub(appended).as_micros() as u64);
            }
        }
    }
}

/// Appends lines.
struct Feed {
    log: EmbeddedLog,
    vocabulary: u64,
    random: u64,
    appended: u64,
}

impl Feed {
    /// Appends so many lines, the first of which has a word for `stamp`, the time.
    async fn append(&mut self, lines: u64, stamp: Option<Duration>) -> Result<(), Failure> {
        let mut records = Vec::with_capacity(lines as usize);
        for number in 0..lines {
            let mut line = String::with_capacity(80);
            if let Some(stamp) = stamp.filter(|_| number == 0) {
                let nanos = u64::try_from(stamp.as_nanos()).unwrap_or(u64::MAX);
                line += &format!("{STAMP}{nanos} ");
            }
            for _ in 0..WORDS {
                line += &format!("w{} ", self.word());
            }
            records.push(Record { value: Some(Bytes::from(line)), ..Record::default() });
        }
        self.log.append(&TopicPartition::new(LINES, 0), records).await?;
        self.appended += lines;
        Ok(())
    }

    /// A word's number: one of the first half of the vocabulary in four of five times, of its first half in four of five of
    /// those, and so on.
    fn word(&mut self) -> u64 {
        let mut most = self.vocabulary;
        loop {
            // SplitMix64.
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            if mixed.is_multiple_of(5) || most <= 1 {
                return (mixed / 5) % most;
            }
            most /= 2;
        }
    }

    /// Waits until all that was appended is done and committed.
    async fn done(&self, progress: &SourceProgress, running: &Running) -> Result<(), Failure> {
        let at = TopicPartition::new(LINES, 0);
        let end = self.log.offsets(&at).await?.high_watermark;
        let ends = [(at, end)];
        let reached = pin!(progress.reached(&ends));
        tokio::select! {
            () = reached => Ok(()),
            why = running.stopped_itself() => Err(Failure::Topology(why.to_string())),
            () = tokio::time::sleep(LONGEST) => Err(Failure::Topology("the lines are not done".to_owned())),
        }
    }
}

fn topology(log: &Arc<dyn Log>, progress: &SourceProgress) -> Topology {
    let topology = Topology::new(NAME);
    let (from, progress) = (Arc::clone(log), progress.clone());
    let spout =
        move || LogSpout::new(Arc::clone(&from), LogSpoutConfig::new(LINES, NAME), progress.clone(), line);
    let lines = topology.spout("lines", spout);
    let words = topology.bolt("split", || Split).tasks(2).shuffle(&lines);
    let own = Arc::clone(log);
    let count = move || CountInState::new(Arc::clone(&own), COUNTS);
    let counts = topology.bolt("count", count).tasks(2).key_groups(&words, |word: &Word| &word.word);
    let to = Arc::clone(log);
    let sink = move || LogSink::new(Arc::clone(&to), COUNTS, |_, _| 0, |count| Ok(record(count)));
    topology.rich_bolt(COUNTS, sink).global(&counts);
    topology
}

fn line(record: &Consumed) -> Result<Line, Fail> {
    let bytes = record.value.as_deref().unwrap_or_default();
    Ok(Line { text: String::from_utf8_lossy(bytes).into_owned() })
}

fn record(count: &WordCount) -> Record {
    let key = Some(Bytes::copy_from_slice(count.word.as_bytes()));
    Record { key, value: Some(Bytes::from(count.count.to_string())), ..Record::default() }
}
