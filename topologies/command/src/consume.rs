//! `topo consume`: printing a topic's records.
//!
//! Invariant: each partition is printed in the order of its offsets. Where the command ends at the end that a topic had
//! when it began, partition follows partition.

use std::io::{self, BufWriter, Write};
use std::ops::Range;

use clap::{Args, ValueEnum};
use topo_core::log::{FetchLimit, Fetched, Isolation, Log, LogError, TopicPartition};

use crate::failure::Failure;
use crate::follow;
use crate::format::{self, Format, Printing};
use crate::partitions::partitions;
use crate::place::{self, Kind, Opened, Place};
use crate::progress::Progress;
use crate::start_at::StartAt;

/// How much standard output is written at once.
const OUT_BYTES: usize = 64 << 10;

/// `topo consume`.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "At a broker the command begins at the end, and follows what comes until Ctrl-C, or until -n or -e ends it. On a data \
     directory, and with -e, it prints what is there when it begins, partition after partition, and ends.\n\n{}\n\n{}",
    format::HELP, place::HELP
))]
pub(crate) struct Consume {
    /// The topic
    pub(crate) topic: String,
    /// Print all that the topic holds, as is the default on a data directory; the same as -o start
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Where to begin: start, end, an offset, +N (N records after the start), -N (N before the end) or @TIME (milliseconds
    /// since 1970, or such as @2026-01-31T12:00:00Z)
    #[arg(short, long, allow_hyphen_values = true)]
    offset: Option<StartAt>,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) max_records: Option<u64>,
    /// End at the end that the topic has now
    #[arg(short = 'e', long)]
    until_end: bool,
    /// How a record is printed; unless it is given, as its value on a line, and a dead letter with a tab and what it died of
    /// behind it
    #[arg(short, long, allow_hyphen_values = true)]
    format: Option<Format>,
    /// Print each record as a JSON object on a line; the same as -f json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Read this partition only
    #[arg(short, long)]
    partition: Option<u32>,
    /// Go on where this group has committed, and commit what was printed. At a broker the command joins the group, and
    /// shares the partitions with its other members
    #[arg(short, long, conflicts_with = "partition")]
    group: Option<String>,
    /// What is shown of transactions: read_committed, nothing that was aborted and nothing behind the beginning of one that is
    /// open, or read_uncommitted, everything
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::ReadCommitted)]
    isolation: Level,
    #[command(flatten)]
    place: Place,
}

/// What is shown of transactions, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Level {
    ReadCommitted,
    ReadUncommitted,
}

impl Consume {
    /// Prints to standard output.
    ///
    /// # Errors
    /// Those of the log and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let opened = self.place.open_at(self.isolation()).await?;
        let ended = self.print_from(&opened).await;
        opened.close(ended).await
    }

    async fn print_from(&self, opened: &Opened) -> Result<(), Failure> {
        let out = BufWriter::with_capacity(OUT_BYTES, io::stdout());
        match (&opened.kind, &self.group) {
            (Kind::Kafka(log), Some(group)) => {
                let from_start = match self.start() {
                    Some(StartAt::Start) => true,
                    Some(StartAt::End) | None => false,
                    Some(_) => return Err(Failure::GroupOffset),
                };
                follow::as_member(self, log, group, from_start, self.until_end, out).await
            }
            (Kind::Kafka(_), None) if !self.until_end => {
                let begin = self.ranges(&*opened.log, StartAt::End).await?;
                follow::partitions(self, &opened.log, begin, out).await
            }
            _ => self.print_all(&*opened.log, out).await,
        }
    }

    fn start(&self) -> Option<StartAt> {
        if self.from_beginning { Some(StartAt::Start) } else { self.offset }
    }

    /// What is shown of transactions.
    pub(crate) fn isolation(&self) -> Isolation {
        match self.isolation {
            Level::ReadCommitted => Isolation::ReadCommitted,
            Level::ReadUncommitted => Isolation::ReadUncommitted,
        }
    }

    /// How records are printed.
    pub(crate) fn printing(&self) -> Printing {
        let given = if self.json { Some(Format::json()) } else { self.format.clone() };
        given.map_or_else(Printing::default, Printing::As)
    }

    async fn print_all(&self, log: &dyn Log, mut out: impl Write) -> Result<(), Failure> {
        let mut remaining = self.max_records.unwrap_or(u64::MAX);
        let ranges = self.ranges(log, StartAt::Start).await?;
        let held = ranges.iter().map(|(_, offsets)| offsets.end.abs_diff(offsets.start)).sum();
        let mut progress = Progress::new(Some(remaining.min(held)), &io::stdout());
        for (at, offsets) in ranges {
            if remaining == 0 {
                break;
            }
            let (printed, next) =
                self.print_partition(log, &at, offsets, remaining, &mut out, &mut progress).await?;
            remaining -= printed;
            if let Some(group) = &self.group {
                out.flush().map_err(Failure::Output)?;
                log.commit(group, &[(at, next)]).await?;
            }
        }
        out.flush().map_err(Failure::Output)
    }

    /// Which offsets of which partitions are asked for.
    async fn ranges(
        &self,
        log: &dyn Log,
        otherwise: StartAt,
    ) -> Result<Vec<(TopicPartition, Range<i64>)>, Failure> {
        let start = self.start().unwrap_or(otherwise);
        let mut ranges = Vec::new();
        for (at, held) in partitions(log, &self.topic, self.partition, Some(start)).await? {
            let committed = match &self.group {
                Some(group) => log.committed(group, &at).await?,
                None => None,
            };
            let begin = match committed {
                Some(offset) => offset.clamp(held.log_start, held.high_watermark),
                None => start.find(log, &at, held).await?,
            };
            ranges.push((at, begin..held.high_watermark));
        }
        Ok(ranges)
    }

    /// Prints at most `most` records; returns how many, and the offset of the next one. The next fetch is under way while one is printed.
    async fn print_partition(
        &self,
        log: &dyn Log,
        at: &TopicPartition,
        offsets: Range<i64>,
        most: u64,
        out: &mut impl Write,
        progress: &mut Progress,
    ) -> Result<(u64, i64), Failure> {
        let (mut printed, mut place) = (0, offsets.start);
        let mut fetched = self.fetch(log, at, offsets.start, offsets.end).await?;
        while let Some(records) = fetched.take() {
            let next = self.fetch(log, at, records.next_offset, offsets.end);
            let print = async { self.print(at, &records, offsets.end, most - printed, out) };
            let (next, now) = tokio::join!(next, print);
            let (count, behind) = now.map_err(Failure::Output)?;
            printed += count;
            progress.add(count);
            // Behind the last record there may be what is shown to nobody: markers, and what was aborted.
            let all = records.next_offset.min(offsets.end);
            place = if printed < most { all } else { behind.unwrap_or(place) };
            if printed == most {
                break;
            }
            fetched = next?.filter(|next| next.next_offset > records.next_offset);
        }
        Ok((printed, place))
    }

    /// The records from `offset` on; `None` where `offset` has come to `end`.
    async fn fetch(
        &self,
        log: &dyn Log,
        at: &TopicPartition,
        offset: i64,
        end: i64,
    ) -> Result<Option<Fetched>, LogError> {
        if offset >= end {
            return Ok(None);
        }
        let limit = FetchLimit { isolation: self.isolation(), ..FetchLimit::default() };
        log.fetch(at, offset, limit).await.map(Some)
    }

    /// Prints; returns how many records, and the offset behind the last one.
    fn print(
        &self,
        at: &TopicPartition,
        fetched: &Fetched,
        end: i64,
        most: u64,
        out: &mut impl Write,
    ) -> io::Result<(u64, Option<i64>)> {
        let (mut printed, mut behind) = (0, None);
        let printing = self.printing();
        for record in fetched.records.iter().take_while(|record| record.offset < end) {
            if printed == most {
                break;
            }
            printing.write(out, at, record)?;
            printed += 1;
            behind = Some(record.offset + 1);
        }
        Ok((printed, behind))
    }
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

    #[test]
    fn what_is_committed_is_read_unless_something_else_is_asked_for() {
        let isolation = |arguments: &[&str]| {
            let line = Line::try_parse_from(["consume", "t"].iter().chain(arguments));
            line.map(|line| line.consume.isolation()).map_err(|error| error.to_string())
        };
        assert_eq!(isolation(&[]), Ok(Isolation::ReadCommitted));
        assert_eq!(isolation(&["--isolation", "read_committed"]), Ok(Isolation::ReadCommitted));
        assert_eq!(isolation(&["--isolation", "read_uncommitted"]), Ok(Isolation::ReadUncommitted));
        assert!(isolation(&["--isolation", "none"]).unwrap_err().contains("read_committed"));
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
