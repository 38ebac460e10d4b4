//! One partition: a row of segments of which the last, the active one, is appended to.
//!
//! Invariant: `log_start <= durable_end <= log_end`; the first segment holds `log_start`, or is the active one and starts or
//! ends there; segments follow each other without a gap; offsets below
//! `durable_end` survive a power loss, those from there to `log_end` are readable and may not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use topo_protocol::{BatchError, BatchHeader, EndTransactionMarker, check, place};

use crate::compaction::Progress;
use crate::config::PartitionConfig;
use crate::error::{LogError, is_full};
use crate::producers::{ProducerState, Producers};
use crate::segment::Segment;
use crate::storage::Storage;
use crate::sync::{Durability, SyncTicket};

/// Offsets that an append gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Whether the batch was in the log before, at these offsets, and nothing was written now.
    pub is_duplicate: bool,
}

/// Whole batches, verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    /// One behind the other.
    pub bytes: Bytes,
    /// One past the last offset of the last one; `None` where there is none.
    pub next_offset: Option<i64>,
}

impl Batches {
    pub(crate) const NONE: Self = Self { bytes: Bytes::new(), next_offset: None };
}

/// A partition on disk. It does nothing by itself: the caller decides when to sync, and close.
///
/// Reads take `&self` and never wait for a sync. Dropping a partition without [`Partition::close`] is safe: the next
/// open recovers it.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use topo_log::{Partition, PartitionConfig, storage::MemoryStorage};
/// use topo_protocol::{BatchBuilder, Compression, NewRecord};
///
/// let storage = Arc::new(MemoryStorage::new());
/// let (mut partition, _) = Partition::open(storage, Path::new("/lines-0"), PartitionConfig::default())?;
///
/// let mut builder = BatchBuilder::new(16 << 10);
/// builder.append(&NewRecord { timestamp_ms: 0, key: None, value: Some(b"a line"), headers: &[] })?;
/// let mut batch = builder.finish(Compression::None)?;
/// assert_eq!(partition.append(&mut batch)?.base_offset, 0);
///
/// let ticket = partition.begin_sync();
/// let result = ticket.run(); // with the partition's lock released
/// assert_eq!(partition.finish_sync(ticket, result)?, 1);
/// assert_eq!(partition.read(0, 1 << 20, partition.durable_end())?, batch.freeze());
/// partition.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Partition {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) config: PartitionConfig,
    pub(crate) log_start: i64,
    /// All segments but the active one, oldest first.
    pub(crate) sealed: Vec<Segment>,
    pub(crate) active: Segment,
    pub(crate) durable_end: i64,
    /// Base offset of the newest segment whose name is durable.
    pub(crate) durable_segment: i64,
    pub(crate) shared: Arc<Durability>,
    pub(crate) producers: Producers,
    /// The offsets of the snapshots of producers, lowest first.
    pub(crate) snapshots: Vec<i64>,
    /// How far compaction has come.
    pub(crate) compacted: Progress,
}

impl Partition {
    /// The first offset held.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// One past the last offset appended.
    pub fn log_end(&self) -> i64 {
        self.active.next_offset
    }

    /// One past the last offset that survives a power loss.
    pub fn durable_end(&self) -> i64 {
        self.durable_end
    }

    /// One past the last offset of those segments that take no more appends.
    pub fn sealed_end(&self) -> i64 {
        self.active.base_offset
    }

    /// Bytes of all batches in the segments.
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }

    /// How many segments there are; at least 1.
    pub fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// The partition's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Changes the settings from now on; what is stored stays as it is. The leader epoch stays.
    pub fn set_config(&mut self, config: PartitionConfig) {
        self.config = PartitionConfig { leader_epoch: self.config.leader_epoch, ..config.bounded() };
    }

    /// Why the partition takes no appends until it is opened again, where a write or sync has failed.
    pub fn poisoned(&self) -> Option<&str> {
        self.shared.poisoned().map(|reason| &**reason)
    }

    /// Appends one batch, which is checked first and then given its offsets and the leader epoch in place. One of the last
    /// five that an idempotent producer appended is not appended again: its offsets are returned.
    ///
    /// # Errors
    /// [`LogError::Batch`] for a batch that is none, [`LogError::Producer`] for one that its producer should not send
    /// now, and [`LogError::Full`]: nothing was appended, and the next append
    /// may succeed. A [`LogError::Storage`] poisons the partition unless it arose from creating a segment, and
    /// [`LogError::Poisoned`] follows: until it is opened again, whether the batch was appended is unknown.
    pub fn append(&mut self, batch: &mut [u8]) -> Result<Appended, LogError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(LogError::Poisoned { reason: reason.clone() });
        }
        let mut header = check(batch)?;
        let marker = marker_in(batch, &header)?;
        if let Some(before) = self.producers.check(&header, marker.as_ref())? {
            return Ok(before);
        }
        let base_offset = self.log_end();
        let last_offset =
            base_offset.checked_add(header.last_offset_delta.into()).filter(|last| *last < i64::MAX);
        let last_offset = last_offset.ok_or(LogError::OffsetsExhausted)?;
        place(batch, base_offset, self.config.leader_epoch)?;
        header.base_offset = base_offset;
        if self.active.is_full(batch.len(), last_offset + 1, &self.config) {
            self.roll()?;
        }
        match self.active.append(batch, &header, &self.config) {
            Ok(()) => {
                if let Some(aborted) = self.producers.note(&header, marker.as_ref()) {
                    self.active.note_aborted(&aborted);
                }
                Ok(Appended { base_offset, last_offset, is_duplicate: false })
            }
            Err(error) => Err(self.take_back(error)),
        }
    }

    /// Ends a producer's transaction, if one is open; where none is, the marker only fences the producer's older epochs. It
    /// carries `timestamp_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Partition::append`]: [`ProducerError`](crate::ProducerError) says who is fenced.
    pub fn append_marker(
        &mut self,
        marker: &EndTransactionMarker,
        timestamp_ms: i64,
    ) -> Result<Appended, LogError> {
        self.append(&mut marker.encode(timestamp_ms)?)
    }

    /// What is known of the producers, by id.
    pub fn producers(&self) -> Vec<ProducerState> {
        self.producers.states()
    }

    /// Seals the active segment and starts the next one at the log's end.
    pub(crate) fn roll(&mut self) -> Result<(), LogError> {
        let next = match Segment::create(&*self.storage, &self.dir, self.log_end()) {
            Err(LogError::Storage { path, source, .. }) if is_full(&source) => {
                return Err(LogError::Full { file: path });
            }
            next => next?,
        };
        let mut sealed = std::mem::replace(&mut self.active, next);
        sealed.seal();
        self.sealed.push(sealed);
        self.snapshot_producers();
        Ok(())
    }

    /// Handles a write that failed, perhaps half-way.
    fn take_back(&mut self, error: io::Error) -> LogError {
        let file = self.active.path.clone();
        // Only where nothing but space is missing is the disk's answer to a truncation worth anything.
        if is_full(&error) && self.active.cut().is_ok() {
            return LogError::Full { file };
        }
        let error = LogError::storage("write", &file)(error);
        self.shared.poison(&error);
        error
    }

    /// Whole batches, verbatim, from the one that holds `offset` on: up to about `max_bytes` bytes, only such that end
    /// below `up_to`, and at least one if that one does. Where compaction has removed what was there, from the next one
    /// on that has records; where there is none, the batches without. Empty at the log's end and from `up_to` on. The
    /// checksum of every batch returned was verified.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::Corrupt`] where the batch that holds `offset` is damaged, or
    /// [`LogError::Storage`].
    pub fn read(&self, offset: i64, max_bytes: usize, up_to: i64) -> Result<Bytes, LogError> {
        self.read_batches(offset, max_bytes, up_to).map(|batches| batches.bytes)
    }

    /// [`Partition::read`], which says as well where the batches end.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub fn read_batches(&self, offset: i64, max_bytes: usize, up_to: i64) -> Result<Batches, LogError> {
        let (log_start, log_end) = (self.log_start(), self.log_end());
        if !(log_start..=log_end).contains(&offset) {
            return Err(LogError::OffsetOutOfRange { asked: offset, log_start, log_end });
        }
        if offset >= up_to.min(log_end) {
            return Ok(Batches::NONE);
        }
        let holder = self.sealed.partition_point(|segment| segment.next_offset <= offset);
        let mut segments = self.sealed[holder..].iter().chain([&self.active]);
        let epoch = self.config.leader_epoch;
        let from = |segment: &Segment| segment.base_offset.max(offset);
        // Compaction leaves batches without records, which would keep a reader busy with nothing.
        for segment in segments.clone().take_while(|segment| from(segment) < up_to.min(log_end)) {
            let Some(found) = segment.find_records(from(segment), epoch)? else { continue };
            if found.1.next_offset() > up_to && found.1.base_offset > offset {
                break;
            }
            return segment.read_at(found, max_bytes, up_to, epoch);
        }
        // There is nothing else: with them the reader comes to the end.
        segments.next().map_or(Ok(Batches::NONE), |first| first.read(offset, max_bytes, up_to, epoch))
    }

    /// [`Partition::read_batches`] of what takes no waiting for a device; `None` where it would take some, or something is
    /// wrong, or compaction has removed what was there: then [`Partition::read_batches`] finds what there is to say.
    pub fn read_at_hand(&self, offset: i64, max_bytes: usize, up_to: i64) -> Option<Batches> {
        if offset < self.log_start() || offset >= up_to.min(self.log_end()) {
            return None;
        }
        let holder = self.sealed.partition_point(|segment| segment.next_offset <= offset);
        let segment = self.sealed.get(holder).unwrap_or(&self.active);
        segment.read_at_hand(segment.base_offset.max(offset), max_bytes, up_to, self.config.leader_epoch)
    }

    /// Takes down all that was appended and is not durable. Run the ticket with the partition's lock released, then
    /// hand it to [`Partition::finish_sync`].
    pub fn begin_sync(&mut self) -> SyncTicket {
        let first = self.sealed.partition_point(|segment| segment.next_offset <= self.durable_end);
        let sealed = &self.sealed[first..];
        let mut logs: Vec<_> =
            sealed.iter().map(|segment| (segment.path.clone(), segment.log.clone())).collect();
        if self.log_end() > self.durable_end {
            logs.push((self.active.path.clone(), self.active.log.clone()));
        }
        let created = !logs.is_empty() && self.active.base_offset > self.durable_segment;
        SyncTicket {
            shared: self.shared.clone(),
            logs,
            derived: sealed.iter().flat_map(Segment::derived).collect(),
            directory: created.then(|| (self.storage.clone(), self.dir.clone())),
            end: self.log_end(),
            active: self.active.base_offset,
            synced: AtomicBool::new(false),
        }
    }

    /// Settles a ticket that was run, with what its run returned: on success all that it covers is durable.
    ///
    /// Returns the durable end.
    ///
    /// # Errors
    /// The ticket's own error, [`LogError::Storage`] for a ticket that was not run; no append succeeds from then on.
    pub fn finish_sync(&mut self, ticket: SyncTicket, result: Result<(), LogError>) -> Result<i64, LogError> {
        let ran = || ticket.synced.load(Ordering::Acquire);
        let settled = result.and_then(|()| {
            let unrun = || io::Error::other("a sync was settled that did not run");
            if ran() { Ok(()) } else { Err(LogError::storage("sync", &self.dir)(unrun())) }
        });
        settled.inspect_err(|error| self.shared.poison(error))?;
        self.durable_end = self.durable_end.max(ticket.end);
        self.producers.settle(self.durable_end);
        self.durable_segment = self.durable_segment.max(ticket.active);
        Ok(self.durable_end)
    }

    /// Makes everything durable and leaves nothing for the next open to do.
    ///
    /// # Errors
    /// [`LogError::Poisoned`] or [`LogError::Storage`]: the next open recovers what was durable.
    pub fn close(mut self) -> Result<(), LogError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(LogError::Poisoned { reason: reason.clone() });
        }
        self.active.trim();
        let ticket = self.begin_sync();
        let result = ticket.run().and_then(|()| ticket.anchor(&self.dir));
        self.finish_sync(ticket, result)?;
        self.active.index.save();
        self.active.time_index.save();
        if let Some(aborted) = &self.active.aborted {
            aborted.save();
        }
        self.snapshot_producers();
        Ok(())
    }
}

/// The marker that a checked batch is; `None` for records.
pub(crate) fn marker_in(
    batch: &[u8],
    header: &BatchHeader,
) -> Result<Option<EndTransactionMarker>, BatchError> {
    if !header.attributes.is_control() {
        return Ok(None);
    }
    EndTransactionMarker::decode(Bytes::copy_from_slice(batch))
}
