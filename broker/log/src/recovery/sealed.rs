//! Opening segments that lie wholly below the recovery point: by their indexes, without reading them.
//!
//! Invariant: what is wrong in such a segment is left to whoever reads there; only zeros behind its batches are removed.

use super::{Opening, written_end};
use crate::cursor::{Cursor, Stop};
use crate::error::LogError;
use crate::index::{Index, TimeEntry};
use crate::segment::{Indexes, SCAN_CHUNK, SEEK_CHUNK, Segment, index_path, log_path, time_index_path};

impl Opening<'_> {
    /// Opens a segment that lies wholly below the recovery point, without reading it.
    pub(super) fn open_sealed(&mut self, base: i64, next: i64) -> Result<Segment, LogError> {
        let path = log_path(self.dir, base);
        let log = self.storage.open(&path).map_err(LogError::storage("open", &path))?;
        let bytes = log.length().map_err(LogError::storage("read", &path))?;
        if let Some((indexes, max_timestamp)) = self.sealed_indexes(base, next) {
            let mut segment = Segment::unread(path, log, indexes, base);
            segment.bytes = bytes;
            let end = self.end_of_sealed(&segment, next)?;
            (segment.next_offset, segment.max_timestamp) = (next, max_timestamp);
            cut_zeros(&mut segment, end)?;
            return Ok(segment);
        }
        self.report.rebuilt_indexes += 1;
        let indexes = Indexes::create(&*self.storage, self.dir, base)?;
        let mut segment = Segment::unread(path, log, indexes, base);
        let file = segment.log.clone();
        let mut cursor = Cursor::new(&*file, segment.start(), bytes, self.config.leader_epoch, SCAN_CHUNK);
        while segment.next_offset < next {
            match cursor.next_batch() {
                Ok(Some(batch)) => segment.note(&batch.header, self.config.index_interval_bytes),
                Err(Stop::Io(error)) => return Err(LogError::storage("read", &segment.path)(error)),
                Ok(None) | Err(Stop::Flaw(_)) => {
                    // It is met again, and reported, by whoever reads there; whoever looks for a time must come by.
                    segment.max_timestamp = i64::MAX;
                    break;
                }
            }
        }
        let end = (segment.next_offset == next).then_some(segment.bytes);
        (segment.bytes, segment.next_offset) = (bytes, next);
        cut_zeros(&mut segment, end)?;
        segment.seal();
        Ok(segment)
    }

    /// Where the batches of a sealed segment end, looked for from its last index entry on and then from its start; `None`
    /// where that cannot be told for a flaw, which whoever reads there meets again.
    fn end_of_sealed(&self, segment: &Segment, next: i64) -> Result<Option<u64>, LogError> {
        let last = u32::try_from(next - 1 - segment.base_offset).unwrap_or(u32::MAX);
        // The index may be of an earlier life of the segment, so that only batches that are there count.
        for from in [segment.near(last), segment.start()] {
            if from.position > segment.bytes || from.offset >= next {
                continue;
            }
            let epoch = self.config.leader_epoch;
            let mut cursor = Cursor::new(&*segment.log, from, segment.bytes, epoch, SEEK_CHUNK);
            while cursor.place().offset < next {
                match cursor.next_header() {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(Stop::Flaw(_)) => break,
                    Err(Stop::Io(error)) => return Err(LogError::storage("read", &segment.path)(error)),
                }
            }
            if cursor.place().offset == next {
                return Ok(Some(cursor.place().position));
            }
        }
        Ok(None)
    }

    /// The indexes of a segment that was sealed, and its largest timestamp, where all of that is whole.
    fn sealed_indexes(&self, base: i64, next: i64) -> Option<(Indexes, i64)> {
        let offset = Index::open_sealed(&*self.storage, &index_path(self.dir, base), base)?;
        let time = Index::open_sealed(&*self.storage, &time_index_path(self.dir, base), base)?;
        let sealing: TimeEntry = time.last()?;
        let ends = base + i64::from(sealing.relative_offset) == next;
        ends.then_some((Indexes { offset, time }, sealing.max_timestamp_before))
    }
}

/// Cuts the zeros behind a sealed segment's batches, where their end is known: a crash may have undone the cut that was
/// made when it was sealed.
fn cut_zeros(segment: &mut Segment, end: Option<u64>) -> Result<(), LogError> {
    let Some(end) = end.filter(|end| *end < segment.bytes) else { return Ok(()) };
    let written = written_end(&*segment.log, end).map_err(LogError::storage("read", &segment.path))?;
    if written > end {
        return Ok(());
    }
    segment.bytes = end;
    segment.cut().map_err(LogError::storage("truncate", &segment.path))
}
