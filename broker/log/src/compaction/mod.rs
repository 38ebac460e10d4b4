//! Compaction: of each key the last record is kept, and every offset stays what it was.
//!
//! A pass looks at the sealed segments that are durable, oldest first. It first reads those that it has not seen before
//! and notes each key's last offset, then rewrites all from the log's start on without the records that a later one of
//! their key has made superfluous. A deletion, a key without a value, is kept as well: for a while, counted from the pass
//! that removed what it deletes, as its batch's header says from then on. Records without a key stay. Small neighbours
//! are written into one segment. Where nothing is left of a batch, a placeholder covers its offsets, so that batches
//! follow each other without a gap here as in every other log, and damage is found as easily; a reader that asks for an
//! offset without a record is given what follows. A producer's last batch stays, be it without its records, so that what
//! it sends again is known. Of a transaction that was aborted nothing stays but its marker, and a marker of which no record
//! is left stays as long as a deletion does; nothing is looked at of a transaction that is open.
//!
//! The work is done with the partition's lock released: [`Partition::begin_compaction`] takes down what there is,
//! [`Compaction::next_segment`] writes one segment beside those that it is to replace, [`Partition::replace`] shows it to
//! readers, and [`Swap::run`] puts it in its place on the disk, oldest first. Who reads holds the old files or the new.
//!
//! Invariants: every batch is checked before anything of it is written again. A deletion is removed only after all that it
//! deletes was, durably, because what lies before it was swapped before.

mod clean;
mod offset_map;
mod output;
mod progress;
mod swap;
mod transactions;

pub(crate) use self::progress::Progress;
pub use self::swap::Swap;
pub(crate) use self::swap::recover;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use self::offset_map::OffsetMap;
use self::transactions::Transactions;
use crate::config::{CompactionConfig, PartitionConfig};
use crate::cursor::Cursor;
use crate::error::LogError;
use crate::partition::Partition;
use crate::retention::is_older;
use crate::segment::{SEEK_CHUNK, Segment, log_path};
use crate::storage::{Storage, StorageFile};

/// Asked before every batch of so many bytes, on the thread that compacts: it may wait, and says whether to go on.
pub type Pace<'a> = dyn Fn(usize) -> bool + 'a;

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Compacted {
    /// The first offset that has not been through compaction.
    pub first_dirty: i64,
    /// Whether it came to where it meant to; if not, the next one starts over.
    pub is_complete: bool,
    /// Segments that others took the place of.
    pub segments_before: usize,
    /// The others.
    pub segments_after: usize,
    /// Bytes of the segments that others took the place of.
    pub bytes_before: u64,
    /// Bytes of the others.
    pub bytes_after: u64,
    /// Records that are no longer there.
    pub removed_records: u64,
    /// Batches kept as they are because their records cannot be decoded.
    pub opaque_batches: u64,
}

/// A sealed segment to be compacted.
#[derive(Debug)]
struct Input {
    base: i64,
    next: i64,
    bytes: u64,
    path: PathBuf,
    log: Arc<dyn StorageFile>,
}

/// A pass over a partition, begun by [`Partition::begin_compaction`].
#[must_use = "a pass does nothing until its segments are written and replaced"]
pub struct Compaction {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    config: PartitionConfig,
    compaction: CompactionConfig,
    now_ms: i64,
    log_start: i64,
    first_dirty: i64,
    /// What is left to do, oldest first.
    inputs: VecDeque<Input>,
    /// Where each active producer's last batch begins.
    last_batches: HashMap<i64, i64>,
    /// Those producers of whom it is yet to be looked for.
    untold: HashSet<i64>,
    /// Those of which something may be among what there is to do: all of them have ended.
    transactions: Transactions,
    /// The last offset of each key from `first_dirty` to `end`; `None` until the first segment is asked for.
    map: Option<OffsetMap>,
    /// The first offset that the map says nothing of.
    end: i64,
    /// Whether it was told to stop.
    is_stopped: bool,
    report: Compacted,
    /// Tells the partition that the pass is under way for as long as it lives.
    _running: Arc<()>,
}

impl fmt::Debug for Compaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, first_dirty, end, report, .. } = self;
        write!(f, "Compaction({}, from {first_dirty} to {end}, {report:?})", dir.display())
    }
}

/// A segment that was written, and those that it is to take the place of.
#[derive(Debug)]
#[must_use = "a segment counts once it has taken the place of others"]
pub struct Cleaned {
    segment: Segment,
    replaces: Vec<i64>,
    replaced_bytes: u64,
    removed_records: u64,
}

impl Partition {
    /// How much of what could be compacted has not been, in millionths of its bytes, where by `now_ms`, in milliseconds
    /// since 1970, that is enough for a pass.
    ///
    /// # Errors
    /// As [`Partition::begin_compaction`].
    pub fn compaction_due(&mut self, now_ms: i64) -> Result<Option<u32>, LogError> {
        let Some(config) = self.config.compaction else { return Ok(None) };
        let compacted = &self.compacted;
        if self.poisoned().is_some() || compacted.is_running() || compacted.refused.is_some() {
            return Ok(None);
        }
        self.roll_if_due(now_ms)?;
        let first_dirty = self.compacted.first_dirty.max(self.log_start);
        let (mut clean, mut dirty, mut is_late) = (0, 0, false);
        for segment in self.compactable(&config, now_ms) {
            if segment.next_offset <= first_dirty {
                clean += segment.bytes;
                continue;
            }
            if let Some(max_lag) = config.max_lag.filter(|_| dirty == 0) {
                is_late = self.oldest_time(segment)?.is_some_and(|oldest| is_older(oldest, now_ms, max_lag));
            }
            dirty += segment.bytes;
        }
        if dirty == 0 {
            return Ok(None);
        }
        let ratio = (u128::from(dirty) * 1_000_000 / u128::from(clean + dirty)) as u32;
        Ok((is_late || ratio >= config.min_dirty_ppm).then_some(ratio))
    }

    /// Begins a pass where one is due by `now_ms`, in milliseconds since 1970; one at a time. The active segment is rolled
    /// where that is due. Hand the pass back with [`Partition::finish_compaction`], whatever became of it.
    ///
    /// # Errors
    /// [`LogError::Full`], [`LogError::Corrupt`] or [`LogError::Storage`] where the active segment cannot be rolled, or the
    /// oldest record cannot be read.
    pub fn begin_compaction(&mut self, now_ms: i64) -> Result<Option<Compaction>, LogError> {
        let (Some(compaction), Some(_)) = (self.config.compaction, self.compaction_due(now_ms)?) else {
            return Ok(None);
        };
        let input = |segment: &Segment| Input {
            base: segment.base_offset,
            next: segment.next_offset,
            bytes: segment.bytes,
            path: segment.path.clone(),
            log: segment.log.clone(),
        };
        let inputs: VecDeque<Input> = self.compactable(&compaction, now_ms).map(input).collect();
        // What a power loss could take is not the last of anything yet.
        let (last_batches, untold) = self.producers.last_batches(self.durable_end);
        let end = inputs.back().map_or(self.log_start, |input| input.next);
        let transactions = Transactions::new(self.aborted(self.log_start, end)?);
        let running = Arc::new(());
        self.compacted.running = Arc::downgrade(&running);
        Ok(Some(Compaction {
            storage: self.storage.clone(),
            dir: self.dir.clone(),
            config: self.config.clone(),
            compaction,
            now_ms,
            log_start: self.log_start,
            first_dirty: self.compacted.first_dirty.max(self.log_start),
            inputs,
            last_batches,
            untold,
            transactions,
            map: None,
            end: 0,
            is_stopped: false,
            report: Compacted::default(),
            _running: running,
        }))
    }

    /// Shows readers a segment in the place of those that it was made from; `None` where retention has given up some of
    /// those meanwhile, with which the pass ends. Run what it returns with the partition's lock released, then hand it to
    /// [`Partition::finish_swap`].
    pub fn replace(&mut self, cleaned: Cleaned, pass: &mut Compaction) -> Option<Swap> {
        let Cleaned { mut segment, replaces, replaced_bytes, removed_records } = cleaned;
        let base = segment.base_offset;
        let first = self.sealed.iter().position(|held| held.base_offset == base);
        let is_there = |first: &usize| {
            let held = self.sealed[*first..].iter().map(|segment| segment.base_offset);
            held.take(replaces.len()).eq(replaces.iter().copied())
        };
        let Some(first) = first.filter(is_there) else {
            pass.is_stopped = true;
            return None;
        };
        segment.path = log_path(&self.dir, base);
        segment.is_swapping = true;
        let (next, bytes) = (segment.next_offset, segment.bytes);
        drop(self.sealed.splice(first..first + replaces.len(), [segment]));
        let report = &mut pass.report;
        report.segments_before += replaces.len();
        report.segments_after += 1;
        report.bytes_before += replaced_bytes;
        report.bytes_after += bytes;
        report.removed_records += removed_records;
        Some(Swap { storage: self.storage.clone(), dir: self.dir.clone(), base, next, replaced: replaces })
    }

    /// Settles a swap that was run, with what its run returned.
    ///
    /// # Errors
    /// The swap's own error; the log goes on, and is not compacted any more until it is opened again.
    pub fn finish_swap(&mut self, swap: &Swap, result: Result<(), LogError>) -> Result<(), LogError> {
        if let Some(segment) = self.sealed.iter_mut().find(|segment| segment.base_offset == swap.base) {
            segment.is_swapping = false;
        }
        result.inspect_err(|error| self.compacted.refused = Some(error.to_string().into()))
    }

    /// Ends a pass, with the error that ended it where there is one, and says what it did.
    ///
    /// # Errors
    /// That error. After a [`LogError::Corrupt`] there is no other pass until the partition is opened again.
    pub fn finish_compaction(
        &mut self,
        pass: Compaction,
        result: Result<(), LogError>,
    ) -> Result<Compacted, LogError> {
        if let Err(error @ LogError::Corrupt { .. }) = &result {
            self.compacted.refused = Some(error.to_string().into());
        }
        result?;
        let is_complete = pass.is_complete();
        if is_complete {
            self.compacted.advance(&*self.storage, &self.dir, pass.end);
        }
        Ok(Compacted { first_dirty: self.compacted.first_dirty, is_complete, ..pass.report })
    }

    /// One whole pass where one is due, in one go; `None` where none is.
    ///
    /// # Errors
    /// As [`Partition::begin_compaction`], [`Compaction::next_segment`], [`Swap::run`] and
    /// [`Partition::finish_compaction`].
    pub fn compact(&mut self, now_ms: i64) -> Result<Option<Compacted>, LogError> {
        let Some(mut pass) = self.begin_compaction(now_ms)? else { return Ok(None) };
        let result = loop {
            let cleaned = match pass.next_segment(&|_| true) {
                Ok(Some(cleaned)) => cleaned,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let Some(swap) = self.replace(cleaned, &mut pass) else { break Ok(()) };
            let ran = swap.run();
            if let Err(error) = self.finish_swap(&swap, ran) {
                break Err(error);
            }
        };
        self.finish_compaction(pass, result).map(Some)
    }

    /// Why the partition is not compacted any more until it is opened again, where that is so.
    pub fn uncompactable(&self) -> Option<&str> {
        self.compacted.refused.as_deref()
    }

    /// The first offset that has not been through compaction.
    pub fn first_dirty(&self) -> i64 {
        self.compacted.first_dirty.max(self.log_start)
    }

    /// The segments that may be compacted, oldest first.
    fn compactable<'a>(
        &'a self,
        config: &'a CompactionConfig,
        now_ms: i64,
    ) -> impl Iterator<Item = &'a Segment> + 'a {
        // What belongs to a transaction that is open may yet count or not.
        let end = self.last_stable_offset(self.durable_end);
        self.sealed.iter().take_while(move |segment| {
            let is_young = segment.max_timestamp >= 0
                && !config.min_lag.is_zero()
                && !is_older(segment.max_timestamp, now_ms, config.min_lag);
            segment.next_offset <= end && !is_young
        })
    }

    /// When a segment's first record was written, by its producer's clock, in milliseconds since 1970.
    fn oldest_time(&self, segment: &Segment) -> Result<Option<i64>, LogError> {
        let epoch = self.config.leader_epoch;
        let mut first = Cursor::new(&*segment.log, segment.start(), segment.bytes, epoch, SEEK_CHUNK);
        let first = first.next_header().map_err(|stop| segment.stopped(stop))?;
        let sent = first.filter(|(_, header)| !header.is_compacted() && header.base_timestamp >= 0);
        Ok(sent.map(|(_, header)| header.base_timestamp))
    }
}
