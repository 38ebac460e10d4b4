//! Opening a partition: believe the log alone, from the recovery point on.
//!
//! Below the recovery point everything was synced once, so what is wrong there is corruption and refused. From it on,
//! every batch is checked; the first that is not whole ends the log, and whatever follows is removed, for none of it
//! was ever acknowledged. What is kept is durable before anything of it is served. Zeros up to the file's end were filled
//! in ahead of the log's: they are cut off as well, and nothing is said of them.
//!
//! Invariant: recovery only ever removes bytes at or above the recovery point, below the log's start, or of segments in
//! whose place compaction has put another, and raises the
//! recovery point last, so it may be interrupted anywhere and starts over with the same outcome.

mod sealed;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::aborted;
use crate::checkpoint::{self, Checkpoint, RecoveryPoint};
use crate::compaction::{self, Progress};
use crate::config::PartitionConfig;
use crate::cursor::{Checked, Cursor, Flaw, Place, Stop};
use crate::error::LogError;
use crate::index::{Index, IndexEntry, OffsetEntry, TimeEntry};
use crate::partition::Partition;
use crate::producers::{Replay, Replayed};
use crate::segment::{Indexes, SCAN_CHUNK, Segment, base_offset_in, index_path, log_path, time_index_path};
use crate::storage::{Storage, StorageFile, create_dirs, parent_of};
use crate::sync::Durability;

/// What opening a partition found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The offset below which everything was known to be durable; `None` where no checkpoint could be read.
    pub recovery_point: Option<i64>,
    /// Bytes of batches that were checked.
    pub scanned_bytes: u64,
    /// Bytes removed from the log's end, whole segments included: torn, or behind something torn. Zeros at a file's end
    /// do not count: what was filled in ahead.
    pub truncated_bytes: u64,
    /// Segments removed, which followed something torn.
    pub removed_segments: usize,
    /// Segments removed that retention had given up before.
    pub expired_segments: usize,
    /// Segments of which an index was missing or damaged and was built again from the log.
    pub rebuilt_indexes: usize,
    /// Segments that compaction was putting in the place of others, and that are there now.
    pub finished_swaps: usize,
    /// The offset of the snapshot of producers that the log was followed from; `None` for the log's start.
    pub producer_snapshot: Option<i64>,
}

impl Partition {
    /// Opens the partition in `dir`, which is created where it is missing, and recovers what was not closed.
    ///
    /// Takes time in proportion to the last segment at most, unless the checkpoint is gone.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where bytes that were durable are not what was written, or [`LogError::Storage`].
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        config: PartitionConfig,
    ) -> Result<(Self, Recovery), LogError> {
        create_dirs(&*storage, dir).map_err(LogError::storage("create", dir))?;
        let (checkpoint, point) = Checkpoint::open(&*storage, dir)?;
        if point == RecoveryPoint::Missing {
            // Whoever created the directory may not have come to sync its name.
            let parent = parent_of(dir);
            storage.sync_dir(&parent).map_err(LogError::storage("sync", &parent))?;
        }
        let finished_swaps = compaction::recover(&*storage, dir)?;
        let names = storage.list(dir).map_err(LogError::storage("list", dir))?;
        let mut bases: Vec<i64> = names.iter().filter_map(|name| base_offset_in(name)).collect();
        let config = config.bounded();
        let mut opening = Opening {
            storage,
            dir,
            config,
            point,
            report: Recovery { finished_swaps, ..Recovery::default() },
        };
        opening.remove_expired(&mut bases)?;
        let mut segments = opening.segments(&bases)?;
        let mut active = match segments.pop() {
            Some(active) => active,
            None => Segment::create(&*opening.storage, dir, 0)?,
        };
        let replay = Replay {
            storage: &*opening.storage,
            dir,
            sealed: &mut segments,
            active: &mut active,
            leader_epoch: opening.config.leader_epoch,
            durable: point.offset(),
        };
        let Replayed { producers, snapshots, began_with, rebuilt_indexes } = replay.run(&names)?;
        opening.report.producer_snapshot = began_with;
        opening.report.rebuilt_indexes += rebuilt_indexes;
        let Opening { storage, config, report, .. } = opening;
        let compacted = Progress::open(&*storage, dir, point.offset().map(|_| active.next_offset))?;
        storage.sync_dir(dir).map_err(LogError::storage("sync", dir))?;
        let end = active.next_offset;
        let first = segments.first().unwrap_or(&active).base_offset;
        let log_start = point.log_start().map_or(first, |log_start| log_start.max(first));
        let checkpoint = match checkpoint {
            Some(mut checkpoint) => {
                checkpoint.assume_start(log_start);
                checkpoint.anchor(end).map_err(LogError::storage("write", &checkpoint::path(dir)))?;
                checkpoint
            }
            None => Checkpoint::create(&*storage, dir, end, log_start)?,
        };
        let partition = Self {
            storage,
            dir: dir.to_owned(),
            config,
            log_start,
            sealed: segments,
            durable_end: end,
            durable_segment: active.base_offset,
            active,
            shared: Arc::new(Durability::new(checkpoint)),
            producers,
            snapshots,
            compacted,
        };
        Ok((partition, report))
    }
}

struct Opening<'a> {
    storage: Arc<dyn Storage>,
    dir: &'a Path,
    config: PartitionConfig,
    point: RecoveryPoint,
    report: Recovery,
}

impl Opening<'_> {
    /// Opens the segments with these base offsets, the scanned ones synced, nothing torn left behind them.
    fn segments(&mut self, bases: &[i64]) -> Result<Vec<Segment>, LogError> {
        let first = bases.first().copied().unwrap_or(0);
        // From where to scan, and below what a flaw is corruption.
        let (scan_from, durable) = match self.point {
            RecoveryPoint::At { offset, .. } => (offset, offset),
            RecoveryPoint::Missing => (first, first),
            RecoveryPoint::Damaged => (first, i64::MAX),
        };
        if let RecoveryPoint::At { offset, log_start } = self.point {
            self.report.recovery_point = Some(offset);
            if bases.is_empty() && offset > 0 || first > log_start {
                return Err(self.missing(first, log_start));
            }
        }
        let scanned = bases.partition_point(|base| *base <= scan_from).saturating_sub(1);
        let mut segments = Vec::with_capacity(bases.len());
        for pair in bases[..(scanned + 1).min(bases.len())].windows(2) {
            segments.push(self.open_sealed(pair[0], pair[1])?);
        }
        for (at, &base) in bases.iter().enumerate().skip(scanned) {
            let (segment, flaw) = self.scan(base, scan_from)?;
            let next = bases.get(at + 1);
            let flaw = flaw.or_else(|| gap(&segment, next.copied()));
            let missing = flaw.is_none() && next.is_none() && segment.next_offset < durable;
            if flaw.as_ref().is_some_and(|flaw| flaw.at.offset < durable) || missing && durable < i64::MAX {
                let at = Place { position: segment.bytes, offset: segment.next_offset };
                let reason =
                    format!("the file ends before offset {durable}, below which everything was durable");
                return Err(segment.corrupt(flaw.unwrap_or(Flaw { at, reason })));
            }
            if flaw.is_some() {
                self.remove(&bases[at + 1..])?;
            }
            self.settle(&segment, durable)?;
            segments.push(segment);
            if flaw.is_some() {
                break;
            }
        }
        // Their last pages may have been in memory when the process died.
        let newest = segments.len().saturating_sub(1);
        segments[scanned.min(newest)..newest].iter_mut().for_each(Segment::seal);
        Ok(segments)
    }

    /// Removes the segments that retention gave up and did not come to remove, and takes them out of `bases`.
    fn remove_expired(&mut self, bases: &mut Vec<i64>) -> Result<(), LogError> {
        let RecoveryPoint::At { log_start, .. } = self.point else { return Ok(()) };
        // The last one that does not begin above the start holds it. Where that is missing, the one before it is kept in
        // its place, and whoever reads there is told.
        let expired = bases.partition_point(|base| *base <= log_start).saturating_sub(1);
        for base in bases.drain(..expired) {
            remove_segment(&*self.storage, self.dir, base)?;
            self.report.expired_segments += 1;
        }
        Ok(())
    }

    /// The error for a log that does not start where it should.
    fn missing(&self, first: i64, log_start: i64) -> LogError {
        LogError::Corrupt {
            file: log_path(self.dir, first),
            position: 0,
            offset: log_start,
            reason: format!("the segment that held offset {log_start} is missing"),
            checkpoint: checkpoint::path(self.dir),
        }
    }

    /// Checks a segment's batches from the last index entry at or below `from` on, to the end or the first flaw.
    fn scan(&mut self, base: i64, from: i64) -> Result<(Segment, Option<Flaw>), LogError> {
        let path = log_path(self.dir, base);
        let log = self.storage.open(&path).map_err(LogError::storage("open", &path))?;
        let limit = u32::try_from((from - base).max(0)).unwrap_or(u32::MAX);
        let (indexes, mut damaged) = self.indexes_up_to(base, limit)?;
        let mut segment = Segment::unread(path, log, indexes, base);
        if let (Some(entry), Some(time)) = (segment.index.last(), segment.time_index.last()) {
            let place = segment.place_of(entry);
            if entry.relative_offset == time.relative_offset && self.is_batch(&segment, place)? {
                segment.rewind(place, time.max_timestamp_before);
            } else {
                damaged = true;
                segment.clear_indexes().map_err(LogError::storage("write", &index_path(self.dir, base)))?;
            }
        }
        self.report.rebuilt_indexes += usize::from(damaged);
        let flaw = self.walk(&mut segment)?;
        Ok((segment, flaw))
    }

    /// What is sound of a segment's indexes up to a relative offset, ending in the same batch, or in none where there is
    /// no such; the flag says whether anything was damaged.
    fn indexes_up_to(&self, base: i64, limit: u32) -> Result<(Indexes, bool), LogError> {
        let (mut offset, mut damaged) = self.index_up_to(&index_path(self.dir, base), base, limit)?;
        let limit = offset.last().map_or(0, |entry: OffsetEntry| entry.relative_offset);
        let (time, time_damaged) = self.index_up_to(&time_index_path(self.dir, base), base, limit)?;
        damaged |= time_damaged;
        // Pages of the two hold different numbers of entries, so after a kill they end in different places.
        let common = time.last().map_or(0, |entry: TimeEntry| entry.relative_offset);
        if common < limit {
            (offset, _) = self.index_up_to(&index_path(self.dir, base), base, common)?;
        }
        Ok((Indexes { offset, time }, damaged))
    }

    fn index_up_to<E: IndexEntry>(
        &self,
        path: &Path,
        base: i64,
        limit: u32,
    ) -> Result<(Index<E>, bool), LogError> {
        match Index::open_for_recovery(&*self.storage, path, base, limit) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                let created = Index::create(&*self.storage, path, base);
                Ok((created.map_err(LogError::storage("create", path))?, true))
            }
            Err(error) => Err(LogError::storage("read", path)(error)),
        }
    }

    /// Whether a sound batch starts at a place that an index names.
    fn is_batch(&self, segment: &Segment, at: Place) -> Result<bool, LogError> {
        let end = segment.log.length().map_err(LogError::storage("read", &segment.path))?;
        if at.position >= end {
            return Ok(false);
        }
        match Cursor::new(&*segment.log, at, end, self.config.leader_epoch, 0).next_batch() {
            Ok(found) => Ok(found.is_some()),
            Err(Stop::Flaw(_)) => Ok(false),
            Err(Stop::Io(error)) => Err(LogError::storage("read", &segment.path)(error)),
        }
    }

    /// Notes the sound batches from where the segment stands on.
    fn walk(&mut self, segment: &mut Segment) -> Result<Option<Flaw>, LogError> {
        let log = segment.log.clone();
        let end = log.length().map_err(LogError::storage("read", &segment.path))?;
        let from = Place { position: segment.bytes, offset: segment.next_offset };
        let mut cursor = Cursor::new(&*log, from, end, self.config.leader_epoch, SCAN_CHUNK);
        let flaw = loop {
            match cursor.next_batch() {
                Ok(Some(Checked { position, header, bytes })) => {
                    if self.point.offset().is_some_and(|point| header.next_offset() > point) {
                        // A sync that failed in an earlier life has left pages that call themselves clean and are
                        // on no disk: only written again are they synced. The bytes are verified, and the same.
                        log.write_all_at(bytes, position)
                            .map_err(LogError::storage("write", &segment.path))?;
                    }
                    segment.note(&header, self.config.index_interval_bytes);
                }
                Ok(None) => break None,
                Err(Stop::Flaw(flaw)) => {
                    let written = written_end(&*log, flaw.at.position);
                    let written = written.map_err(LogError::storage("read", &segment.path))?;
                    break (written > flaw.at.position).then_some(flaw);
                }
                Err(Stop::Io(error)) => return Err(LogError::storage("read", &segment.path)(error)),
            }
        };
        self.report.scanned_bytes += segment.bytes - from.position;
        Ok(flaw)
    }

    /// Removes segments that follow a flaw, the newest first, so that what is left never has a hole.
    fn remove(&mut self, bases: &[i64]) -> Result<(), LogError> {
        for &base in bases.iter().rev() {
            let path = log_path(self.dir, base);
            let written = self.storage.open(&path).and_then(|log| written_end(&*log, 0));
            self.report.truncated_bytes += written.map_err(LogError::storage("read", &path))?;
            self.report.removed_segments += 1;
            remove_segment(&*self.storage, self.dir, base)?;
        }
        Ok(())
    }

    /// Cuts what follows the last sound batch and syncs what is not known to be durable.
    fn settle(&mut self, segment: &Segment, durable: i64) -> Result<(), LogError> {
        let end = segment.log.length().map_err(LogError::storage("read", &segment.path))?;
        if end > segment.bytes {
            let written = written_end(&*segment.log, segment.bytes);
            let written = written.map_err(LogError::storage("read", &segment.path))?;
            self.report.truncated_bytes += written - segment.bytes;
            segment.log.truncate(segment.bytes).map_err(LogError::storage("truncate", &segment.path))?;
        }
        if end > segment.bytes || segment.next_offset > durable || self.point == RecoveryPoint::Damaged {
            segment.log.sync().map_err(LogError::storage("sync", &segment.path))?;
        }
        Ok(())
    }
}

/// Where a file ends but for zeros; `from` where it has nothing else from there on.
fn written_end(file: &dyn StorageFile, from: u64) -> io::Result<u64> {
    let mut end = file.length()?.max(from);
    let mut chunk = vec![0; SCAN_CHUNK];
    while end > from {
        let count = (end - from).min(SCAN_CHUNK as u64);
        let bytes = &mut chunk[..count as usize];
        file.read_exact_at(bytes, end - count)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(end - count + last as u64 + 1);
        }
        end -= count;
    }
    Ok(from)
}

/// The flaw where a segment does not end where the next one starts.
fn gap(segment: &Segment, next: Option<i64>) -> Option<Flaw> {
    let next = next.filter(|next| *next != segment.next_offset)?;
    let at = Place { position: segment.bytes, offset: segment.next_offset };
    Some(Flaw { at, reason: format!("the file ends there, the next segment starts at offset {next}") })
}

/// Removes a segment's files, the log first: without it the others mean nothing.
pub(crate) fn remove_segment(storage: &dyn Storage, dir: &Path, base: i64) -> Result<(), LogError> {
    let derived = [index_path(dir, base), time_index_path(dir, base), aborted::path(dir, base)];
    for path in [log_path(dir, base)].into_iter().chain(derived) {
        remove_if_there(storage, &path)?;
    }
    Ok(())
}

/// Removes a file whose absence is as good.
pub(crate) fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<(), LogError> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::storage("remove", path)(error))
        }
        _ => Ok(()),
    }
}
