//! Gathering: what cannot be replayed at its source goes into the log first.

pub mod lines;

use std::io::{self, Read};
use std::sync::Arc;

use topo_core::log::{Log, LogError, Record, TopicPartition};

use self::lines::BadInput;

/// Why gathering ended before its source did. The lines before it are in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// The source failed.
    #[error("the input cannot be read after line {lines}: {source}")]
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
    #[error("after line {lines} of the input: {source}")]
    Log {
        /// Lines that are in the log.
        lines: u64,
        /// What the log said.
        source: LogError,
    },
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
    let mut blocks = lines::blocks(input).map_err(|source| GatherError::Read { lines: 0, source })?;
    let mut gathered = 0;
    let mut partition = 0;
    while let Some(block) = blocks.recv().await {
        let block = block.map_err(|bad| match bad {
            BadInput::LongLine => GatherError::LongLine { line: gathered + 1, most: lines::MAX_LINE_BYTES },
            BadInput::Io(source) => GatherError::Read { lines: gathered, source },
        })?;
        let record = |line| Record { value: Some(line), ..Record::default() };
        let records: Vec<Record> = lines::lines(&block).map(record).collect();
        let count = records.len() as u64;
        let at = TopicPartition::new(Arc::clone(&info.name), partition);
        log.append(&at, records).await.map_err(failed(gathered))?;
        gathered += count;
        partition = (partition + 1) % info.partitions.max(1);
    }
    Ok(gathered)
}
