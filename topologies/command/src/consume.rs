//! `topo consume`: printing a topic's records.
//!
//! Invariant: partition after partition, each in the order of its offsets, up to the end that it had when the command
//! began.

use std::io::{self, BufWriter, Write};
use std::ops::Range;

use clap::Args;
use topo_core::log::{FetchLimit, Fetched, Log, LogError, TopicPartition};

use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::format::{self, Format, Plain};
use crate::partitions::partitions;
use crate::start_at::StartAt;

/// How much standard output is written at once.
const OUT_BYTES: usize = 64 << 10;

/// `topo consume`.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "On a data directory the command prints what is there when it begins, partition after partition, and ends.\n\n{}",
    format::HELP
))]
pub(crate) struct Consume {
    /// The topic
    topic: String,
    /// Print all that the topic holds, as is the default on a data directory; the same as -o start
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Where to begin: start, end, an offset, +N (N records after the start) or -N (N before the end)
    #[arg(short, long, allow_hyphen_values = true)]
    offset: Option<StartAt>,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N")]
    max_records: Option<u64>,
    /// How a record is printed; unless it is given, as its value on a line, and a dead letter with a tab and what it died of
    /// behind it
    #[arg(short, long, allow_hyphen_values = true)]
    format: Option<Format>,
    /// Read this partition only
    #[arg(short, long)]
    partition: Option<u32>,
    #[command(flatten)]
    data: DataDir,
}

impl Consume {
    /// Prints to standard output.
    ///
    /// # Errors
    /// Those of the log and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let opened = self.data.open()?;
        let out = BufWriter::with_capacity(OUT_BYTES, io::stdout().lock());
        let ended = self.print_all(&*opened.log, out).await;
        opened.close(ended).await
    }

    async fn print_all(&self, log: &dyn Log, mut out: impl Write) -> Result<(), Failure> {
        let mut remaining = self.max_records.unwrap_or(u64::MAX);
        for (at, offsets) in self.ranges(log).await? {
            if remaining > 0 {
                remaining -= self.print_partition(log, &at, offsets, remaining, &mut out).await?;
            }
        }
        out.flush().map_err(Failure::Output)
    }

    /// Which offsets of which partitions are asked for.
    async fn ranges(&self, log: &dyn Log) -> Result<Vec<(TopicPartition, Range<i64>)>, Failure> {
        let start = self.offset.unwrap_or(StartAt::Start);
        let mut ranges = Vec::new();
        for (at, held) in partitions(log, &self.topic, self.partition, Some(start)).await? {
            let begin = start.offset(&at, held)?;
            ranges.push((at, begin..held.high_watermark));
        }
        Ok(ranges)
    }

    /// Prints at most `most` records and returns how many. The next fetch is under way while one is printed.
    async fn print_partition(
        &self,
        log: &dyn Log,
        at: &TopicPartition,
        offsets: Range<i64>,
        most: u64,
        out: &mut impl Write,
    ) -> Result<u64, Failure> {
        let mut printed = 0;
        let mut fetched = fetch(log, at, offsets.start, offsets.end).await?;
        while let Some(records) = fetched.take() {
            let next = fetch(log, at, records.next_offset, offsets.end);
            let print = async { self.print(at, &records, offsets.end, most - printed, out) };
            let (next, now) = tokio::join!(next, print);
            printed += now.map_err(Failure::Output)?;
            if printed == most {
                break;
            }
            fetched = next?.filter(|next| next.next_offset > records.next_offset);
        }
        Ok(printed)
    }

    fn print(
        &self,
        at: &TopicPartition,
        fetched: &Fetched,
        end: i64,
        most: u64,
        out: &mut impl Write,
    ) -> io::Result<u64> {
        let plain = Plain::default();
        let mut printed = 0;
        for record in fetched.records.iter().take_while(|record| record.offset < end) {
            if printed == most {
                break;
            }
            self.format.as_ref().unwrap_or_else(|| plain.of(record)).write(out, at, record)?;
            printed += 1;
        }
        Ok(printed)
    }
}

/// The records from `offset` on; `None` where `offset` has come to `end`.
async fn fetch(
    log: &dyn Log,
    at: &TopicPartition,
    offset: i64,
    end: i64,
) -> Result<Option<Fetched>, LogError> {
    if offset >= end {
        return Ok(None);
    }
    log.fetch(at, offset, FetchLimit::default()).await.map(Some)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use topo::launcher::ExitReason;
    use topo_core::log::{Record, TopicSpec};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::MemoryLog;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        consume: Consume,
    }

    /// A topic `t` that holds, in partition p, so many records of value `p/offset` and key `k`.
    async fn log(records: &[i64]) -> MemoryLog {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        let spec = TopicSpec { partitions: records.len() as u32, ..TopicSpec::default() };
        log.create_topic("t", &spec).await.unwrap();
        for (partition, count) in records.iter().enumerate() {
            let record = |offset| Record {
                key: Some("k".into()),
                value: Some(format!("{partition}/{offset}").into()),
                ..Record::default()
            };
            let at = TopicPartition::new("t", partition as u32);
            log.append(&at, (0..*count).map(record).collect()).await.unwrap();
        }
        log
    }

    async fn consume(log: &MemoryLog, arguments: &[&str]) -> Result<String, Failure> {
        let line = Line::try_parse_from(["consume", "t"].iter().chain(arguments)).unwrap();
        let mut out = Vec::new();
        line.consume.print_all(log, &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn all_partitions_are_printed_in_order() {
        let log = log(&[3, 0, 2]).await;
        for arguments in [&[][..], &["--from-beginning"], &["-o", "start"]] {
            assert_eq!(consume(&log, arguments).await.unwrap(), "0/0\n0/1\n0/2\n2/0\n2/1\n");
        }
        assert_eq!(consume(&log, &["-o", "end"]).await.unwrap(), "");
    }

    #[tokio::test]
    async fn many_fetches_print_every_record_once() {
        let log = log(&[10_000]).await;
        let expected: String = (0..10_000).map(|offset| format!("0/{offset}\n")).collect();
        for records in [1, 7, 9_999, 10_000, 20_000] {
            log.limit_fetches(records);
            assert_eq!(consume(&log, &[]).await.unwrap(), expected, "{records} at once");
        }
    }

    #[tokio::test]
    async fn a_start_a_count_and_a_partition_are_obeyed() {
        let log = log(&[5, 5]).await;
        log.limit_fetches(2);
        for (arguments, expected) in [
            (&["-n", "0"][..], ""),
            (&["-n", "1"], "0/0\n"),
            (&["-n", "6"], "0/0\n0/1\n0/2\n0/3\n0/4\n1/0\n"),
            (&["-p", "1", "-n", "2"], "1/0\n1/1\n"),
            (&["-p", "1", "-o", "3"], "1/3\n1/4\n"),
            (&["-p", "1", "-o", "5"], ""),
            (&["-o", "-1"], "0/4\n1/4\n"),
            (&["-o", "+4"], "0/4\n1/4\n"),
            (&["-o-2", "-n", "3", "-f", "%p:%o "], "0:3 0:4 1:3 "),
            (&["-n", "1", "-f", r"%k\t%v\n"], "k\t0/0\n"),
        ] {
            assert_eq!(consume(&log, arguments).await.unwrap(), expected, "{arguments:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_said() {
        let log = log(&[5, 5]).await;
        for (arguments, expected) in [
            (&["-p", "2"][..], "topic `t` has no partition 2; it has 2, numbered from 0"),
            (&["-p", "1", "-o", "6"], "t-1 holds offsets 0 to 5, not 6"),
            (
                &["-o", "3"],
                "an offset belongs to one partition, and topic `t` has 2; say which with -p PARTITION",
            ),
        ] {
            assert_eq!(consume(&log, arguments).await.unwrap_err().to_string(), expected);
        }
        for arguments in
            [&["-o", "begin"][..], &["-f", "%z"], &["-n", "-1"], &["--from-beginning", "-o", "end"]]
        {
            assert!(Line::try_parse_from(["consume", "t"].iter().chain(arguments)).is_err(), "{arguments:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_is_told_apart() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = log(&[5]).await;
        let line = Line::try_parse_from(["consume", "t"]).unwrap();
        assert!(line.consume.print_all(&log, Closed).await.unwrap_err().is_closed_pipe());
    }
}
