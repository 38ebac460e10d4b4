//! A segment: the batches from one base offset on, verbatim in a file, and the indexes by offset and time beside it.
//!
//! Invariant: the file holds whole batches up to `bytes`, each following the one before without a gap, though not every
//! offset of a batch need have a record once it was compacted. What the file
//! has beyond is no part of the log: zeros that were filled in ahead, while the segment is the active one, or what a crash
//! left.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use topo_protocol::{BatchHeader, HEADER_BYTES};

use crate::aborted::{self, AbortedEntry};
use crate::buffers::Buffer;
use crate::checkpoint;
use crate::config::PartitionConfig;
use crate::cursor::{Cursor, Flaw, Place, Stop, sound_prefix};
use crate::error::LogError;
use crate::index::{Index, OffsetEntry, TimeEntry};
use crate::partition::Batches;
use crate::storage::{AtHand, Storage, StorageFile};
use ends::Ends;

/// Bytes to read at a time while looking for a batch between two index entries.
pub(crate) const SEEK_CHUNK: usize = 8 << 10;
/// Bytes that a segment is filled ahead by at least, so that a small one takes little room.
const FIRST_AHEAD: u64 = 16 << 10;
/// Bytes to read at a time where a whole file is walked.
pub(crate) const SCAN_CHUNK: usize = 256 << 10;

mod ends;

#[derive(Debug)]
pub(crate) struct Segment {
    /// The offset in the file's name: that of the first record.
    pub(crate) base_offset: i64,
    /// One past the last record.
    pub(crate) next_offset: i64,
    /// Bytes of whole batches.
    pub(crate) bytes: u64,
    pub(crate) path: PathBuf,
    pub(crate) log: Arc<dyn StorageFile>,
    pub(crate) index: Index<OffsetEntry>,
    pub(crate) time_index: Index<TimeEntry>,
    /// The aborted transactions whose markers the segment holds; `None` where only the log can say.
    pub(crate) aborted: Option<Index<AbortedEntry>>,
    /// The largest timestamp of the batches, in milliseconds since 1970; `i64::MAX` where a damaged one hides it, and
    /// `i64::MIN` where there are none.
    pub(crate) max_timestamp: i64,
    /// Bytes of batches since the last index entry.
    since_entry: u64,
    /// Up to where the file was filled ahead with zeros.
    filled: u64,
    /// Whether there was no room to fill ahead: then it is not tried again in this segment.
    no_room_ahead: bool,
    /// Where reads have ended.
    ends: Ends,
    /// Whether it is about to take the place of others on the disk, which must have happened before it can go.
    pub(crate) is_swapping: bool,
}

impl Segment {
    /// Creates an empty segment; its name is durable once the directory is synced.
    pub(crate) fn create(storage: &dyn Storage, dir: &Path, base_offset: i64) -> Result<Self, LogError> {
        // The indexes first: leftover ones are harmless, a leftover log would be in the way of the next attempt.
        let indexes = Indexes::create(storage, dir, base_offset)?;
        let path = aborted::path(dir, base_offset);
        let aborted = Index::create(storage, &path, base_offset);
        let aborted = aborted.map_err(LogError::storage("create", &path))?;
        let path = log_path(dir, base_offset);
        let log = storage.create(&path).map_err(LogError::storage("create", &path))?;
        Ok(Self { aborted: Some(aborted), ..Self::unread(path, log, indexes, base_offset) })
    }

    /// A segment of which nothing beyond its base offset is known yet.
    pub(crate) fn unread(
        path: PathBuf,
        log: Arc<dyn StorageFile>,
        indexes: Indexes,
        base_offset: i64,
    ) -> Self {
        Self {
            base_offset,
            next_offset: base_offset,
            bytes: 0,
            path,
            log,
            index: indexes.offset,
            time_index: indexes.time,
            aborted: None,
            max_timestamp: i64::MIN,
            since_entry: 0,
            filled: 0,
            no_room_ahead: false,
            ends: Ends::default(),
            is_swapping: false,
        }
    }

    /// Writes a placed batch behind the last one.
    pub(crate) fn append(
        &mut self,
        batch: &[u8],
        header: &BatchHeader,
        config: &PartitionConfig,
    ) -> io::Result<()> {
        self.fill_ahead(batch.len() as u64, config);
        self.log.write_all_at(batch, self.bytes)?;
        self.note(header, config.index_interval_bytes);
        Ok(())
    }

    /// Fills the file with zeros beyond a batch of `bytes` bytes that is about to be written, where it is not yet.
    fn fill_ahead(&mut self, bytes: u64, config: &PartitionConfig) {
        let end = self.bytes + bytes;
        let most = u64::from(config.preallocate_bytes);
        let ahead = self.bytes.max(FIRST_AHEAD).min(most);
        let to = (self.bytes + ahead).min(config.segment_bytes.into());
        if end <= self.filled || to <= end || self.no_room_ahead {
            return;
        }
        let from = self.filled.max(self.bytes);
        if self.log.preallocate(from, to - from).is_ok() {
            self.filled = to;
        } else {
            // The batch itself may fit, and others' into what this took.
            drop(self.log.truncate(self.bytes));
            (self.filled, self.no_room_ahead) = (0, true);
        }
    }

    /// Cuts what is filled ahead. Recovery does it where this could not, or did not last.
    pub(crate) fn trim(&mut self) {
        if self.filled > self.bytes {
            drop(self.log.truncate(self.bytes));
        }
        self.filled = 0;
    }

    /// Cuts a half-written batch and everything behind it.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        self.filled = 0;
        self.log.truncate(self.bytes)
    }

    /// Takes a batch that is in the file behind the last one into account.
    pub(crate) fn note(&mut self, header: &BatchHeader, interval: u32) {
        if self.since_entry >= u64::from(interval.max(1)) {
            // Rolling keeps both within 31 bits; a file that nobody rolled is walked from its last entry.
            let relative = u32::try_from(header.base_offset - self.base_offset);
            if let (Ok(relative_offset), Ok(position)) = (relative, u32::try_from(self.bytes)) {
                self.index.push(OffsetEntry { relative_offset, position });
                self.time_index.push(TimeEntry { max_timestamp_before: self.max_timestamp, relative_offset });
                self.since_entry = 0;
            }
        }
        self.since_entry += header.total_bytes() as u64;
        self.bytes += header.total_bytes() as u64;
        self.next_offset = header.next_offset();
        // What compaction left of a batch may be nothing.
        if header.record_count > 0 {
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        }
    }

    /// Goes back to the last entry of both indexes, from where the rest is to be noted anew.
    pub(crate) fn rewind(&mut self, to: Place, max_timestamp_before: i64) {
        (self.bytes, self.next_offset, self.since_entry) = (to.position, to.offset, 0);
        self.max_timestamp = max_timestamp_before;
        // The batch at an entry is noted again, without a second entry.
    }

    /// Whether a batch of `bytes` bytes that ends before `next_offset` belongs in a new segment.
    pub(crate) fn is_full(&self, bytes: usize, next_offset: i64, config: &PartitionConfig) -> bool {
        let too_long = self.bytes + bytes as u64 > u64::from(config.segment_bytes);
        let too_far = next_offset - self.base_offset > i64::from(i32::MAX);
        self.bytes > 0 && (too_long || too_far)
    }

    /// Forgets what the indexes say.
    pub(crate) fn clear_indexes(&mut self) -> io::Result<()> {
        self.index.clear()?;
        self.time_index.clear()
    }

    /// Completes log and indexes: nothing more is appended.
    pub(crate) fn seal(&mut self) {
        self.trim();
        // Rolling keeps offsets within 31 bits; the index of a file that nobody rolled is built again at every open.
        if let Ok(relative_offset) = u32::try_from(self.next_offset - self.base_offset) {
            self.time_index.push(TimeEntry { max_timestamp_before: self.max_timestamp, relative_offset });
        }
        self.index.seal();
        self.time_index.seal();
        if let Some(aborted) = &self.aborted {
            aborted.seal();
        }
    }

    /// The files derived from the log, to be synced once the segment is sealed.
    pub(crate) fn derived(&self) -> impl Iterator<Item = Arc<dyn StorageFile>> {
        let aborted = self.aborted.as_ref().map(Index::file);
        [self.index.file(), self.time_index.file()].into_iter().chain(aborted)
    }

    /// Where the segment starts.
    pub(crate) fn start(&self) -> Place {
        Place { position: 0, offset: self.base_offset }
    }

    /// Where the batch of an index entry should start.
    pub(crate) fn place_of(&self, entry: OffsetEntry) -> Place {
        let offset = self.base_offset + i64::from(entry.relative_offset);
        Place { position: u64::from(entry.position), offset }
    }

    /// The first place from the batch that holds `offset` on where a batch has records; `None` where no further one of this
    /// segment has any.
    pub(crate) fn find_records(
        &self,
        offset: i64,
        leader_epoch: i32,
    ) -> Result<Option<(Place, BatchHeader)>, LogError> {
        let (place, header) = self.find(offset, leader_epoch)?;
        if header.record_count > 0 {
            return Ok(Some((place, header)));
        }
        // A damaged count must not hide what is there, so that all that is passed over is checked.
        let mut cursor = Cursor::new(&*self.log, place, self.bytes, leader_epoch, SEEK_CHUNK);
        while let Some(batch) = cursor.next_batch().map_err(|stop| self.stopped(stop))? {
            if batch.header.record_count > 0 {
                let place = Place { position: batch.position, offset: batch.header.base_offset };
                return Ok(Some((place, batch.header)));
            }
        }
        Ok(None)
    }

    /// Whole batches from the one that holds `offset` on, up to about `max_bytes` and all below `up_to`.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        leader_epoch: i32,
    ) -> Result<Batches, LogError> {
        let found = self.find(offset, leader_epoch)?;
        self.read_at(found, max_bytes, up_to, leader_epoch)
    }

    /// [`Segment::read`] of what takes no waiting; `None` where it would take some, anything is wrong, or what is found
    /// has no records, all of which it takes another read to tell.
    pub(crate) fn read_at_hand(
        &self,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        leader_epoch: i32,
    ) -> Option<Batches> {
        let file = AtHand(self.log.clone());
        let near = match self.ends.at(offset) {
            Some(place) => place,
            None => {
                let relative_offset = u32::try_from(offset - self.base_offset).ok()?;
                let entry = self.index.floor_in_memory(|entry| entry.relative_offset <= relative_offset)?;
                entry.map_or(self.start(), |entry| self.place_of(entry))
            }
        };
        let found = self.walk_to(&file, offset, near, leader_epoch).ok()?;
        if found.1.record_count == 0 {
            return None;
        }
        self.read_from(&file, found, max_bytes, up_to, leader_epoch).ok()
    }

    /// Whole batches from the one found at a place on.
    pub(crate) fn read_at(
        &self,
        found: (Place, BatchHeader),
        max_bytes: usize,
        up_to: i64,
        leader_epoch: i32,
    ) -> Result<Batches, LogError> {
        self.read_from(&*self.log, found, max_bytes, up_to, leader_epoch)
    }

    fn read_from(
        &self,
        file: &dyn StorageFile,
        (place, first): (Place, BatchHeader),
        max_bytes: usize,
        up_to: i64,
        leader_epoch: i32,
    ) -> Result<Batches, LogError> {
        if first.next_offset() > self.next_offset {
            let reason =
                format!("it says that it ends at offset {}, behind the segment's end", first.next_offset());
            return Err(self.corrupt(Flaw { at: place, reason }));
        }
        if first.next_offset() > up_to {
            return Ok(Batches::NONE);
        }
        let left = usize::try_from(self.bytes - place.position).unwrap_or(usize::MAX);
        let bytes = max_bytes.min(left).max(first.total_bytes());
        let buffer = Buffer::read(file, place.position, bytes);
        let buffer = buffer.map_err(LogError::storage("read", &self.path))?;
        let end = sound_prefix(buffer.as_ref(), place, up_to, leader_epoch);
        let end = end.map_err(|flaw| self.corrupt(flaw))?;
        self.ends.note(end);
        let bytes = buffer.into_bytes((end.position - place.position) as usize);
        Ok(Batches { next_offset: (!bytes.is_empty()).then_some(end.offset), bytes })
    }

    /// The batch that holds `offset`.
    fn find(&self, offset: i64, leader_epoch: i32) -> Result<(Place, BatchHeader), LogError> {
        let near = || self.near(u32::try_from(offset - self.base_offset).unwrap_or(u32::MAX));
        let near = self.ends.at(offset).unwrap_or_else(near);
        // The index is never believed over the log: a walk that fails from one of its entries starts over.
        let found = match self.walk_to(&*self.log, offset, near, leader_epoch) {
            Err(Stop::Flaw(_)) if near.position > 0 => {
                self.walk_to(&*self.log, offset, self.start(), leader_epoch)
            }
            found => found,
        };
        found.map_err(|stop| self.stopped(stop))
    }

    /// The last place known at or below an offset relative to the base.
    pub(crate) fn near(&self, relative_offset: u32) -> Place {
        let entry = self.index.floor(|entry| entry.relative_offset <= relative_offset);
        entry.map_or(self.start(), |entry| self.place_of(entry))
    }

    fn walk_to(
        &self,
        file: &dyn StorageFile,
        offset: i64,
        from: Place,
        leader_epoch: i32,
    ) -> Result<(Place, BatchHeader), Stop> {
        if from.position > self.bytes {
            return Err(Stop::Flaw(Flaw { at: from, reason: "the file ends before".into() }));
        }
        // The first header alone where it is known to be the one; `fill` reads a chunk otherwise.
        let chunk = if from.offset == offset { HEADER_BYTES } else { SEEK_CHUNK };
        let mut cursor = Cursor::new(file, from, self.bytes, leader_epoch, chunk);
        while let Some((place, header)) = cursor.next_header()? {
            if header.next_offset() > offset {
                return Ok((place, header));
            }
        }
        Err(Stop::Flaw(Flaw { at: cursor.place(), reason: format!("the file ends before offset {offset}") }))
    }

    /// The error for a walk through this segment that could not go on.
    pub(crate) fn stopped(&self, stop: Stop) -> LogError {
        match stop {
            Stop::Flaw(flaw) => self.corrupt(flaw),
            Stop::Io(error) => LogError::storage("read", &self.path)(error),
        }
    }

    /// The error for a flaw in this segment.
    pub(crate) fn corrupt(&self, flaw: Flaw) -> LogError {
        corrupt(&self.path, flaw)
    }
}

/// The error for a flaw in a segment's file.
pub(crate) fn corrupt(file: &Path, flaw: Flaw) -> LogError {
    LogError::Corrupt {
        file: file.to_owned(),
        position: flaw.at.position,
        offset: flaw.at.offset,
        reason: flaw.reason,
        checkpoint: checkpoint::path(file.parent().unwrap_or(Path::new(""))),
    }
}

/// A segment's indexes.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) offset: Index<OffsetEntry>,
    pub(crate) time: Index<TimeEntry>,
}

impl Indexes {
    /// Empty ones, in place of leftover ones.
    pub(crate) fn create(storage: &dyn Storage, dir: &Path, base: i64) -> Result<Self, LogError> {
        Self::create_at(storage, &index_path(dir, base), &time_index_path(dir, base), base)
    }

    /// Empty ones in these files, in place of leftover ones.
    pub(crate) fn create_at(
        storage: &dyn Storage,
        offset: &Path,
        time: &Path,
        base: i64,
    ) -> Result<Self, LogError> {
        Ok(Self {
            offset: Index::create(storage, offset, base).map_err(LogError::storage("create", offset))?,
            time: Index::create(storage, time, base).map_err(LogError::storage("create", time))?,
        })
    }
}

/// `DIR/00000000000000000042.log`.
pub(crate) fn log_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.log"))
}

/// `DIR/00000000000000000042.index`.
pub(crate) fn index_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.index"))
}

/// `DIR/00000000000000000042.timeindex`.
pub(crate) fn time_index_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.timeindex"))
}

/// The base offset in a segment's file name; `None` for any other file.
pub(crate) fn base_offset_in(name: &str) -> Option<i64> {
    offset_in(name, ".log")
}

/// The offset in the name of a file that ends in `suffix`.
pub(crate) fn offset_in(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    let is_offset = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_offset { digits.parse().ok() } else { None }
}
