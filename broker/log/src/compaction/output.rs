//! The segment that compaction writes, beside those that it is to take the place of.
//!
//! Invariant: it covers the offsets from its base on without a gap, once what is missing at its end is covered as well.

use std::path::Path;

use topo_protocol::{BatchHeader, check, placeholder};

use super::swap::{cleaned, derived_paths};
use crate::aborted::AbortedTransaction;
use crate::config::PartitionConfig;
use crate::error::{LogError, is_full};
use crate::index::Index;
use crate::recovery::remove_if_there;
use crate::segment::{Indexes, SCAN_CHUNK, Segment, log_path};
use crate::storage::Storage;

#[derive(Debug)]
pub(super) struct Output {
    segment: Segment,
    /// What is not written yet; it ends where the segment does.
    buffer: Vec<u8>,
    leader_epoch: i32,
    interval: u32,
}

impl Output {
    /// Begins an empty segment, in place of one that was not finished.
    pub(super) fn create(
        storage: &dyn Storage,
        dir: &Path,
        config: &PartitionConfig,
        base: i64,
    ) -> Result<Self, LogError> {
        let path = cleaned(&log_path(dir, base));
        let derived = derived_paths(dir, base).map(|path| cleaned(&path));
        remove_if_there(storage, &path)?;
        let log = storage.create(&path).map_err(failed("create", &path))?;
        let [offset, time, aborted] = &derived;
        let indexes = Indexes::create_at(storage, offset, time, base)?;
        let aborted = Index::create(storage, aborted, base).map_err(failed("create", aborted))?;
        let mut segment = Segment::unread(path, log, indexes, base);
        segment.aborted = Some(aborted);
        Ok(Self {
            segment,
            buffer: Vec::new(),
            leader_epoch: config.leader_epoch,
            interval: config.index_interval_bytes,
        })
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.segment.bytes
    }

    /// Adds a batch, behind a placeholder for the offsets in front of it that are missing.
    pub(super) fn put(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), LogError> {
        self.cover(header.base_offset)?;
        self.push(header, batch)
    }

    /// Notes a transaction whose marker was just added.
    pub(super) fn note_aborted(&mut self, aborted: &AbortedTransaction) {
        self.segment.note_aborted(aborted);
    }

    /// Covers what is missing below `end`.
    fn cover(&mut self, end: i64) -> Result<(), LogError> {
        while self.segment.next_offset < end {
            let from = self.segment.next_offset;
            let delta = i32::try_from(end - 1 - from).unwrap_or(i32::MAX);
            let batch = placeholder(from, delta, self.leader_epoch);
            self.push(&check(&batch)?, &batch)?;
        }
        Ok(())
    }

    fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), LogError> {
        self.buffer.extend_from_slice(batch);
        self.segment.note(header, self.interval);
        if self.buffer.len() >= SCAN_CHUNK { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), LogError> {
        let at = self.segment.bytes - self.buffer.len() as u64;
        let written = self.segment.log.write_all_at(&self.buffer, at);
        written.map_err(failed("write", &self.segment.path))?;
        self.buffer.clear();
        Ok(())
    }

    /// The segment, whole up to `end` and synced.
    pub(super) fn finish(mut self, end: i64) -> Result<Segment, LogError> {
        self.cover(end)?;
        self.write()?;
        self.segment.log.sync().map_err(failed("sync", &self.segment.path))?;
        self.segment.seal();
        for index in self.segment.derived() {
            // Checked whenever it is read.
            drop(index.sync());
        }
        Ok(self.segment)
    }

    /// Removes what was written.
    pub(super) fn discard(self, storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
        let base = self.segment.base_offset;
        let paths = [log_path(dir, base)].into_iter().chain(derived_paths(dir, base));
        // Every one is tried, whatever becomes of those before it.
        let removed = paths.map(|path| remove_if_there(storage, &cleaned(&path)));
        removed.fold(Ok(()), Result::and)
    }
}

/// The error for a file that cannot be written.
fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> LogError + 'a {
    move |error| match is_full(&error) {
        true => LogError::Full { file: path.to_owned() },
        false => LogError::storage(action, path)(error),
    }
}
