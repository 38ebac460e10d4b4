//! A pass's work: the map of what is new, then one segment after another.

use bytes::{Bytes, BytesMut};
use topo_protocol::{BatchError, BatchHeader, DecodedRecord, Rebuild, rebuild, records};

use super::offset_map::OffsetMap;
use super::output::Output;
use super::{Cleaned, Compaction, Input, Pace};
use crate::cursor::{Checked, Cursor, Place, Stop};
use crate::error::LogError;
use crate::segment::{SCAN_CHUNK, corrupt};

impl Compaction {
    /// Writes the next segment; `None` where there is no other, or `pace` has said to stop. Takes no lock that appends or
    /// reads take.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] for a batch that is damaged: nothing of its segment was touched. [`LogError::Full`] or
    /// [`LogError::Storage`].
    pub fn next_segment(&mut self, pace: &Pace<'_>) -> Result<Option<Cleaned>, LogError> {
        let map = match self.map.take() {
            Some(map) => map,
            None => {
                self.find_last_batches()?;
                self.read_new(pace)?
            }
        };
        let cleaned = self.next_with(&map, pace);
        self.map = Some(map);
        cleaned
    }

    /// Whether all that the map speaks of was rewritten.
    pub(super) fn is_complete(&self) -> bool {
        let is_done = self.inputs.front().is_none_or(|input| input.base >= self.end);
        !self.is_stopped && self.map.is_some() && is_done
    }

    /// Looks for the last batches of those producers of whom the partition remembers none that is durable.
    fn find_last_batches(&mut self) -> Result<(), LogError> {
        if self.untold.is_empty() {
            return Ok(());
        }
        for input in &self.inputs {
            let mut cursor = input.cursor(self.config.leader_epoch);
            while let Some((_, header)) = cursor.next_header().map_err(|stop| input.stopped(stop))? {
                if self.untold.contains(&header.producer_id) {
                    self.last_batches.insert(header.producer_id, header.base_offset);
                }
            }
        }
        Ok(())
    }

    /// Notes the last offset of each key that has not been seen before, until the map is full or all is read.
    fn read_new(&mut self, pace: &Pace<'_>) -> Result<OffsetMap, LogError> {
        let first_dirty = self.first_dirty;
        let new = self.inputs.iter().filter(|input| input.next > first_dirty);
        let most: i64 = new.clone().map(|input| input.next - input.base.max(first_dirty)).sum();
        let keys = usize::try_from(most).unwrap_or(usize::MAX);
        let mut map = OffsetMap::new(keys, self.compaction.map_bytes);
        self.end = first_dirty;
        for input in new {
            let mut cursor = input.cursor(self.config.leader_epoch);
            while let Some(batch) = cursor.next_batch().map_err(|stop| input.stopped(stop))? {
                if !pace(batch.bytes.len()) {
                    self.is_stopped = true;
                    return Ok(map);
                }
                if batch.header.next_offset() <= first_dirty {
                    continue;
                }
                let count = batch.header.record_count as usize;
                if map.room() < count {
                    if self.end > first_dirty {
                        return Ok(map);
                    }
                    // A pass that does not get anywhere would be no use.
                    map.reserve(count);
                }
                if !self.transactions.is_aborted(&batch.header) {
                    note(&mut map, &batch, self.config.max_decompressed_bytes);
                }
                self.end = batch.header.next_offset();
            }
        }
        Ok(map)
    }

    /// Writes the next segment that is not as it was.
    fn next_with(&mut self, map: &OffsetMap, pace: &Pace<'_>) -> Result<Option<Cleaned>, LogError> {
        while !self.is_stopped && !self.is_complete_with(map) {
            let Some(base) = self.inputs.front().map(|input| input.base) else { break };
            let mut group = Group {
                output: Output::create(&*self.storage, &self.dir, &self.config, base)?,
                replaces: Vec::new(),
                replaced_bytes: 0,
                removed_records: 0,
                is_changed: false,
            };
            let mut next = base;
            let mut written = Ok(());
            while written.is_ok()
                && let Some(input) =
                    self.inputs.pop_front_if(|input| group.takes(input, self.end, &self.config))
            {
                written = self.clean(&input, map, pace, &mut group);
                next = input.next;
            }
            if written.is_err() || self.is_stopped || !group.is_changed {
                let discarded = group.output.discard(&*self.storage, &self.dir);
                written?;
                discarded?;
                continue;
            }
            let Group { output, replaces, replaced_bytes, removed_records, .. } = group;
            let segment = output.finish(next)?;
            return Ok(Some(Cleaned { segment, replaces, replaced_bytes, removed_records }));
        }
        Ok(None)
    }

    fn is_complete_with(&self, _map: &OffsetMap) -> bool {
        self.inputs.front().is_none_or(|input| input.base >= self.end)
    }

    /// Writes what is to stay of a segment.
    fn clean(
        &mut self,
        input: &Input,
        map: &OffsetMap,
        pace: &Pace<'_>,
        group: &mut Group,
    ) -> Result<(), LogError> {
        let mut cursor = input.cursor(self.config.leader_epoch);
        while let Some(batch) = cursor.next_batch().map_err(|stop| input.stopped(stop))? {
            if !pace(batch.bytes.len()) {
                self.is_stopped = true;
                return Ok(());
            }
            let verdict = self.judge(&batch, map);
            self.transactions.note(&batch.header, &verdict);
            match verdict {
                Verdict::Stays => group.output.put(&batch.header, batch.bytes)?,
                Verdict::Becomes(header, bytes) => {
                    group.output.put(&header, &bytes)?;
                    group.is_changed = true;
                    let removed = batch.header.record_count - header.record_count;
                    group.removed_records += u64::from(removed.unsigned_abs());
                }
                Verdict::Goes => {
                    // A placeholder is written again where it is needed.
                    group.is_changed |= !batch.header.is_placeholder();
                    group.removed_records += u64::from(batch.header.record_count.unsigned_abs());
                    continue;
                }
            }
            if let Some(aborted) = self.transactions.aborted_by(batch.header.base_offset) {
                group.output.note_aborted(aborted);
            }
        }
        // Merging changes, too.
        group.is_changed |= !group.replaces.is_empty();
        group.replaces.push(input.base);
        group.replaced_bytes += input.bytes;
        Ok(())
    }

    /// What is to become of a batch.
    fn judge(&mut self, batch: &Checked<'_>, map: &OffsetMap) -> Verdict {
        let header = &batch.header;
        // The map does not speak of it.
        if header.base_offset >= self.end {
            return Verdict::Stays;
        }
        let is_last = self.last_batches.get(&header.producer_id) == Some(&header.base_offset);
        if header.attributes.is_control() {
            return if is_last { Verdict::Stays } else { self.judge_marker(batch) };
        }
        if header.record_count == 0 {
            return if is_last { Verdict::Stays } else { Verdict::Goes };
        }
        let bytes = Bytes::copy_from_slice(batch.bytes);
        let judged = self.judge_records(header, &bytes, map, is_last);
        judged.unwrap_or_else(|_| {
            // Nobody knows which keys it holds, so nothing that may delete one of them can go.
            self.report.opaque_batches += 1;
            Verdict::Stays
        })
    }

    /// What is to become of a marker: it goes once nothing is left of its transaction, and whoever read some of that
    /// before has had the time to come by.
    fn judge_marker(&self, batch: &Checked<'_>) -> Verdict {
        if self.transactions.is_left_of(batch.header.producer_id) {
            return Verdict::Stays;
        }
        match batch.header.delete_horizon_ms() {
            Some(horizon) if horizon <= self.now_ms => Verdict::Goes,
            Some(_) => Verdict::Stays,
            None => {
                let change = Rebuild { delete_horizon_ms: Some(self.new_horizon()), ..Rebuild::default() };
                let bytes = Bytes::copy_from_slice(batch.bytes);
                let rebuilt = rebuild(&bytes, self.config.max_decompressed_bytes, &change, |_| true);
                rebuilt.map_or(Verdict::Stays, Verdict::becomes)
            }
        }
    }

    fn judge_records(
        &self,
        header: &BatchHeader,
        bytes: &Bytes,
        map: &OffsetMap,
        is_last: bool,
    ) -> Result<Verdict, BatchError> {
        let max_bytes = self.config.max_decompressed_bytes;
        let horizon = header.delete_horizon_ms();
        let is_past =
            horizon.is_some_and(|horizon| horizon <= self.now_ms) && self.report.opaque_batches == 0;
        let (mut kept, mut has_deletions) = (Vec::new(), false);
        if self.transactions.is_aborted(header) {
            return match is_last {
                true => Ok(Verdict::becomes(rebuild(bytes, max_bytes, &EMPTIED, |_| false)?)),
                false => Ok(Verdict::Goes),
            };
        }
        for record in records(bytes.clone(), max_bytes)? {
            let DecodedRecord { offset, key, value, .. } = record?;
            let is_newest = key.as_ref().is_none_or(|key| map.last(key).is_none_or(|last| offset >= last));
            let is_deletion = key.is_some() && value.is_none();
            if offset >= self.log_start && is_newest && !(is_deletion && is_past) {
                kept.push(offset);
                has_deletions |= is_deletion;
            }
        }
        if kept.is_empty() && !is_last {
            return Ok(Verdict::Goes);
        }
        let change = Rebuild {
            delete_horizon_ms: (has_deletions && horizon.is_none()).then(|| self.new_horizon()),
            without_transaction: kept.is_empty(),
        };
        if kept.len() == header.record_count as usize && change.delete_horizon_ms.is_none() {
            return Ok(Verdict::Stays);
        }
        let keep = |offset| kept.binary_search(&offset).is_ok();
        rebuild(bytes, max_bytes, &change, keep).map(Verdict::becomes)
    }

    /// From when on what deletes may go that is seen for the first time now.
    fn new_horizon(&self) -> i64 {
        let retention = i64::try_from(self.compaction.delete_retention.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.saturating_add(retention)
    }
}

/// What becomes of a batch.
pub(super) enum Verdict {
    Stays,
    /// Another one.
    Becomes(BatchHeader, Bytes),
    Goes,
}

impl Verdict {
    fn becomes(rebuilt: BytesMut) -> Self {
        // What was just made parses; if it did not, the batch as it was is no loss.
        BatchHeader::parse(&rebuilt).map_or(Self::Stays, |header| Self::Becomes(header, rebuilt.freeze()))
    }
}

/// Without records, a batch is in no transaction either.
const EMPTIED: Rebuild = Rebuild { delete_horizon_ms: None, without_transaction: true };

/// The segments that are written into one.
struct Group {
    output: Output,
    replaces: Vec<i64>,
    replaced_bytes: u64,
    removed_records: u64,
    /// Whether it differs from what it is to replace.
    is_changed: bool,
}

impl Group {
    /// Whether another segment fits.
    fn takes(&self, input: &Input, end: i64, config: &crate::config::PartitionConfig) -> bool {
        let Some(&base) = self.replaces.first() else { return true };
        let fits = self.output.bytes() + input.bytes <= u64::from(config.segment_bytes);
        input.base < end && fits && input.next - base <= i64::from(i32::MAX)
    }
}

impl Input {
    fn cursor(&self, leader_epoch: i32) -> Cursor<'_> {
        let start = Place { position: 0, offset: self.base };
        Cursor::new(&*self.log, start, self.bytes, leader_epoch, SCAN_CHUNK)
    }

    /// The error for a walk that could not go on.
    fn stopped(&self, stop: Stop) -> LogError {
        match stop {
            Stop::Flaw(flaw) => corrupt(&self.path, flaw),
            Stop::Io(error) => LogError::storage("read", &self.path)(error),
        }
    }
}

/// Notes the keys of a batch; of one that cannot be decoded, those in front of what is wrong.
fn note(map: &mut OffsetMap, batch: &Checked<'_>, max_bytes: usize) {
    if batch.header.attributes.is_control() || batch.header.record_count == 0 {
        return;
    }
    let Ok(records) = records(Bytes::copy_from_slice(batch.bytes), max_bytes) else { return };
    for record in records.map_while(Result::ok) {
        if let Some(key) = record.key {
            map.put(&key, record.offset);
        }
    }
}
