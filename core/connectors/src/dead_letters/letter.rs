//! A dead letter as it is read again, and what it was before it died.

use std::str::FromStr;
use std::sync::Arc;

use topo_core::log::{Consumed, FetchLimit, Log, LogError, Record, TopicPartition};

use super::header::{ATTEMPT, COMPONENT, KIND, OFFSET, PARTITION, REASON, TOPIC, VALUE_BYTES, is_own};

/// A record of a topic of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    record: Consumed,
}

/// Why a letter cannot become the record that it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreplayable {
    /// It has none of the headers that a dead letter has.
    #[error("it does not say which topic and partition it came from")]
    NoOrigin,
    /// Its value was too large to be kept, and where it came from it is no more.
    #[error(
        "its value of {bytes} bytes was too large to be kept, and {at} no longer holds it at offset {offset}"
    )]
    Gone {
        /// Where it came from.
        at: TopicPartition,
        /// Its offset there.
        offset: i64,
        /// How long it was.
        bytes: u64,
    },
    /// There is no such topic to replay it into.
    #[error("there is no topic `{0}` to put it in")]
    NoTopic(Arc<str>),
    /// The log does not take it.
    #[error("{0}")]
    Refused(String),
}

impl Letter {
    /// The letter that `record` is.
    pub fn new(record: Consumed) -> Self {
        Self { record }
    }

    /// Its offset in the topic of dead letters.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// The partition and offset that it was read from when it died; `None` for a record that is no dead letter.
    pub fn origin(&self) -> Option<(TopicPartition, i64)> {
        let partition = self.number(PARTITION)?;
        Some((TopicPartition::new(self.text(TOPIC)?, partition), self.number(OFFSET)?))
    }

    /// The component that failed it.
    pub fn component(&self) -> &str {
        self.text(COMPONENT).unwrap_or_default()
    }

    /// How it came to be given up, as its header says it.
    pub fn kind(&self) -> &str {
        self.text(KIND).unwrap_or_default()
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        self.text(REASON).unwrap_or_default()
    }

    /// The attempt that failed, from 1; 0 where it does not say.
    pub fn attempt(&self) -> u32 {
        self.number(ATTEMPT).unwrap_or_default()
    }

    /// The record as it was before it died: key, value, timestamp and its own headers. Where its value was too large to be
    /// kept, the record is fetched from where it came from.
    ///
    /// # Errors
    /// [`Unreplayable::Gone`] inside, and those of the log outside.
    pub async fn revive(self, log: &dyn Log) -> Result<Result<Record, Unreplayable>, LogError> {
        let Some(bytes) = self.number::<u64>(VALUE_BYTES) else { return Ok(Ok(as_it_was(self.record))) };
        let Some((at, offset)) = self.origin() else { return Ok(Err(Unreplayable::NoOrigin)) };
        let fetched = log.fetch(&at, offset, FetchLimit { max_bytes: 1, ..FetchLimit::default() }).await;
        let records = match fetched {
            Ok(fetched) => fetched.records,
            // The topic was deleted, or the record was, by its retention.
            Err(
                LogError::UnknownTopic(_) | LogError::UnknownPartition(_) | LogError::OffsetOutOfRange { .. },
            ) => Vec::new(),
            Err(error) => return Err(error),
        };
        // A topic that was created anew may hold another record there.
        let is_it = |record: &Consumed| {
            let there = record.value.as_ref().map_or(0, |value| value.len() as u64);
            record.offset == offset
                && there == bytes
                && (record.timestamp_ms == self.record.timestamp_ms || record.timestamp_ms < 0)
        };
        let found = records.into_iter().find(is_it).map(as_it_was);
        Ok(found.ok_or(Unreplayable::Gone { at, offset, bytes }))
    }

    fn text(&self, key: &str) -> Option<&str> {
        // topo's own headers stand behind the record's, which may have any name.
        let header = self.record.headers.iter().rev().find(|header| &*header.key == key)?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    }

    fn number<T: FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }
}

/// A record without what topo added: the reason of a death, and the place in a file that it was gathered from, which is no
/// place of the record that is appended now.
fn as_it_was(record: Consumed) -> Record {
    let Consumed { timestamp_ms, key, value, mut headers, .. } = record;
    headers.retain(is_own);
    Record { key, value, headers, timestamp_ms: (timestamp_ms >= 0).then_some(timestamp_ms) }
}
