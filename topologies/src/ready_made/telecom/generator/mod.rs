//! Days of a mobile network of which the truth is known, written to the log exactly once.
//!
//! A day is told in one order, whatever the run. Every record carries its place in it, and a run that is killed and started
//! again leaves out, in each partition, what is there already. Before a use is appended, all changes are durable that were
//! told before it.

mod position;
mod simulation;
mod truth;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use topo_core::log::{FetchLimit, Log, LogError, Record, TopicPartition};
use topo_protocol::partition_for_key;

pub use truth::{Truth, TruthLine};

use self::position::Position;
use self::simulation::{Simulation, Told};
use super::{NETWORK, SUBSCRIBERS, topics};

/// Tellings between two appends. Where a run was killed, one partition may be so far behind the others: ten seconds of a day,
/// which the allowed lateness covers beside the longest delay.
const BLOCK: usize = 1_000;

/// Records that are looked at first for the newest position of a partition.
const LOOK_BACK: i64 = 64;

/// Why a day was not written whole.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The log refused or failed. What it holds already is left out when the day is generated again.
    #[error("{source}; {written} records or more were written, and the same command goes on behind them")]
    Log {
        /// Records that this run wrote at least.
        written: u64,
        /// What the log said.
        source: LogError,
    },
    /// The same day, of another length, is in the log.
    #[error(
        "topic `{topic}` holds the day of seed {seed} with {held} events already; go on with --events {held}, or give \
         another seed"
    )]
    OtherLength {
        /// The topic.
        topic: &'static str,
        /// The seed.
        seed: u64,
        /// How many events that day has.
        held: u64,
    },
}

/// A generator of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generator {
    seed: u64,
    uses: u64,
}

/// What became of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Records that were appended.
    pub written: u64,
    /// Records that were there already.
    pub held: u64,
    /// What is true of the day.
    pub truth: Truth,
}

impl Generator {
    /// The day of `seed`, with so many uses of the network. It is the day with the number `seed`, from the beginning of 2025
    /// on, so that the day of a larger seed may follow in the same log.
    pub fn new(seed: u64, uses: u64) -> Self {
        Self { seed, uses }
    }

    /// Writes what `log` does not have of the day, and returns once all is durable. Creates the topics that are not there;
    /// `tell` hears of records as they are durable or found to be there. One run at a time may write a day.
    ///
    /// # Errors
    /// [`GenerateError`]; the same day may be written again then, and goes on.
    pub async fn write(&self, log: &dyn Log, mut tell: impl FnMut(u64)) -> Result<Written, GenerateError> {
        let failed = |written| move |source| GenerateError::Log { written, source };
        create_topics(log).await.map_err(failed(0))?;
        let mut subscribers = self.target(log, SUBSCRIBERS).await?;
        let mut network = self.target(log, NETWORK).await?;
        let (mut simulation, key) = (Simulation::new(self.seed, self.uses), Position::key());
        let (mut written, mut held, mut index) = (0, 0, 0);
        loop {
            let before = index;
            for told in simulation.by_ref().take(BLOCK) {
                let header = Position { seed: self.seed, uses: self.uses, index }.header(&key);
                let target = if matches!(told, Told::Use(_)) { &mut network } else { &mut subscribers };
                held += u64::from(!target.stage(index, Record { headers: vec![header], ..record(told) }));
                index += 1;
            }
            if index == before {
                break;
            }
            written += subscribers.append(log).await.map_err(failed(written))?;
            written += network.append(log).await.map_err(failed(written))?;
            tell(index - before);
        }
        Ok(Written { written, held, truth: simulation.into_truth() })
    }

    /// A topic, and what it has of the day.
    async fn target(&self, log: &dyn Log, topic: &'static str) -> Result<Target, GenerateError> {
        let failed = |source| GenerateError::Log { written: 0, source };
        let info = log.topic(topic).await.map_err(failed)?;
        let info = info.ok_or_else(|| failed(LogError::UnknownTopic(topic.into())))?;
        let mut parts = Vec::new();
        for number in 0..info.partitions {
            let at = TopicPartition::new(Arc::clone(&info.name), number);
            let newest = self.newest(log, &at).await.map_err(failed)?;
            if let Some(other) = newest.filter(|newest| newest.uses != self.uses) {
                return Err(GenerateError::OtherLength { topic, seed: self.seed, held: other.uses });
            }
            parts.push(Part { at, newest: newest.map(|newest| newest.index), waiting: Vec::new() });
        }
        Ok(Target(parts))
    }

    /// The newest position of the day in a partition, looked for from its end.
    async fn newest(&self, log: &dyn Log, at: &TopicPartition) -> Result<Option<Position>, LogError> {
        let held = log.offsets(at).await?;
        let (mut end, mut back) = (held.high_watermark, LOOK_BACK);
        while end > held.log_start {
            let begin = end.saturating_sub(back).max(held.log_start);
            let (mut next, mut newest) = (begin, None);
            while next < end {
                let fetched = log.fetch(at, next, FetchLimit::default()).await?;
                let mut positions = fetched.records.iter().rev().filter_map(Position::of);
                newest = positions.find(|position| position.seed == self.seed).or(newest);
                if fetched.next_offset <= next {
                    return Err(LogError::Unavailable(format!("{at} gives nothing at offset {next}")));
                }
                next = fetched.next_offset;
            }
            if newest.is_some() {
                return Ok(newest);
            }
            (end, back) = (begin, back.saturating_mul(4));
        }
        Ok(None)
    }
}

/// Creates those of the pipeline's topics that are not there.
async fn create_topics(log: &dyn Log) -> Result<(), LogError> {
    for (topic, spec) in topics() {
        if log.topic(topic).await?.is_none() {
            match log.create_topic(topic, &spec).await {
                // Another process may have come first.
                Ok(()) | Err(LogError::TopicExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What is told, as a record.
fn record(told: Told) -> Record {
    let (key, at, value) = match told {
        Told::Use(used) => (used.subscriber.clone(), used.at, rmp_serde::to_vec_named(&used).ok()),
        Told::Change { subscriber, at, row } => {
            (subscriber, at, row.and_then(|row| rmp_serde::to_vec_named(&row).ok()))
        }
    };
    // A struct of strings and numbers always serializes.
    Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(Bytes::from),
        headers: Vec::new(),
        timestamp_ms: Some(at),
    }
}

/// A topic that takes records.
struct Target(Vec<Part>);

struct Part {
    at: TopicPartition,
    /// The place in the day of the newest record that was there.
    newest: Option<u64>,
    waiting: Vec<Record>,
}

impl Target {
    /// Takes a record unless its partition has it; `false` where it does.
    fn stage(&mut self, index: u64, record: Record) -> bool {
        let key = record.key.as_deref().unwrap_or_default();
        let partition = partition_for_key(key, self.0.len() as u32);
        let part = &mut self.0[partition as usize];
        let is_new = part.newest.is_none_or(|newest| newest < index);
        if is_new {
            part.waiting.push(record);
        }
        is_new
    }

    /// Appends what was taken, to all partitions at once.
    async fn append(&mut self, log: &dyn Log) -> Result<u64, LogError> {
        let appends = self.0.iter_mut().filter(|part| !part.waiting.is_empty()).map(async |part| {
            let records = std::mem::take(&mut part.waiting);
            let count = records.len() as u64;
            log.append(&part.at, records).await.map(|_| count)
        });
        Ok(try_join_all(appends).await?.into_iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::{Call, Fate, MemoryLog};

    use super::*;

    fn memory_log() -> MemoryLog {
        MemoryLog::new(Arc::new(TokioScheduler::current()))
    }

    /// A record without its offset: partition, key, value, time and position.
    type Held = (u32, Option<Bytes>, Option<Bytes>, i64, String);

    /// All that a log holds, partition by partition.
    fn all(log: &MemoryLog) -> Vec<Held> {
        let parts = [(NETWORK, 4), (SUBSCRIBERS, 1)];
        let each = parts.into_iter().flat_map(|(topic, count)| (0..count).map(move |number| (topic, number)));
        let of = |(topic, number)| {
            log.records(topic, number).into_iter().map(move |record| {
                let position = Position::of(&record).map(|position| format!("{position:?}"));
                (number, record.key, record.value, record.timestamp_ms, position.unwrap())
            })
        };
        each.flat_map(of).collect()
    }

    #[tokio::test]
    async fn killed_at_any_append_a_day_is_in_the_log_once_and_in_order() {
        let whole = memory_log();
        let generator = Generator::new(5, 4_000);
        let written = generator.write(&whole, |_| ()).await.unwrap();
        assert_eq!((written.written, written.held), (all(&whole).len() as u64, 0));

        let log = memory_log();
        let (mut runs, mut told) = (0, 0);
        let truth = loop {
            runs += 1;
            // In each run another append is the first to fail.
            let (mut appends, fails) = (0, runs % 5 + 2);
            log.judge(move |call| {
                let is_append = matches!(call, Call::Append(..));
                appends += u32::from(is_append);
                if is_append && appends >= fails { Fate::fails() } else { Fate::default() }
            });
            match generator.write(&log, |more| told += more).await {
                Ok(written) => break written.truth,
                Err(GenerateError::Log { .. }) => assert!(runs < 100, "no progress"),
                Err(other) => panic!("{other}"),
            }
        };
        assert!(runs > 3 && told > 4_000, "{runs} runs");
        assert_eq!(truth, written.truth);
        assert_eq!(all(&log), all(&whole));

        log.be_kind();
        let again = generator.write(&log, |_| ()).await.unwrap();
        assert_eq!((again.written, again.held), (0, written.written));
        assert_eq!(all(&log).len(), all(&whole).len());
    }

    #[tokio::test]
    async fn days_follow_each_other_and_one_cannot_have_two_lengths() {
        let log = memory_log();
        let first = Generator::new(1, 1_000).write(&log, |_| ()).await.unwrap();
        assert!(Generator::new(2, 1_000).write(&log, |_| ()).await.unwrap().written > 1_000);
        let again = Generator::new(1, 1_000).write(&log, |_| ()).await.unwrap();
        assert_eq!((again.written, again.held), (0, first.written), "it is found behind another day");
        let refused = Generator::new(1, 2_000).write(&log, |_| ()).await.unwrap_err();
        assert!(refused.to_string().contains("go on with --events 1000"), "{refused}");
    }
}
