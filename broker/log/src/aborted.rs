//! Transactions that were aborted: an index in each segment of those whose markers it holds, and what of them concerns
//! a reader.
//!
//! Invariant: derived from the log alone. Where an index is missing or cannot be read, the log is asked; so one that is
//! damaged costs time, and never shows a reader what was aborted.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::LogError;
use crate::index::{Index, IndexEntry};
use crate::partition::Partition;
use crate::producers::{Producers, follow};
use crate::segment::Segment;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: i64,
    /// The offset of its marker.
    pub last_offset: i64,
    /// Where the first transaction began that was open once this one had ended; one past the marker where none was.
    pub last_stable_offset: i64,
}

/// An aborted transaction in the index of the segment that holds its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbortedEntry {
    /// The marker's offset less the segment's base.
    pub(crate) relative_offset: u32,
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_stable_offset: i64,
}

impl IndexEntry for AbortedEntry {
    const BYTES: usize = 28;

    fn encode(&self, slot: &mut [u8]) {
        slot[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        slot[4..12].copy_from_slice(&self.producer_id.to_be_bytes());
        slot[12..20].copy_from_slice(&self.first_offset.to_be_bytes());
        slot[20..].copy_from_slice(&self.last_stable_offset.to_be_bytes());
    }

    fn decode(slot: &[u8]) -> Self {
        let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|byte| slot[at + byte]));
        Self {
            relative_offset: u32::from_be_bytes(std::array::from_fn(|byte| slot[byte])),
            producer_id: long(4),
            first_offset: long(12),
            last_stable_offset: long(20),
        }
    }

    fn relative_offset(&self) -> u32 {
        self.relative_offset
    }

    fn follows(&self, previous: &Self) -> bool {
        self.relative_offset > previous.relative_offset
    }
}

/// What tells whether an index is the one it was: how many entries it has, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest {
    pub(crate) entries: u32,
    pub(crate) crc: u32,
}

impl Digest {
    /// That of the entries in front of a relative offset; `None` where one cannot be read.
    pub(crate) fn of(index: &Index<AbortedEntry>, end: u32) -> Option<Self> {
        let mut digest = Self::default();
        let mut slot = [0; AbortedEntry::BYTES];
        let _ = index.visit(
            |_| false,
            |entry| {
                if entry.relative_offset >= end {
                    return ControlFlow::Break(());
                }
                entry.encode(&mut slot);
                digest = Self { entries: digest.entries + 1, crc: crc32c::crc32c_append(digest.crc, &slot) };
                ControlFlow::Continue(())
            },
        )?;
        Some(digest)
    }
}

/// `DIR/00000000000000000042.txnindex`.
pub(crate) fn path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.txnindex"))
}

/// What a reader of `from..to` asks for, and what was found.
struct Search {
    from: i64,
    to: i64,
    found: Vec<AbortedTransaction>,
}

impl Search {
    /// Takes a transaction that concerns the reader; breaks where none behind it can.
    fn take(&mut self, aborted: AbortedTransaction) -> ControlFlow<()> {
        if aborted.last_offset >= self.from && aborted.first_offset < self.to {
            self.found.push(aborted);
        }
        // Whatever was open then, or began later, begins behind what is read.
        if aborted.last_stable_offset >= self.to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Segment {
    /// Notes a transaction whose marker is in this segment.
    pub(crate) fn note_aborted(&mut self, aborted: &AbortedTransaction) {
        // Rolling keeps offsets within 31 bits; of a file that nobody rolled, the log is asked.
        match (u32::try_from(aborted.last_offset - self.base_offset), &mut self.aborted) {
            (Ok(relative_offset), Some(index)) => index.push(AbortedEntry {
                relative_offset,
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
                last_stable_offset: aborted.last_stable_offset,
            }),
            (_, aborted) => *aborted = None,
        }
    }

    /// Looks through the transactions whose markers are in this segment; `None` where the index cannot say.
    fn search(&self, search: &mut Search) -> Option<ControlFlow<()>> {
        let base = self.base_offset;
        let from = u32::try_from((search.from - base).max(0)).unwrap_or(u32::MAX);
        let visit = |entry: &AbortedEntry| {
            search.take(AbortedTransaction {
                producer_id: entry.producer_id,
                first_offset: entry.first_offset,
                last_offset: base + i64::from(entry.relative_offset),
                last_stable_offset: entry.last_stable_offset,
            })
        };
        self.aborted.as_ref()?.visit(|entry| entry.relative_offset < from, visit)
    }
}

impl Partition {
    /// One past the last record that belongs to no transaction that is open, for who may read up to `readable_end`: where
    /// the first of them begins, or `readable_end`. A transaction is open until its marker may be read.
    pub fn last_stable_offset(&self, readable_end: i64) -> i64 {
        let unstable = self.producers.first_unstable(readable_end).unwrap_or(readable_end);
        // Retention may have given up the front of a transaction.
        unstable.max(self.log_start).min(readable_end)
    }

    /// Says that everything below `readable_end` may be read: from then on [`Partition::last_stable_offset`] is asked for
    /// that end, or one behind it. What is durable may be read.
    pub fn settle(&mut self, readable_end: i64) {
        self.producers.settle(readable_end);
    }

    /// The aborted transactions of which records may lie in `from..to`, in the order of their markers.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where a damaged batch may hide one, or [`LogError::Storage`].
    pub fn aborted(&self, from: i64, to: i64) -> Result<Vec<AbortedTransaction>, LogError> {
        let from = from.max(self.log_start);
        if from >= to {
            return Ok(Vec::new());
        }
        let mut search = Search { from, to, found: Vec::new() };
        let first = self.sealed.partition_point(|segment| segment.next_offset <= from);
        for segment in self.sealed[first..].iter().chain([&self.active]) {
            match segment.search(&mut search) {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => break,
                None => return self.aborted_by_the_log(from, to),
            }
        }
        Ok(search.found)
    }

    /// [`Partition::aborted`], where nothing has to be read for it.
    pub fn aborted_at_hand(&self, from: i64, to: i64) -> Option<Vec<AbortedTransaction>> {
        let from = from.max(self.log_start);
        let mut search = Search { from, to, found: Vec::new() };
        let first = self.sealed.partition_point(|segment| segment.next_offset <= from);
        for segment in self.sealed[first..].iter().chain([&self.active]) {
            segment.aborted.as_ref().filter(|index| index.is_in_memory())?;
            if segment.search(&mut search)?.is_break() {
                break;
            }
        }
        Some(search.found)
    }

    /// [`Partition::aborted`], found in the log itself.
    fn aborted_by_the_log(&self, from: i64, to: i64) -> Result<Vec<AbortedTransaction>, LogError> {
        let mut search = Search { from, to, found: Vec::new() };
        let (mut producers, mut next) = (Producers::default(), 0);
        for segment in self.sealed.iter().chain([&self.active]) {
            let followed = follow(segment, self.config.leader_epoch, &mut producers, &mut next)?;
            if let Some(flaw) = followed.flaw.filter(|_| segment.next_offset > from) {
                return Err(segment.corrupt(flaw));
            }
            for aborted in followed.aborted {
                if search.take(aborted).is_break() {
                    return Ok(search.found);
                }
            }
        }
        Ok(search.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        let entry = AbortedEntry {
            relative_offset: 7,
            producer_id: 1 << 40,
            first_offset: 5,
            last_stable_offset: i64::MAX - 1,
        };
        let mut slot = [0; AbortedEntry::BYTES];
        entry.encode(&mut slot);
        assert_eq!(AbortedEntry::decode(&slot), entry);
        assert!(!entry.follows(&entry));
        assert!(AbortedEntry { relative_offset: 8, ..entry }.follows(&entry));
    }
}
