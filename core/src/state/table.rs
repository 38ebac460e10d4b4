//! A topic as a table: the newest value of each key, read whole and then followed.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::whole::Whole;
use crate::fail::Fail;
use crate::log::{Consumed, FetchLimit, Log, LogError, TopicPartition};

/// Why a topic cannot be read as a table.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The log refused or is away.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is no row.
    #[error("{at} at offset {offset} is no row of a table: {reason}")]
    Row {
        /// The partition.
        at: TopicPartition,
        /// The record.
        offset: i64,
        /// What is wrong with it.
        reason: Arc<str>,
    },
}

/// What a record says of a row: its key, and its value or that it is gone; `None` for a record that is passed over.
type Decode<K, V> =
    Box<dyn Fn(&TopicPartition, &Consumed) -> Result<Option<(K, Option<V>)>, Fail> + Send + Sync>;

/// What a fetch brought.
struct Step {
    /// How many records.
    records: u64,
    /// Where the partition ended.
    end: i64,
}

/// Reads partitions of a topic as a table: of each key, what was written last; a null removes it.
///
/// [`load`](Self::load) reads all that the partitions hold, [`follow`](Self::follow) and [`catch_up`](Self::catch_up) what
/// is appended later.
pub struct TableReader<K, V> {
    log: Arc<dyn Log>,
    /// Each partition and the offset to read next.
    parts: Vec<(TopicPartition, i64)>,
    decode: Decode<K, V>,
    rows: HashMap<K, V>,
    /// The partition that is followed next.
    turn: usize,
}

impl<K: Hash + Eq, V> TableReader<K, V> {
    /// Reads `partitions` of `topic` up to where they end now; `tell` hears how many records of how many are read.
    /// `decode` gives a record's key, and its value or that it is gone; `None` passes over a record.
    ///
    /// # Errors
    /// [`TableError::Log`], or the first record that `decode` refuses, by its place.
    pub async fn load(
        log: Arc<dyn Log>,
        topic: &str,
        partitions: impl IntoIterator<Item = u32>,
        decode: impl Fn(&TopicPartition, &Consumed) -> Result<Option<(K, Option<V>)>, Fail>
        + Send
        + Sync
        + 'static,
        tell: impl Fn(u64, u64),
    ) -> Result<Self, TableError> {
        let topic: Arc<str> = topic.into();
        let mut wholes = Vec::new();
        for partition in partitions {
            wholes.push(Whole::begin(&*log, TopicPartition::new(Arc::clone(&topic), partition)).await?);
        }
        let total: u64 = wholes.iter().map(Whole::left).sum();
        let (decode, rows) = (Box::new(decode), HashMap::new());
        let mut table = Self { log: Arc::clone(&log), parts: Vec::new(), decode, rows, turn: 0 };
        let mut left = total;
        tell(0, total);
        for mut whole in wholes {
            let mut before = whole.left();
            while let Some(records) = whole.read(&*log).await? {
                table.apply(whole.at(), &records)?;
                left = left.saturating_sub(before - whole.left());
                before = whole.left();
                tell(total - left, total);
            }
            table.parts.push((whole.at().clone(), whole.next));
        }
        Ok(table)
    }

    fn apply(&mut self, at: &TopicPartition, records: &[Consumed]) -> Result<(), TableError> {
        for record in records {
            let row = (self.decode)(at, record).map_err(|fail| TableError::Row {
                at: at.clone(),
                offset: record.offset,
                reason: Arc::clone(fail.reason()),
            })?;
            match row {
                Some((key, Some(value))) => drop(self.rows.insert(key, value)),
                Some((key, None)) => drop(self.rows.remove(&key)),
                None => {}
            }
        }
        Ok(())
    }

    /// Takes over what was appended since, of every partition; waits at most `max_wait` for a record where there is none.
    /// Gives how many records were read. May be dropped at any await.
    ///
    /// # Errors
    /// As [`load`](Self::load). A record that is no row is come upon again by the next call.
    pub async fn follow(&mut self, max_wait: Duration) -> Result<u64, TableError> {
        let mut read = 0;
        for part in 0..self.parts.len() {
            read += self.fetch(part, Duration::ZERO).await?.records;
        }
        if read == 0 && !self.parts.is_empty() && !max_wait.is_zero() {
            // One partition is waited for at a time, each in its turn; what comes to the others is read a wait later.
            self.turn = (self.turn + 1) % self.parts.len();
            let share = max_wait / u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
            read += self.fetch(self.turn, share).await?.records;
        }
        Ok(read)
    }

    /// Takes over all that was appended before this call, of every partition, however much it is; what is appended while it
    /// reads may wait for the next call. Costs a fetch for each partition where there is nothing. May be dropped at any await.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub async fn catch_up(&mut self) -> Result<(), TableError> {
        for part in 0..self.parts.len() {
            let mut end = None;
            loop {
                let before = self.parts[part].1;
                let step = self.fetch(part, Duration::ZERO).await?;
                let end = *end.get_or_insert(step.end);
                let next = self.parts[part].1;
                // A log may say of an open transaction that it is not the end, and give nothing of it.
                if next >= end || next == before {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, part: usize, max_wait: Duration) -> Result<Step, TableError> {
        let (at, next) = self.parts[part].clone();
        let limit = FetchLimit { max_wait, ..FetchLimit::default() };
        let fetched = match self.log.fetch(&at, next, limit).await {
            Ok(fetched) => fetched,
            // What it has not read yet was deleted, as retention does; the newest rows are still there.
            Err(LogError::OffsetOutOfRange { held, .. }) if held.log_start > next => {
                self.parts[part].1 = held.log_start;
                return Ok(Step { records: 0, end: held.high_watermark });
            }
            Err(error) => return Err(error.into()),
        };
        self.apply(&at, &fetched.records)?;
        self.parts[part].1 = fetched.next_offset;
        Ok(Step { records: fetched.records.len() as u64, end: fetched.high_watermark })
    }

    /// The value of `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.rows.get(key)
    }

    /// All rows, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<K, V> fmt::Debug for TableReader<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableReader")
            .field("parts", &self.parts)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}
