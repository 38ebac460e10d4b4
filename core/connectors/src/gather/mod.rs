//! Gathering: what cannot be replayed at its source goes into the log first.

mod file;
mod lines;
mod position;
mod socket;

pub use file::FileLines;
pub use lines::{BadInput, MAX_LINE_BYTES, blocks, lines};
pub use socket::SocketLines;

use std::io::{self, Read};
use std::sync::Arc;

use async_trait::async_trait;
use topo_core::log::{Log, LogError, Record, TopicPartition};

/// Why gathering ended before its source did. The lines before it are in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// The source failed.
    #[error("the input cannot be read: {source}{}", held(*lines))]
    Read {
        /// Lines that are in the log.
        lines: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A line has no end.
    #[error("line {line} of the input is longer than {most} bytes; is it a text file?")]
    LongLine {
        /// Its number, from 1.
        line: u64,
        /// How long a line may be.
        most: usize,
    },
    /// The log refused.
    #[error("{source}{}", held(*lines))]
    Log {
        /// Lines that are in the log.
        lines: u64,
        /// What the log said.
        source: LogError,
    },
}

impl GatherError {
    /// What a reader that gave up means after `lines` lines.
    fn of_input(bad: BadInput, lines: u64) -> Self {
        match bad {
            BadInput::LongLine => Self::LongLine { line: lines + 1, most: MAX_LINE_BYTES },
            BadInput::Io(source) => Self::Read { lines, source },
        }
    }
}

/// How far gathering came.
fn held(lines: u64) -> String {
    if lines == 0 { String::new() } else { format!("; the input's first {lines} lines are in the log") }
}

/// A source that is gathered into a topic.
#[async_trait]
pub trait Gather: Send {
    /// Appends what the source holds beyond what `topic` has of it, and returns how many lines that were, once all are
    /// durable.
    ///
    /// # Errors
    /// [`GatherError`]; the lines it counts are durable.
    async fn gather(&mut self, log: &dyn Log, topic: &str) -> Result<u64, GatherError>;

    /// Notes that a run over what was gathered has come to its end: the next one is not its continuation.
    ///
    /// # Errors
    /// A storage error, after which nothing was noted.
    async fn ended(&mut self, log: &dyn Log, topic: &str) -> Result<(), LogError>;
}

/// Standard input, or any other stream that is there once: whatever it gives is new.
pub struct StreamLines(Option<Box<dyn Read + Send>>);

impl StreamLines {
    /// The lines of `input`.
    pub fn new(input: impl Read + Send + 'static) -> Self {
        Self(Some(Box::new(input)))
    }
}

impl std::fmt::Debug for StreamLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamLines").finish_non_exhaustive()
    }
}

#[async_trait]
impl Gather for StreamLines {
    async fn gather(&mut self, log: &dyn Log, topic: &str) -> Result<u64, GatherError> {
        match self.0.take() {
            Some(input) => gather_lines(log, topic, input).await,
            None => Ok(0),
        }
    }

    async fn ended(&mut self, _log: &dyn Log, _topic: &str) -> Result<(), LogError> {
        Ok(())
    }
}

/// Appends the lines of `input` to `topic`, without their ends, and returns how many there were once all are durable.
///
/// Blocks of whole lines go to the partitions in turn; within a block, and in a topic of one partition, lines keep their
/// order. At most a few blocks are in memory.
///
/// # Errors
/// [`GatherError`]; the lines it counts are durable.
pub async fn gather_lines(
    log: &dyn Log,
    topic: &str,
    input: impl Read + Send + 'static,
) -> Result<u64, GatherError> {
    let failed = |lines| move |source| GatherError::Log { lines, source };
    let info = log.topic(topic).await.map_err(failed(0))?;
    let info = info.ok_or_else(|| LogError::UnknownTopic(topic.into())).map_err(failed(0))?;
    let mut blocks = blocks(input).map_err(|source| GatherError::Read { lines: 0, source })?;
    let mut gathered = 0;
    let mut partition = 0;
    while let Some(block) = blocks.recv().await {
        let block = block.map_err(|bad| GatherError::of_input(bad, gathered))?;
        let record = |line| Record { value: Some(line), ..Record::default() };
        let records: Vec<Record> = lines(&block).map(record).collect();
        let count = records.len() as u64;
        let at = TopicPartition::new(Arc::clone(&info.name), partition);
        log.append(&at, records).await.map_err(failed(gathered))?;
        gathered += count;
        partition = (partition + 1) % info.partitions.max(1);
    }
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use topo_core::log::TopicSpec;
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::{Call, Fate, MemoryLog};

    use super::*;

    async fn log(partitions: u32) -> MemoryLog {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        let spec = TopicSpec { partitions, ..TopicSpec::default() };
        log.create_topic("lines", &spec).await.unwrap();
        log
    }

    fn held(log: &MemoryLog, partition: u32) -> Vec<String> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        log.records("lines", partition).iter().map(|record| text(record.value.as_deref().unwrap())).collect()
    }

    /// Gives one of its pieces a read, then ends as it is told.
    struct Pieces(Vec<&'static str>, io::Result<usize>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return std::mem::replace(&mut self.1, Ok(0));
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece.as_bytes());
            Ok(piece.len())
        }
    }

    #[tokio::test]
    async fn lines_keep_their_order_and_need_no_last_end() {
        let log = log(1).await;
        let input = Pieces(vec!["one\ntw", "o\n\n", "th", "ree"], Ok(0));
        assert_eq!(gather_lines(&log, "lines", input).await.unwrap(), 4);
        assert_eq!(held(&log, 0), ["one", "two", "", "three"]);
        assert_eq!(gather_lines(&log, "lines", io::empty()).await.unwrap(), 0);
        assert_eq!(held(&log, 0).len(), 4);
    }

    #[tokio::test]
    async fn many_lines_are_all_there_in_order() {
        let log = log(1).await;
        let lines: Vec<String> = (0..200_000).map(|number| format!("line {number}")).collect();
        let input = io::Cursor::new(lines.join("\n"));
        assert_eq!(gather_lines(&log, "lines", input).await.unwrap(), 200_000);
        assert!(held(&log, 0) == lines);
    }

    #[tokio::test]
    async fn blocks_go_to_the_partitions_in_turn() {
        let log = log(3).await;
        let input = Pieces(vec!["a\nb\n", "c\n", "d\ne\n", "f\n", "g"], Ok(0));
        assert_eq!(gather_lines(&log, "lines", input).await.unwrap(), 7);
        assert_eq!(
            [0, 1, 2].map(|number| held(&log, number)),
            [vec!["a", "b", "f"], vec!["c", "g"], vec!["d", "e"]]
        );
    }

    #[tokio::test]
    async fn an_error_says_how_many_lines_are_in_the_log() {
        let broken = || Pieces(vec!["a\n", "b\nc"], Err(io::Error::other("unplugged")));
        let one = log(1).await;
        let failed = gather_lines(&one, "lines", broken()).await.unwrap_err().to_string();
        assert_eq!(failed, "the input cannot be read: unplugged; the input's first 2 lines are in the log");
        assert_eq!(held(&one, 0), ["a", "b"]);

        let one = log(1).await;
        let mut appends = 0;
        one.judge(move |call| {
            appends += usize::from(matches!(call, Call::Append(..)));
            if appends == 2 { Fate::fails() } else { Fate::default() }
        });
        let failed = gather_lines(&one, "lines", broken()).await.unwrap_err().to_string();
        assert_eq!(
            (failed.as_str(), held(&one, 0).len()),
            ("the disk is gone; the input's first 1 lines are in the log", 1)
        );

        let endless = io::Cursor::new("first\n").chain(io::repeat(b'x'));
        let failed = gather_lines(&log(1).await, "lines", endless).await.unwrap_err().to_string();
        assert_eq!(failed, "line 2 of the input is longer than 16777216 bytes; is it a text file?");

        let failed = gather_lines(&one, "none", io::empty()).await.unwrap_err().to_string();
        assert_eq!(failed, "there is no topic `none`; create it with `topo topic create none`");
    }
}
