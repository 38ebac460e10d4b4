//! Reading a partition as far as it goes.

use std::time::Duration;

use crate::log::{Consumed, FetchLimit, Log, LogError, TopicPartition};

/// How much one fetch brings, and how long it waits for what is said to be there.
const LIMIT: FetchLimit = FetchLimit { max_bytes: 4 << 20, max_wait: Duration::from_millis(100) };
/// So many fetches in a row that bring nothing of what is said to be there are a failure.
const FRUITLESS: u32 = 100;

/// A partition that is being read up to where it ended when that began.
#[derive(Debug)]
pub(super) struct Whole {
    at: TopicPartition,
    /// The offset to read next.
    pub(super) next: i64,
    pub(super) end: i64,
    fruitless: u32,
}

impl Whole {
    /// Begins at the partition's start.
    pub(super) async fn begin(log: &dyn Log, at: TopicPartition) -> Result<Self, LogError> {
        let offsets = log.offsets(&at).await?;
        Ok(Self { at, next: offsets.log_start, end: offsets.high_watermark, fruitless: 0 })
    }

    pub(super) fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// How many offsets are left.
    pub(super) fn left(&self) -> u64 {
        u64::try_from(self.end - self.next).unwrap_or(0)
    }

    /// The next records, in order; `None` at the end. What was deleted or compacted away meanwhile is passed over.
    pub(super) async fn read(&mut self, log: &dyn Log) -> Result<Option<Vec<Consumed>>, LogError> {
        while self.next < self.end {
            let fetched = match log.fetch(&self.at, self.next, LIMIT).await {
                Ok(fetched) => fetched,
                Err(LogError::OffsetOutOfRange { held, .. }) if held.log_start > self.next => {
                    self.next = held.log_start;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if fetched.next_offset > self.next {
                (self.next, self.fruitless) = (fetched.next_offset, 0);
                return Ok(Some(fetched.records));
            }
            self.fruitless += 1;
            if self.fruitless >= FRUITLESS {
                let (at, next, end) = (&self.at, self.next, self.end);
                let sentence = format!("{at} gives nothing from offset {next} on, though it reaches {end}");
                return Err(LogError::Unavailable(sentence));
            }
        }
        Ok(None)
    }
}
