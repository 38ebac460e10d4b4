//! `topo replay`: dead letters fed in again.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use clap::Args;
use topo_connectors::dead_letters::{Fate, Letter, Letters, Replayed};
use topo_core::log::{Log, TopicPartition};

use crate::failure::Failure;
use crate::lines::{cut, shown};
use crate::partitions::partitions;
use crate::place::Place;
use crate::start_at::StartAt;

/// Letters that are named because they could not be replayed; the others are counted.
const NAMED: u64 = 20;

/// Said below the verb's help.
const HELP: &str = "\
Each dead letter is appended, as the record that it was, to the topic and partition that it came from: key, value, \
timestamp and headers, without topo's own. Whatever topology reads that topic processes it again.

How far a topic of dead letters is replayed is kept durably, as the committed offset of group topo-replay: a second \
`topo replay` goes on behind the first. It is committed after the records are durable, so that a replay which is cut short \
may repeat the last of them, and loses none.";

/// `topo replay`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Replay {
    /// The topic of dead letters, such as access.dead-letter
    topic: String,
    /// End after so many letters
    #[arg(short = 'n', long, value_name = "N")]
    max_letters: Option<u64>,
    /// Replay this partition only
    #[arg(short, long)]
    partition: Option<u32>,
    /// Begin here, not behind what is replayed already: start, end, an offset, +N (N letters after the start) or -N (N
    /// before the end)
    #[arg(short, long, allow_hyphen_values = true)]
    offset: Option<StartAt>,
    /// Append to this topic, not to the one that each letter came from
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// Print what would be replayed, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

impl Replay {
    /// Replays, and prints to standard output.
    ///
    /// # Errors
    /// Those of the log and of standard output; [`Failure::Unreplayed`] where a letter could not be replayed.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let opened = self.place.open().await?;
        let out = BufWriter::new(io::stdout());
        let ended = self.replay_all(&*opened.log, out).await;
        opened.close(ended).await
    }

    async fn replay_all(&self, log: &dyn Log, out: impl Write + Send) -> Result<(), Failure> {
        if self.to.as_ref() == Some(&self.topic) {
            return Err(Failure::ReplayIntoItself(self.topic.clone()));
        }
        let mut ranges = Vec::new();
        for (at, held) in partitions(log, &self.topic, self.partition, self.offset).await? {
            let from = match self.offset {
                Some(start) => Some(start.find(log, &at, held).await?),
                None => None,
            };
            ranges.push((at, from, held.high_watermark));
        }
        let replay = topo_connectors::dead_letters::Replay {
            to: self.to.as_deref().map(Arc::from),
            dry_run: self.dry_run,
            leaves_position: false,
        };
        let mut report = Report { out, dry_run: self.dry_run, to: BTreeMap::new(), left: 0, written: Ok(()) };
        let mut remaining = self.max_letters.unwrap_or(u64::MAX);
        for (at, from, end) in ranges {
            let letters = Letters { from, end, most: remaining };
            let ran = replay.run(log, &at, letters, &mut |letter, fate| report.note(&at, letter, fate)).await;
            let replayed = match ran {
                Ok(replayed) => replayed,
                Err(source) => {
                    return Err(Failure::ReplayInterrupted { replayed: report.replayed(), source });
                }
            };
            remaining -= replayed.replayed + replayed.left;
            report.note_passed_over(&at, replayed);
        }
        report.end(&self.topic)
    }
}

/// What is printed of a replay.
struct Report<W> {
    out: W,
    dry_run: bool,
    /// Letters by the topic that they went to.
    to: BTreeMap<Arc<str>, u64>,
    left: u64,
    /// The first failure of `out`; the replay goes on all the same.
    written: io::Result<()>,
}

impl<W: Write> Report<W> {
    fn replayed(&self) -> u64 {
        self.to.values().sum()
    }

    fn print(&mut self, line: &str) {
        if self.written.is_ok() {
            self.written = writeln!(self.out, "{line}");
        }
    }

    fn note(&mut self, at: &TopicPartition, letter: &Letter, fate: &Fate) {
        let place = format!("{at} at {}", letter.offset());
        match fate {
            Fate::Replayed(to) => {
                *self.to.entry(Arc::clone(&to.topic)).or_default() += 1;
                if self.dry_run {
                    let (kind, component) = (letter.kind(), letter.component());
                    let line = format!("{place} to {to}: {kind} by {component}: {}", letter.reason());
                    self.print(&cut(&shown(&line), 80, false));
                }
            }
            Fate::Left(why) => {
                self.left += 1;
                if self.left <= NAMED {
                    self.print(&shown(&format!("left {place}: {why}")));
                }
            }
        }
    }

    fn note_passed_over(&mut self, at: &TopicPartition, replayed: Replayed) {
        if let Some((first, end)) = replayed.passed_over {
            let until = end - 1;
            self.print(&format!(
                "passed over offsets {first} to {until} of {at}, which were not replayed; `-p {} -o {first} -n {}` replays them",
                at.partition,
                end - first
            ));
        }
    }

    fn end(mut self, topic: &str) -> Result<(), Failure> {
        if self.left > NAMED {
            self.print(&format!("left {} more", self.left - NAMED));
        }
        if self.left == 0 && self.to.is_empty() {
            self.print(&format!("no letter of `{topic}` was left to be replayed"));
        }
        let replayed = if self.dry_run { "would replay" } else { "replayed" };
        for (to, count) in std::mem::take(&mut self.to) {
            let letters = if count == 1 { "letter" } else { "letters" };
            self.print(&format!("{replayed} {count} {letters} of `{topic}` into `{to}`"));
        }
        self.written.and_then(|()| self.out.flush()).map_err(Failure::Output)?;
        if self.left > 0 && !self.dry_run { Err(Failure::Unreplayed(self.left)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use topo::launcher::ExitReason;
    use topo_core::log::{Header, Record, TopicSpec};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::{Call, Fate as CallFate, MemoryLog};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        replay: Replay,
    }

    /// Topics `t` and `other`, and `dead` with so many letters from `t` in each of its partitions.
    async fn log(letters: &[i64]) -> MemoryLog {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        for (topic, partitions) in [("t", 1), ("other", 1), ("dead", letters.len() as u32)] {
            log.create_topic(topic, &TopicSpec { partitions, ..TopicSpec::default() }).await.unwrap();
        }
        for (partition, count) in (0..).zip(letters) {
            let header =
                |key: &str, value: &str| Header { key: key.into(), value: Some(value.to_owned().into()) };
            let headers = [("topic", "t"), ("partition", "0"), ("offset", "0"), ("kind", "rejected")];
            let mut headers = headers.map(|(key, value)| header(&format!("topo.{key}"), value)).to_vec();
            headers.extend([header("topo.component", "parse"), header("topo.reason", "no\ttime")]);
            let letter = |offset| Record {
                value: Some(format!("{partition}/{offset}").into()),
                headers: headers.clone(),
                ..Record::default()
            };
            log.append(&TopicPartition::new("dead", partition), (0..*count).map(letter).collect())
                .await
                .unwrap();
        }
        log
    }

    async fn replay(log: &MemoryLog, arguments: &[&str]) -> (String, Result<(), Failure>) {
        let line = Line::try_parse_from(["replay", "dead"].iter().chain(arguments)).unwrap();
        let mut out = Vec::new();
        let ended = line.replay.replay_all(log, &mut out).await;
        (String::from_utf8(out).unwrap(), ended)
    }

    async fn said(log: &MemoryLog, arguments: &[&str]) -> String {
        let (said, ended) = replay(log, arguments).await;
        ended.unwrap();
        said
    }

    fn values(log: &MemoryLog, topic: &str) -> Vec<String> {
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        log.records(topic, 0).iter().map(|record| text(record.value.as_deref())).collect()
    }

    #[tokio::test]
    async fn a_count_goes_over_all_partitions_and_the_next_replay_goes_on_there() {
        let log = log(&[2, 3]).await;
        assert_eq!(said(&log, &["-n", "3"]).await, "replayed 3 letters of `dead` into `t`\n");
        assert_eq!(said(&log, &["-n", "1"]).await, "replayed 1 letter of `dead` into `t`\n");
        assert_eq!(said(&log, &[]).await, "replayed 1 letter of `dead` into `t`\n");
        assert_eq!(said(&log, &[]).await, "no letter of `dead` was left to be replayed\n");
        assert_eq!(values(&log, "t"), ["0/0", "0/1", "1/0", "1/1", "1/2"]);
    }

    #[tokio::test]
    async fn a_dry_run_says_what_would_go_where_and_why_it_died() {
        let log = log(&[1, 1]).await;
        let expected = "\
dead-0 at 0 to other-0: rejected by parse: no\\ttime
dead-1 at 0 to other-0: rejected by parse: no\\ttime
would replay 2 letters of `dead` into `other`
";
        assert_eq!(said(&log, &["--dry-run", "--to", "other"]).await, expected);
        assert_eq!((values(&log, "other").len(), log.commits().len()), (0, 0));
    }

    #[tokio::test]
    async fn what_an_offset_passes_over_is_said_and_can_be_replayed() {
        let log = log(&[5, 0]).await;
        let expected = "\
passed over offsets 0 to 2 of dead-0, which were not replayed; `-p 0 -o 0 -n 3` replays them
replayed 2 letters of `dead` into `t`
";
        assert_eq!(said(&log, &["-p", "0", "-o", "3"]).await, expected);
        let expected = "replayed 3 letters of `dead` into `t`\n";
        assert_eq!(said(&log, &["-p", "0", "-o", "0", "-n", "3"]).await, expected);
        assert_eq!(said(&log, &[]).await, "no letter of `dead` was left to be replayed\n");
        assert_eq!(values(&log, "t"), ["0/3", "0/4", "0/0", "0/1", "0/2"]);
    }

    #[tokio::test]
    async fn letters_that_are_left_are_named_up_to_a_number_and_make_the_exit_code_bad() {
        let log = log(&[30]).await;
        log.delete_topic("t").await.unwrap();
        let (said, ended) = replay(&log, &[]).await;
        assert_eq!(said.lines().count(), 21);
        assert!(said.starts_with("left dead-0 at 0: there is no topic `t` to put it in\n"), "{said}");
        assert!(said.ends_with("\nleft 10 more\n"), "{said}");
        let failure = ended.unwrap_err();
        assert!(
            failure.is_underneath() && failure.to_string().starts_with("30 letters could not be replayed")
        );
    }

    #[tokio::test]
    async fn what_cannot_be_is_said() {
        let log = log(&[1, 1]).await;
        for (arguments, sentence) in [
            (&["-p", "2"][..], "topic `dead` has no partition 2; it has 2, numbered from 0"),
            (&["-p", "0", "-o", "2"], "dead-0 holds offsets 0 to 1, not 2"),
            (
                &["-o", "0"],
                "an offset belongs to one partition, and topic `dead` has 2; say which with -p PARTITION",
            ),
            (
                &["--to", "dead"],
                "letters of `dead` cannot be replayed into `dead` itself; name another topic with --to TOPIC",
            ),
        ] {
            assert_eq!(replay(&log, arguments).await.1.unwrap_err().to_string(), sentence);
        }
        log.judge(|call| {
            if matches!(call, Call::Append(at, _) if at.partition == 0) {
                CallFate::fails()
            } else {
                CallFate::default()
            }
        });
        let sentence = replay(&log, &[]).await.1.unwrap_err().to_string();
        assert_eq!(
            sentence,
            "the disk is gone; 0 letters were replayed, and of the others some may be and will be again"
        );
    }
}
