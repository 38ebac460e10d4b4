//! What a micro-transaction is to write: gathered by tasks, handed over behind their markers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::log::{Membership, Pieces, Record, TopicPartition};

/// How far a spout has read, as it ends a batch: what its group is to go on from once the batch is committed.
#[derive(Clone)]
pub struct InputOffsets {
    /// The group that commits.
    pub group: Arc<str>,
    /// As whom it commits, where the group has members.
    pub member: Option<Arc<dyn Membership>>,
    /// The next record to read in each partition.
    pub offsets: Vec<(TopicPartition, i64)>,
}

impl fmt::Debug for InputOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputOffsets")
            .field("group", &self.group)
            .field("offsets", &self.offsets)
            .finish_non_exhaustive()
    }
}

/// A record for a topic that may have to be created, in the partition of a number as far as there are so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) topic: Arc<str>,
    pub(crate) number: u32,
    pub(crate) record: Record,
    /// What is written in its place where the topic does not take it.
    pub(crate) short: Record,
}

/// The last batch that an earlier run has committed, as a spout finds it noted with the offsets of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBatch {
    /// Its number.
    pub txid: u64,
    /// The group.
    pub group: Arc<str>,
    /// A partition with whose offset it is noted.
    pub at: TopicPartition,
    /// That offset.
    pub offset: i64,
}

/// What is noted of a batch with the offsets that are committed with it.
const NOTE: &str = "txid=";

impl LastBatch {
    /// The number in a note that was committed with an offset, where it is one of a batch.
    pub fn parse(note: &str) -> Option<u64> {
        note.strip_prefix(NOTE)?.parse().ok()
    }

    /// What is noted of it.
    pub fn note(&self) -> String {
        format!("{NOTE}{}", self.txid)
    }
}

/// What one task, or all of them, have for one transaction.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) records: BTreeMap<TopicPartition, Pieces>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) inputs: Vec<InputOffsets>,
    pub(crate) bytes: usize,
    /// How many of `bytes` count for the batch's size as they are staged.
    pub(crate) counted: usize,
    /// How many trees spouts opened in the batch.
    pub(crate) trees: u64,
}

impl Staged {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.letters.is_empty() && self.inputs.is_empty()
    }

    /// Adds what another task has.
    pub(crate) fn add(&mut self, other: Self) {
        for (at, records) in other.records {
            self.records.entry(at).or_default().add(records);
        }
        self.letters.extend(other.letters);
        self.inputs.extend(other.inputs);
        self.bytes += other.bytes;
        self.counted += other.counted;
        self.trees += other.trees;
    }

    /// Adds changes of a state.
    pub(crate) fn add_changes(&mut self, changes: Vec<(TopicPartition, Pieces)>) {
        for (at, records) in changes {
            self.bytes += records.iter().map(bytes_of).sum::<usize>();
            self.records.entry(at).or_default().add(records);
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> u64 {
        self.records.values().map(|records| records.len() as u64).sum::<u64>() + self.letters.len() as u64
    }
}

/// About how many bytes `record` takes.
pub(super) fn bytes_of(record: &Record) -> usize {
    size_of::<Record>() + [&record.key, &record.value].into_iter().flatten().map(Bytes::len).sum::<usize>()
}

/// Where the sinks of one task put what belongs to the batch in work.
#[derive(Debug, Default)]
pub(crate) struct Staging(Mutex<Staged>);

impl Staging {
    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Staged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record; gives the bytes that it takes.
    pub(crate) fn add(&self, to: &TopicPartition, record: Record) -> usize {
        let bytes = bytes_of(&record);
        let mut staged = self.lock();
        staged.bytes += bytes;
        staged.counted += bytes;
        match staged.records.get_mut(to) {
            Some(records) => records.push(record),
            None => drop(staged.records.insert(to.clone(), Pieces::from_iter([record]))),
        }
        bytes
    }

    /// Adds a letter; gives the bytes that it takes.
    pub(crate) fn add_letter(&self, letter: Letter) -> usize {
        let bytes = bytes_of(&letter.record);
        let mut staged = self.lock();
        staged.bytes += bytes;
        staged.counted += bytes;
        staged.letters.push(letter);
        bytes
    }

    /// Takes all that is there.
    pub(crate) fn take(&self) -> Staged {
        std::mem::take(&mut *self.lock())
    }
}
