//! Giving up what is too old, too much, or asked to be deleted: the log's start moves, and whole segments before it go.
//!
//! First the new start of the log is made durable, then readers are refused what lies before, then files are removed; so
//! a crash anywhere leaves either the segments or the knowledge that they were given up. A reader that holds a file goes
//! on reading it.
//!
//! Invariant: the log's start is durable before it is told, lies in a segment whose name is durable, and never goes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cursor::Cursor;
use crate::error::LogError;
use crate::partition::Partition;
use crate::recovery::remove_segment;
use crate::segment::{SEEK_CHUNK, Segment};
use crate::storage::Storage;
use crate::sync::Durability;

/// A new start of the log, taken by [`Partition::begin_retention`] or [`Partition::begin_deletion`].
#[derive(Debug)]
#[must_use = "nothing is given up until the start was moved and handed to `finish_retention`"]
pub struct NewStart {
    shared: Arc<Durability>,
    dir: PathBuf,
    log_start: i64,
    durable_end: i64,
    /// Base offset of the active segment.
    active: i64,
    /// What to sync the directory with, where segments were created since it was synced.
    created: Option<Arc<dyn Storage>>,
}

impl NewStart {
    /// The offset that the log is to start with.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// Makes the new start durable. Takes no lock that appends or reads take.
    ///
    /// # Errors
    /// What the storage says; nothing is given up then, and the next attempt may succeed, unless the names of segments
    /// could not be made durable: that poisons the partition.
    pub fn run(&self) -> Result<(), LogError> {
        if let Some(storage) = &self.created {
            // The segment that the log is to start with must not be missing where the start is found.
            let synced = storage.sync_dir(&self.dir).map_err(LogError::storage("sync", &self.dir));
            synced.inspect_err(|error| self.shared.poison(error))?;
        }
        self.shared.move_start(&self.dir, self.log_start, self.durable_end)
    }
}

/// Segments that are no longer part of the log; their files are there until [`Expired::remove`].
#[derive(Debug)]
#[must_use = "the files stay until they are removed"]
pub struct Expired {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    segments: Vec<Segment>,
}

impl Expired {
    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of their batches.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Removes their files.
    ///
    /// # Errors
    /// [`LogError::Storage`]; what is left is removed when the partition is opened next.
    pub fn remove(self) -> Result<(), LogError> {
        let removed = self
            .segments
            .iter()
            .map(|segment| remove_segment(&*self.storage, &self.dir, segment.base_offset));
        // Every one is tried, whatever becomes of those before it.
        removed.fold(Ok(()), Result::and)
    }
}

impl Partition {
    /// Rolls the active segment where it is due, and says where the log is to start by `now_ms`, in milliseconds since
    /// 1970; `None` where all is kept. Run what it returns with the partition's lock released, then hand it to
    /// [`Partition::finish_retention`].
    ///
    /// # Errors
    /// [`LogError::Full`], [`LogError::Corrupt`] or [`LogError::Storage`] where the active segment cannot be rolled.
    pub fn begin_retention(&mut self, now_ms: i64) -> Result<Option<NewStart>, LogError> {
        if self.poisoned().is_some() {
            return Ok(None);
        }
        self.producers.expire(now_ms, self.config.producer_expiration);
        self.roll_if_due(now_ms)?;
        let count = self.expired(now_ms);
        let first_kept = self.sealed.get(count).unwrap_or(&self.active);
        let log_start = first_kept.base_offset.max(self.log_start);
        Ok((count > 0).then(|| self.new_start(log_start)))
    }

    /// Says what deleting every record below `offset` takes; `None` where there is none any more. Run what it returns with
    /// the partition's lock released, then hand it to [`Partition::finish_retention`].
    ///
    /// Where nothing is left, the active segment is rolled, so that its bytes go as well.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] beyond the durable end; [`LogError::Poisoned`]; [`LogError::Full`] or
    /// [`LogError::Storage`] where the active segment cannot be rolled.
    pub fn begin_deletion(&mut self, offset: i64) -> Result<Option<NewStart>, LogError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(LogError::Poisoned { reason: reason.clone() });
        }
        if offset > self.durable_end {
            let (log_start, log_end) = (self.log_start, self.durable_end);
            return Err(LogError::OffsetOutOfRange { asked: offset, log_start, log_end });
        }
        if offset <= self.log_start {
            return Ok(None);
        }
        if offset == self.log_end() && self.active.bytes > 0 {
            self.roll()?;
        }
        Ok(Some(self.new_start(offset)))
    }

    fn new_start(&self, log_start: i64) -> NewStart {
        let active = self.active.base_offset;
        NewStart {
            shared: self.shared.clone(),
            dir: self.dir.clone(),
            log_start,
            durable_end: self.durable_end,
            active,
            created: (active > self.durable_segment).then(|| self.storage.clone()),
        }
    }

    /// Moves the log's start to one that was made durable, and takes the segments before it out of the log: from now on
    /// they are out of range.
    pub fn finish_retention(&mut self, start: &NewStart) -> Expired {
        self.log_start = self.log_start.max(start.log_start);
        self.durable_segment = self.durable_segment.max(start.active);
        // One that is being put in the place of others on the disk goes next time.
        let goes = |segment: &&Segment| segment.next_offset <= start.log_start && !segment.is_swapping;
        let count = self.sealed.iter().take_while(goes).count();
        let segments = self.sealed.drain(..count).collect();
        Expired { storage: self.storage.clone(), dir: self.dir.clone(), segments }
    }

    /// Gives up what is due by `now_ms`, in one go, and says how many segments that were.
    ///
    /// # Errors
    /// As [`Partition::begin_retention`], [`NewStart::run`] and [`Expired::remove`].
    pub fn retain(&mut self, now_ms: i64) -> Result<usize, LogError> {
        let Some(start) = self.begin_retention(now_ms)? else { return Ok(0) };
        start.run()?;
        let expired = self.finish_retention(&start);
        let segments = expired.segments();
        expired.remove().map(|()| segments)
    }

    /// Deletes every record below `offset`, in one go, and returns the log's start.
    ///
    /// # Errors
    /// As [`Partition::begin_deletion`], [`NewStart::run`] and [`Expired::remove`].
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, LogError> {
        if let Some(start) = self.begin_deletion(offset)? {
            start.run()?;
            self.finish_retention(&start).remove()?;
        }
        Ok(self.log_start)
    }

    /// How many of the oldest segments are to go.
    fn expired(&self, now_ms: i64) -> usize {
        let retention = &self.config.retention;
        // What has not been synced yet is not given up, nor what is being put in the place of others.
        let may_go = |segment: &&Segment| segment.next_offset <= self.durable_end && !segment.is_swapping;
        let durable = self.sealed.iter().take_while(may_go);
        let mut bytes = self.bytes();
        let goes = |segment: &&Segment| {
            bytes -= segment.bytes;
            let too_old = retention.max_age.is_some_and(|max_age| match segment.max_timestamp {
                // Compaction has left nothing of it.
                i64::MIN => true,
                newest => newest >= 0 && is_older(newest, now_ms, max_age),
            });
            too_old || retention.max_bytes.is_some_and(|max_bytes| bytes >= max_bytes)
        };
        durable.take_while(goes).count()
    }

    /// Seals the active segment where its first record is so old that another should follow.
    pub(crate) fn roll_if_due(&mut self, now_ms: i64) -> Result<(), LogError> {
        if self.is_roll_due(now_ms)? { self.roll() } else { Ok(()) }
    }

    /// Whether the active segment's first record is so old that another segment should follow.
    fn is_roll_due(&self, now_ms: i64) -> Result<bool, LogError> {
        let Segment { log, bytes, .. } = &self.active;
        let mut first =
            Cursor::new(&**log, self.active.start(), *bytes, self.config.leader_epoch, SEEK_CHUNK);
        let first = first.next_batch().map_err(|stop| self.active.stopped(stop))?;
        let timestamp = first.map(|first| match first.header.is_compacted() {
            // It was sealed before, and the segment behind it lost.
            true => self.active.max_timestamp,
            false => first.header.base_timestamp,
        });
        let timestamp = timestamp.filter(|timestamp| *timestamp >= 0);
        let max_lag = self.config.compaction.and_then(|compaction| compaction.max_lag);
        let roll_after = self.config.retention.roll_after.min(max_lag.unwrap_or(Duration::MAX));
        Ok(timestamp.is_some_and(|timestamp| is_older(timestamp, now_ms, roll_after)))
    }
}

/// Whether a record of `timestamp_ms` is older than `age`.
pub(crate) fn is_older(timestamp_ms: i64, now_ms: i64, age: Duration) -> bool {
    let age_ms = now_ms.saturating_sub(timestamp_ms);
    u128::try_from(age_ms).is_ok_and(|age_ms| age_ms > age.as_millis())
}
