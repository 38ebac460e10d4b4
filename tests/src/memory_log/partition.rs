//! One partition in memory: records and the markers of transactions, and who may read what.
//!
//! Invariant: `open` has every transaction that is open with the offset of its first record here.

use std::collections::{BTreeMap, BTreeSet};

use topo_core::log::{Consumed, FetchLimit, Fetched, Isolation, LogError, Offsets, Record, TopicPartition};

#[derive(Clone, Default)]
pub(super) struct Partition {
    /// Offset of the first entry held.
    log_start: i64,
    entries: Vec<Entry>,
    open: BTreeMap<u64, i64>,
    aborted: BTreeSet<u64>,
}

#[derive(Clone)]
struct Entry {
    record: Consumed,
    /// The transaction that it is of.
    of: Option<u64>,
    is_marker: bool,
}

impl Partition {
    pub(super) fn end(&self) -> i64 {
        self.log_start + self.entries.len() as i64
    }

    /// One past the last record that may be read.
    pub(super) fn readable_end(&self, isolation: Isolation) -> i64 {
        let first_open = self.open.values().min().copied();
        match isolation {
            Isolation::ReadCommitted => first_open.unwrap_or_else(|| self.end()),
            Isolation::ReadUncommitted => self.end(),
        }
    }

    pub(super) fn offsets(&self) -> Offsets {
        let high_watermark = self.readable_end(Isolation::ReadCommitted);
        Offsets { log_start: self.log_start, high_watermark, log_end: self.end() }
    }

    /// Appends records, as part of a transaction where `of` is one, and returns the offset of the first.
    pub(super) fn append(&mut self, records: &[Record], of: Option<u64>, now_ms: i64) -> i64 {
        let base_offset = self.end();
        if let Some(of) = of
            && !records.is_empty()
        {
            self.open.entry(of).or_insert(base_offset);
        }
        self.entries.extend(records.iter().zip(base_offset..).map(|(record, offset)| {
            let record = Consumed {
                offset,
                timestamp_ms: record.timestamp_ms.unwrap_or(now_ms),
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
            };
            Entry { record, of, is_marker: false }
        }));
        base_offset
    }

    /// Marks the end of a transaction, if it has records here.
    pub(super) fn end_transaction(&mut self, of: u64, is_committed: bool, now_ms: i64) {
        if self.open.remove(&of).is_none() {
            return;
        }
        if !is_committed {
            self.aborted.insert(of);
        }
        self.append(&[Record::default()], None, now_ms);
        if let Some(marker) = self.entries.last_mut() {
            marker.is_marker = true;
        }
    }

    /// What a reader is shown, in order, whatever its offset.
    pub(super) fn readable(&self, isolation: Isolation) -> impl Iterator<Item = &Consumed> {
        let readable = (self.readable_end(isolation) - self.log_start) as usize;
        self.entries[..readable]
            .iter()
            .filter(move |entry| self.shows(entry, isolation))
            .map(|one| &one.record)
    }

    fn shows(&self, entry: &Entry, isolation: Isolation) -> bool {
        let is_aborted = || entry.of.is_some_and(|of| self.aborted.contains(&of));
        !entry.is_marker && (isolation == Isolation::ReadUncommitted || !is_aborted())
    }

    /// Reads at most so many records from `offset` on.
    pub(super) fn fetch(
        &self,
        at: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
        most: usize,
    ) -> Result<Fetched, LogError> {
        let high_watermark = self.readable_end(limit.isolation);
        let held = Offsets { high_watermark, ..self.offsets() };
        if !(held.log_start..=held.log_end).contains(&offset) {
            return Err(LogError::OffsetOutOfRange { at: at.clone(), asked: offset, held });
        }
        let mut fetched = Fetched { records: Vec::new(), next_offset: offset, high_watermark };
        let mut bytes = 0;
        for entry in self.entries.iter().skip((offset - self.log_start) as usize) {
            let is_full = bytes >= limit.max_bytes || fetched.records.len() >= most;
            if is_full || entry.record.offset >= high_watermark {
                break;
            }
            if self.shows(entry, limit.isolation) {
                bytes += entry.record.value.as_ref().map_or(0, |value| value.len());
                fetched.records.push(entry.record.clone());
            }
            fetched.next_offset = entry.record.offset + 1;
        }
        Ok(fetched)
    }

    /// Deletes what is below `offset`.
    pub(super) fn delete_before(&mut self, offset: i64) {
        let gone = usize::try_from(offset - self.log_start).unwrap_or(0).min(self.entries.len());
        self.entries.drain(..gone);
        self.log_start += gone as i64;
    }
}
