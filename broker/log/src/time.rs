//! Looking records up by their timestamps.
//!
//! Timestamps are the producers' own and need not rise, so what is found is the first record in the order of offsets.
//! Invariant: the time index only says what can be skipped; every answer comes from batches that were checked.

use topo_protocol::{BatchHeader, records};

use crate::cursor::{Checked, Cursor, Flaw, Place, Stop};
use crate::error::LogError;
use crate::partition::Partition;
use crate::segment::{SEEK_CHUNK, Segment};

/// A record's offset and its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Partition {
    /// The first record below `up_to` whose timestamp is at or after `timestamp_ms`; `None` where there is none.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where a batch that has to be looked at is damaged, [`LogError::Batch`] where its records
    /// cannot be decoded, or [`LogError::Storage`].
    pub fn offset_for_time(
        &self,
        timestamp_ms: i64,
        up_to: i64,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        for segment in self.segments_below(up_to).filter(|segment| segment.max_timestamp >= timestamp_ms) {
            let found = segment.offset_for_time(timestamp_ms, up_to, self)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record below `up_to` of those with the largest timestamp; `None` where there are no records.
    ///
    /// # Errors
    /// As [`Partition::offset_for_time`].
    pub fn max_timestamp(&self, up_to: i64) -> Result<Option<TimestampedOffset>, LogError> {
        let mut largest = None;
        for segment in self.segments_below(up_to) {
            largest = largest.max(segment.max_timestamp_below(up_to, self)?);
        }
        largest.map_or(Ok(None), |timestamp_ms| self.offset_for_time(timestamp_ms, up_to))
    }

    /// The segments that hold offsets below `up_to`, oldest first.
    fn segments_below(&self, up_to: i64) -> impl Iterator<Item = &Segment> {
        let all = self.sealed.iter().chain([&self.active]);
        all.take_while(move |segment| segment.base_offset < up_to)
    }
}

impl Segment {
    fn offset_for_time(
        &self,
        timestamp_ms: i64,
        up_to: i64,
        partition: &Partition,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        let early = self.time_index.floor(|entry| entry.max_timestamp_before < timestamp_ms);
        let early = early.map_or(0, |entry| entry.relative_offset).max(self.relative(partition.log_start));
        let from = self.near(early);
        let (max_bytes, log_start) = (partition.config.max_decompressed_bytes, partition.log_start);
        self.walk_from(from, partition, |batch| {
            if batch.header.base_offset >= up_to {
                return Ok(Some(None));
            }
            let has_none = batch.header.max_timestamp < timestamp_ms || batch.header.record_count == 0;
            if has_none || batch.header.next_offset() <= log_start {
                return Ok(None);
            }
            for record in records(batch.bytes.to_vec().into(), max_bytes)? {
                let record = record?;
                if record.timestamp_ms >= timestamp_ms && (log_start..up_to).contains(&record.offset) {
                    let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
                    return Ok(Some(Some(TimestampedOffset { offset, timestamp_ms })));
                }
            }
            Ok(None)
        })
        .map(Option::flatten)
    }

    /// The largest timestamp below `up_to`; `None` where there are no records.
    fn max_timestamp_below(&self, up_to: i64, partition: &Partition) -> Result<Option<i64>, LogError> {
        let log_start = partition.log_start;
        let is_whole = self.base_offset >= log_start;
        if is_whole && self.next_offset <= up_to {
            return Ok((self.max_timestamp > i64::MIN).then_some(self.max_timestamp));
        }
        let relative = self.relative(up_to);
        // Of a segment whose front was deleted, the index does not know what is left.
        let below = self.time_index.floor(|entry| is_whole && entry.relative_offset <= relative);
        let from = below.map_or(self.relative(log_start), |entry| entry.relative_offset);
        let before = below.map(|entry| entry.max_timestamp_before);
        let mut largest = before.filter(|before| *before > i64::MIN);
        self.walk_from(self.near(from), partition, |batch| {
            let BatchHeader { base_offset, max_timestamp, record_count, .. } = batch.header;
            if base_offset >= up_to {
                return Ok(Some(()));
            }
            if record_count == 0 {
                return Ok(None);
            }
            if base_offset >= log_start && batch.header.next_offset() <= up_to {
                largest = largest.max(Some(max_timestamp));
                return Ok(None);
            }
            for record in records(batch.bytes.to_vec().into(), partition.config.max_decompressed_bytes)? {
                let record = record?;
                let held = (log_start..up_to).contains(&record.offset);
                largest = largest.max(held.then_some(record.timestamp_ms));
            }
            Ok(None)
        })?;
        Ok(largest)
    }

    /// An offset as the indexes count it; 0 for those below the segment.
    fn relative(&self, offset: i64) -> u32 {
        u32::try_from((offset - self.base_offset).max(0)).unwrap_or(u32::MAX)
    }

    /// Shows `visit` the checked batches from a place of the index on, or from the start where the index was wrong, until
    /// it answers.
    fn walk_from<T>(
        &self,
        from: Place,
        partition: &Partition,
        mut visit: impl FnMut(Checked<'_>) -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, LogError> {
        let mut walk = |from: Place| {
            if from.position > self.bytes {
                let reason = "the file ends before".into();
                return Err(Walked::Stopped(Stop::Flaw(Flaw { at: from, reason })));
            }
            let epoch = partition.config.leader_epoch;
            let mut cursor = Cursor::new(&*self.log, from, self.bytes, epoch, SEEK_CHUNK);
            while let Some(batch) = cursor.next_batch().map_err(Walked::Stopped)? {
                if let Some(answer) = visit(batch).map_err(Walked::Refused)? {
                    return Ok(Some(answer));
                }
            }
            Ok(None)
        };
        let walked = match walk(from) {
            Err(Walked::Stopped(Stop::Flaw(_))) if from.position > 0 => walk(self.start()),
            walked => walked,
        };
        walked.map_err(|ended| match ended {
            Walked::Stopped(stop) => self.stopped(stop),
            Walked::Refused(error) => error,
        })
    }
}

/// Why a walk ended without reaching the end.
enum Walked {
    Stopped(Stop),
    Refused(LogError),
}
