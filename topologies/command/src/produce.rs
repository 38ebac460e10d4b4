//! `topo produce`: the lines of standard input become records.
//!
//! Invariant: the lines of one partition are appended in the order read, and a batch is appended only after all of the
//! one before it was acknowledged.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use topo_connectors::gather::{self, BadInput, MAX_LINE_BYTES};
use topo_core::log::{Log, LogError, Record, TopicPartition};
use topo_protocol::partition_for_key;

use crate::failure::Failure;
use crate::format::Separator;
use crate::place::{self, Place};
use crate::progress::Progress;

/// A batch is appended when it has so many bytes, or when no further line is there yet.
const BATCH_BYTES: usize = 1 << 20;

/// Records without a key stay with a partition for so many bytes, as with Kafka's producer.
const STICKY_BYTES: usize = 16 << 10;

/// `topo produce`.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Each line is one record, an empty line one with an empty value. A keyed record goes to the partition that Kafka's \
producers pick for its key; records without a key fill the partitions in turn, beginning with the shortest. The command \
ends when all lines are acknowledged.\n\n{}", place::HELP))]
pub(crate) struct Produce {
    /// The topic
    topic: String,
    /// What stands between key and value, such as `:` or `\t`; a line without it has no key
    #[arg(short = 'K', long, value_name = "SEP")]
    key_separator: Option<Separator>,
    /// Append to this partition only
    #[arg(short, long)]
    partition: Option<u32>,
    #[command(flatten)]
    place: Place,
}

impl Produce {
    /// Appends standard input's lines.
    ///
    /// # Errors
    /// Those of the log and of standard input.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let opened = self.place.open().await?;
        let ended = self.append_all(&opened.log, io::stdin()).await;
        let lines = opened.close(ended).await?;
        tracing::info!(lines, topic = self.topic, "all lines are in the log");
        Ok(())
    }

    /// Appends the lines of `input` and returns how many there were.
    async fn append_all(
        &self,
        log: &Arc<dyn Log>,
        input: impl Read + Send + 'static,
    ) -> Result<u64, Failure> {
        let mut partitions = Partitions::of(&**log, &self.topic, self.partition).await?;
        let mut blocks = gather::blocks(input).map_err(Failure::System)?;
        let mut acknowledged = 0;
        let mut progress = Progress::new(None, &io::stdin());
        while let Some(block) = blocks.recv().await {
            let (batch, bad) = with_waiting(block, &mut blocks);
            let mut taken = 0;
            for line in batch.iter().flat_map(gather::lines) {
                partitions.place(self.record(line));
                taken += 1;
            }
            let appended = partitions.append(log).await;
            appended.map_err(|source| Failure::Interrupted { acknowledged, source })?;
            acknowledged += taken;
            progress.add(taken);
            match bad {
                None => {}
                Some(BadInput::Io(error)) => return Err(Failure::Input(error)),
                Some(BadInput::LongLine) => {
                    let line = acknowledged + 1;
                    return Err(Failure::LongLine { line, most: MAX_LINE_BYTES, acknowledged });
                }
            }
        }
        Ok(acknowledged)
    }

    fn record(&self, line: Bytes) -> Record {
        match self.key_separator.as_ref().and_then(|separator| separator.split(&line)) {
            Some((key, value)) => {
                Record { key: Some(line.slice(..key)), value: Some(line.slice(value..)), ..Record::default() }
            }
            None => Record { value: Some(line), ..Record::default() },
        }
    }
}

/// `first` and what else is there already, up to a batch's size.
fn with_waiting(
    first: Result<Bytes, BadInput>,
    blocks: &mut mpsc::Receiver<Result<Bytes, BadInput>>,
) -> (Vec<Bytes>, Option<BadInput>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(block) = next {
        match block {
            Ok(block) => {
                bytes += block.len();
                batch.push(block);
            }
            Err(bad) => return (batch, Some(bad)),
        }
        next = if bytes < BATCH_BYTES { blocks.try_recv().ok() } else { None };
    }
    (batch, None)
}

/// The partitions that take records, and what waits for each.
struct Partitions {
    /// Every partition of the topic, or the one asked for.
    targets: Vec<TopicPartition>,
    waiting: Vec<Vec<Record>>,
    /// Where records without a key go now.
    sticky: usize,
    /// How many bytes went there.
    sticky_bytes: usize,
}

impl Partitions {
    async fn of(log: &dyn Log, topic: &str, only: Option<u32>) -> Result<Self, Failure> {
        let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
        let partitions = info.partitions;
        let numbers = match only {
            None => 0..partitions,
            Some(partition) if partition < partitions => partition..partition + 1,
            Some(partition) => {
                return Err(Failure::NoPartition { topic: topic.into(), partition, partitions });
            }
        };
        let targets: Vec<_> = numbers.map(|number| TopicPartition::new(info.name.clone(), number)).collect();
        let mut shortest = (i64::MAX, 0);
        for (index, target) in targets.iter().enumerate() {
            shortest = shortest.min((log.offsets(target).await?.log_end, index));
        }
        let waiting = vec![Vec::new(); targets.len()];
        Ok(Self { targets, waiting, sticky: shortest.1, sticky_bytes: 0 })
    }

    fn place(&mut self, record: Record) {
        let count = self.targets.len();
        let target = match &record.key {
            _ if count == 1 => 0,
            // Where there are several targets, they are the topic's partitions from 0 on, and a u32 counts them.
            Some(key) => partition_for_key(key, count as u32) as usize,
            None => self.next_sticky(record.value.as_ref().map_or(0, Bytes::len)),
        };
        self.waiting[target].push(record);
    }

    fn next_sticky(&mut self, bytes: usize) -> usize {
        if self.sticky_bytes >= STICKY_BYTES {
            self.sticky = (self.sticky + 1) % self.targets.len();
            self.sticky_bytes = 0;
        }
        self.sticky_bytes += bytes.max(1);
        self.sticky
    }

    /// Appends what waits, all partitions at once, so that they share the wait for the disk.
    async fn append(&mut self, log: &Arc<dyn Log>) -> Result<(), LogError> {
        let mut appends = JoinSet::new();
        for (target, waiting) in self.targets.iter().zip(&mut self.waiting) {
            if !waiting.is_empty() {
                let (log, target, records) = (Arc::clone(log), target.clone(), std::mem::take(waiting));
                appends.spawn(async move { log.append(&target, records).await });
            }
        }
        appends.join_all().await.into_iter().try_for_each(|appended| appended.map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use topo_core::log::TopicSpec;
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::{Fate, MemoryLog};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        produce: Produce,
    }

    async fn log(partitions: u32) -> Arc<MemoryLog> {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        log.create_topic("t", &TopicSpec { partitions, ..TopicSpec::default() }).await.unwrap();
        Arc::new(log)
    }

    async fn produce(log: &Arc<MemoryLog>, arguments: &str, input: &str) -> Result<u64, Failure> {
        let line = Line::try_parse_from(format!("produce t {arguments}").split_whitespace()).unwrap();
        let input = io::Cursor::new(input.to_owned());
        line.produce.append_all(&(Arc::clone(log) as Arc<dyn Log>), input).await
    }

    fn values(log: &MemoryLog, partition: u32) -> Vec<String> {
        let text =
            |bytes: Option<Bytes>| bytes.map_or("null".into(), |b| String::from_utf8(b.to_vec()).unwrap());
        let records = log.records("t", partition);
        records.into_iter().map(|record| format!("{}={}", text(record.key), text(record.value))).collect()
    }

    #[tokio::test]
    async fn lines_become_records_in_order() {
        let log = log(1).await;
        assert_eq!(produce(&log, "", "one\n\nthree").await.unwrap(), 3);
        assert_eq!(values(&log, 0), ["null=one", "null=", "null=three"]);
    }

    #[tokio::test]
    async fn keys_go_where_kafkas_producers_put_them() {
        let log = log(12).await;
        produce(&log, "-K :", "foobar:1\nother:2\nfoobar:3:4\n:5\n").await.unwrap();
        assert_eq!(values(&log, 6), ["foobar=1", "foobar=3:4"]);
        assert_eq!(values(&log, partition_for_key(b"", 12)), ["=5"]);
    }

    #[tokio::test]
    async fn a_line_without_the_separator_has_no_key() {
        let log = log(1).await;
        produce(&log, r"-K \t", "a\tb\nplain\n").await.unwrap();
        assert_eq!(values(&log, 0), ["a=b", "null=plain"]);
    }

    #[tokio::test]
    async fn lines_without_a_key_fill_the_partitions_in_turn() {
        let log = log(3).await;
        let line = "x".repeat(STICKY_BYTES);
        produce(&log, "", &format!("{line}\n").repeat(7)).await.unwrap();
        assert_eq!([0, 1, 2].map(|partition| log.records("t", partition).len()), [3, 2, 2]);
        produce(&log, "", "next\n").await.unwrap();
        assert_eq!(values(&log, 1).last().unwrap(), "null=next", "the shortest comes first");
    }

    #[tokio::test]
    async fn a_partition_asked_for_takes_everything() {
        let log = log(3).await;
        produce(&log, "-K : -p 2", "a:1\nb:2\nplain\n").await.unwrap();
        assert_eq!(values(&log, 2), ["a=1", "b=2", "null=plain"]);
        let missing = produce(&log, "-p 3", "a\n").await.unwrap_err();
        assert_eq!(missing.to_string(), "topic `t` has no partition 3; it has 3, numbered from 0");
    }

    #[tokio::test]
    async fn a_failing_log_says_how_far_it_got() {
        let log = log(1).await;
        log.judge(|_| Fate::fails());
        let failed = produce(&log, "", "a\nb\n").await.unwrap_err();
        assert_eq!(
            failed.to_string(),
            "the disk is gone; the first 0 lines are in the log, of the rest some may be"
        );
        let missing = Line::try_parse_from(["produce", "none"]).unwrap().produce;
        let failed = missing.append_all(&(log as Arc<dyn Log>), io::empty()).await.unwrap_err();
        assert_eq!(failed.to_string(), "there is no topic `none`; create it with `topo topic create none`");
    }

    #[tokio::test]
    async fn many_lines_keep_their_order_across_batches() {
        let log = log(1).await;
        let lines: Vec<String> = (0..200_000).map(|number| format!("line {number}")).collect();
        assert_eq!(produce(&log, "", &lines.join("\n")).await.unwrap(), 200_000);
        let records = log.records("t", 0);
        assert!(
            records.iter().zip(&lines).all(|(record, line)| record.value.as_deref() == Some(line.as_bytes()))
        );
    }
}
