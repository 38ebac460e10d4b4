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
        let from = early.map_or(self.start(), |entry| self.near(entry.relative_offset));
        let max_bytes = partition.config.max_decompressed_bytes;
        self.walk_from(from, partition, |batch| {
            if batch.header.base_offset >= up_to {
                return Ok(Some(None));
            }
            if batch.header.max_timestamp < timestamp_ms {
                return Ok(None);
            }
            for record in records(batch.bytes.to_vec().into(), max_bytes)? {
                let record = record?;
                if record.timestamp_ms >= timestamp_ms && record.offset < up_to {
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
        if self.next_offset <= up_to {
            return Ok((self.bytes > 0).then_some(self.max_timestamp));
        }
        let relative = u32::try_from(up_to - self.base_offset).unwrap_or(u32::MAX);
        let below = self.time_index.floor(|entry| entry.relative_offset <= relative);
        let from = below.map_or(self.start(), |entry| self.near(entry.relative_offset));
        let mut largest = below.map(|entry| entry.max_timestamp_before);
        self.walk_from(from, partition, |batch| {
            let BatchHeader { base_offset, max_timestamp, .. } = batch.header;
            if base_offset >= up_to {
                return Ok(Some(()));
            }
            if batch.header.next_offset() <= up_to {
                largest = largest.max(Some(max_timestamp));
                return Ok(None);
            }
            for record in records(batch.bytes.to_vec().into(), partition.config.max_decompressed_bytes)? {
                let record = record?;
                largest = largest.max((record.offset < up_to).then_some(record.timestamp_ms));
            }
            Ok(Some(()))
        })?;
        Ok(largest)
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
