//! The log as it should be: every batch that was appended, in order, and the comparison of a partition with it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use topo_log::storage::Storage;
use topo_log::{AbortedTransaction, LogError, Partition, PartitionConfig, Recovery, TimestampedOffset};
use topo_protocol::{
    BatchBuilder, BatchHeader, Compression, EndTransactionMarker, NewRecord, Room, TransactionResult, records,
};

pub(crate) const DIR: &str = "/lines-0";

pub(crate) const CODECS: [Compression; 5] =
    [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Snappy, Compression::Gzip];

/// Segments of a few batches, and more than one index entry in each.
pub(crate) fn small() -> PartitionConfig {
    PartitionConfig { segment_bytes: 600, index_interval_bytes: 150, ..PartitionConfig::default() }
}

pub(crate) fn open<S: Storage + Clone>(
    storage: &S,
    config: &PartitionConfig,
) -> Result<(Partition, Recovery), LogError> {
    Partition::open(Arc::new(storage.clone()), Path::new(DIR), config.clone())
}

/// [`small`], filled ahead where the seed is odd.
pub(crate) fn small_by(seed: u64) -> PartitionConfig {
    PartitionConfig { preallocate_bytes: if seed.is_multiple_of(2) { 0 } else { 1 << 20 }, ..small() }
}

/// Makes a batch a producer's.
pub(crate) fn stamp(batch: &mut [u8], producer_id: i64, epoch: i16, sequence: i32) {
    batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Makes a batch part of a producer's transaction.
pub(crate) fn stamp_transactional(batch: &mut [u8], producer_id: i64, epoch: i16, sequence: i32) {
    batch[22] |= 1 << 4;
    stamp(batch, producer_id, epoch, sequence);
}

/// A batch unlike that of any other serial number: 1 to 3 records of up to 70 bytes, their timestamps out of order.
pub(crate) fn batch(serial: u64, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for record in 0..=serial % 3 {
        let value = format!("{serial}/{record} {}", "x".repeat((serial * 37 % 60) as usize));
        let timestamp_ms = (serial + serial * 7919 % 13 + record * 5 % 3) as i64;
        let record = NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] };
        assert_eq!(builder.append(&record), Ok(Room::Taken));
    }
    builder.finish(compression).unwrap().to_vec()
}

/// Every batch whose append was tried, as it lies in the log if it came that far.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) batches: Vec<Vec<u8>>,
    /// How many batches were ever built.
    pub(crate) serial: u64,
}

impl History {
    /// Appends the next batch; it stays in the history where the append failed and may have reached the disk.
    pub(crate) fn append(&mut self, partition: &mut Partition) -> Result<(), LogError> {
        let bytes = self.next_batch();
        self.append_batch(partition, bytes)
    }

    /// Appends the next batch of an idempotent producer, which may begin its next epoch with it.
    pub(crate) fn append_from(
        &mut self,
        producer_id: i64,
        next_epoch: bool,
        partition: &mut Partition,
    ) -> Result<(), LogError> {
        let (mut epoch, mut sequence) = match self.of_producer(producer_id).last() {
            Some(last) => (last.producer_epoch, last.base_sequence + last.record_count),
            None => (0, 0),
        };
        if next_epoch {
            (epoch, sequence) = (epoch + 1, 0);
        }
        let mut bytes = self.next_batch();
        stamp(&mut bytes, producer_id, epoch, sequence);
        self.append_batch(partition, bytes)
    }

    fn next_batch(&mut self) -> Vec<u8> {
        self.serial += 1;
        batch(self.serial - 1, CODECS[((self.serial - 1) / 2 % 5) as usize])
    }

    fn append_batch(&mut self, partition: &mut Partition, mut bytes: Vec<u8>) -> Result<(), LogError> {
        let end = partition.log_end();
        let result = partition.append(&mut bytes);
        match &result {
            Ok(appended) => {
                assert_eq!((appended.base_offset, end), (end, self.end()));
                assert!(!appended.is_duplicate);
                assert_eq!(partition.log_end(), appended.last_offset + 1);
                self.batches.push(bytes);
            }
            Err(LogError::Storage { .. }) => self.batches.push(bytes),
            Err(_) => assert_eq!(partition.log_end(), end, "a refused batch must leave nothing"),
        }
        result.map(drop)
    }

    /// Appends the next batch of a producer's transaction, which begins with it if none is open.
    pub(crate) fn append_in_transaction(
        &mut self,
        producer_id: i64,
        partition: &mut Partition,
    ) -> Result<(), LogError> {
        let sent = self.of_producer(producer_id);
        let epoch = sent.last().map_or(0, |last| last.producer_epoch);
        let of_epoch =
            |header: &&BatchHeader| header.producer_epoch == epoch && !header.attributes.is_control();
        let last = sent.iter().rfind(of_epoch);
        let sequence = last.map_or(0, |last| last.base_sequence + last.record_count);
        let mut bytes = self.next_batch();
        stamp_transactional(&mut bytes, producer_id, epoch, sequence);
        self.append_batch(partition, bytes)
    }

    /// Ends a producer's transaction, if one is open, perhaps under its next epoch.
    pub(crate) fn end_transaction(
        &mut self,
        producer_id: i64,
        result: TransactionResult,
        next_epoch: bool,
        partition: &mut Partition,
    ) -> Result<(), LogError> {
        let epoch = self.of_producer(producer_id).last().map_or(0, |last| last.producer_epoch);
        let producer_epoch = epoch + i16::from(next_epoch);
        let marker = EndTransactionMarker { producer_id, producer_epoch, coordinator_epoch: 0, result };
        self.serial += 1;
        let bytes = marker.encode(self.serial as i64).unwrap().to_vec();
        self.append_batch(partition, bytes)
    }

    /// The transactions below `end`, each with its batches, in the order in which they began.
    pub(crate) fn transactions(&self, end: i64) -> Vec<Transaction> {
        let mut all: Vec<Transaction> = Vec::new();
        for batch in &self.batches {
            let header = BatchHeader::parse(batch).unwrap();
            if header.base_offset >= end || !header.attributes.is_transactional() {
                continue;
            }
            let producer_id = header.producer_id;
            let open = all.iter_mut().find(|t| t.producer_id == producer_id && t.end.is_none());
            let is_control = header.attributes.is_control();
            let decode = || EndTransactionMarker::decode(batch.clone().into()).unwrap();
            let marker = is_control.then(decode).flatten();
            match (open, marker) {
                (Some(open), Some(marker)) => open.end = Some((header.base_offset, marker.result)),
                (Some(open), None) => open.batches.push((header.base_offset, header.next_offset())),
                (None, Some(_)) => {}
                (None, None) => {
                    let batches = vec![(header.base_offset, header.next_offset())];
                    all.push(Transaction { producer_id, batches, end: None });
                }
            }
        }
        all
    }

    /// Requires that the partition knows where the first open transaction begins, and names to each reader the aborted ones
    /// of which it reads records. What retention has given up of a transaction may be forgotten or not.
    pub(crate) fn assert_transactions(&self, partition: &Partition, what: &str) {
        let (start, end) = (partition.log_start(), partition.log_end());
        let all = self.transactions(end);
        for readable in [partition.durable_end(), end] {
            let stable = partition.last_stable_offset(readable);
            let late = |t: &&Transaction| t.end.is_none_or(|(marker, _)| marker >= readable);
            let first = all.iter().filter(late).map(Transaction::first).min().unwrap_or(readable);
            let held = all.iter().filter(late).filter_map(|t| t.first_held(start)).min().unwrap_or(readable);
            let first = first.max(start).min(readable);
            let held = held.max(start).min(readable);
            assert!((first..=held).contains(&stable), "{what}: {stable}, not {first} to {held}");
            assert!(start > 0 || stable == first, "{what}: {stable}, not {first}");
        }
        let step = ((end - start) / 3).max(1) as usize;
        for from in (start..end).step_by(step) {
            for to in (from + 1..=end).step_by(step).chain([end]) {
                let aborted = partition.aborted(from, to).unwrap();
                self.assert_aborted(&aborted, start, from..to, &all, what);
            }
        }
    }

    fn assert_aborted(
        &self,
        aborted: &[AbortedTransaction],
        start: i64,
        read: std::ops::Range<i64>,
        all: &[Transaction],
        what: &str,
    ) {
        let what = format!("{what}: reading {read:?}");
        let found = |t: &Transaction, marker| {
            aborted.iter().find(|found| (found.producer_id, found.last_offset) == (t.producer_id, marker))
        };
        let mut expected = 0;
        for t in all {
            let Some((marker, TransactionResult::Abort)) = t.end else {
                let named = t.end.is_some_and(|(marker, _)| found(t, marker).is_some());
                assert!(!named, "{what}: {t:?} was not aborted");
                continue;
            };
            let (first, held) = (t.first(), t.first_held(start));
            let concerned = marker >= read.start && held.is_some_and(|held| held < read.end);
            let found = found(t, marker);
            assert!(!concerned || found.is_some(), "{what}: {t:?} is not named");
            assert!(
                found.is_none() || marker >= read.start && first < read.end,
                "{what}: {t:?} is none of the reader's"
            );
            if let Some(found) = found {
                expected += 1;
                let firsts = first..=held.unwrap_or(marker);
                assert!(firsts.contains(&found.first_offset), "{what}: {found:?}, not {t:?}");
            }
        }
        assert_eq!(aborted.len(), expected, "{what}: transactions from nowhere");
        assert!(aborted.is_sorted_by_key(|aborted| aborted.last_offset), "{what}");
    }

    /// The headers of a producer's batches, oldest first.
    fn of_producer(&self, producer_id: i64) -> Vec<BatchHeader> {
        let headers = self.batches.iter().map(|batch| BatchHeader::parse(batch).unwrap());
        headers.filter(|header| header.producer_id == producer_id).collect()
    }

    /// Requires that the partition knows again the last five batches of each producer that it still holds, refuses what
    /// leaves a gap behind them, and writes nothing of all that.
    pub(crate) fn assert_known(&self, partition: &mut Partition, what: &str) {
        let (start, end) = (partition.log_start(), partition.log_end());
        for producer_id in 0..3 {
            let mut sent = self.of_producer(producer_id);
            let Some(last) = sent.last().copied().filter(|last| last.base_offset >= start) else { continue };
            sent.retain(|header| header.producer_epoch == last.producer_epoch);
            for header in sent.iter().rev().take(5).filter(|header| header.base_offset >= start) {
                let again = partition.append(&mut self.from(header.base_offset)[0].clone()).unwrap();
                let offsets = (again.base_offset, again.last_offset, again.is_duplicate);
                assert_eq!(offsets, (header.base_offset, header.last_offset(), true), "{what}");
            }
            let mut gap = self.from(last.base_offset)[0].clone();
            stamp(&mut gap, producer_id, last.producer_epoch, last.base_sequence + last.record_count + 1);
            let refused = partition.append(&mut gap);
            assert!(matches!(refused, Err(LogError::Producer(_))), "{what}: {refused:?}");
        }
        assert_eq!(partition.log_end(), end, "{what}: nothing of that was appended");
    }

    /// Appends a batch of about 700 bytes that hardly compress, in the next codec.
    pub(crate) fn append_large(&mut self, partition: &mut Partition) {
        let mut builder = BatchBuilder::new(1 << 20);
        let noise: Vec<u8> = (0..600)
            .map(|at: u64| ((self.serial * 600 + at).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
            .collect();
        let record = NewRecord { value: Some(&noise), ..NewRecord::default() };
        assert_eq!(builder.append(&record), Ok(Room::Taken));
        let mut bytes = builder.finish(CODECS[(self.serial % 5) as usize]).unwrap().to_vec();
        self.serial += 1;
        partition.append(&mut bytes).unwrap();
        self.batches.push(bytes);
    }

    /// One past the last offset.
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| BatchHeader::parse(batch).unwrap().next_offset())
    }

    /// Forgets the batches from `end` on.
    pub(crate) fn truncate(&mut self, end: i64) {
        self.batches.retain(|batch| BatchHeader::parse(batch).unwrap().base_offset < end);
        assert_eq!(self.end(), end, "not the end of a batch");
    }

    /// The batch that holds `offset`, and those behind it.
    pub(crate) fn from(&self, offset: i64) -> &[Vec<u8>] {
        let before = |batch: &Vec<u8>| BatchHeader::parse(batch).unwrap().next_offset() <= offset;
        &self.batches[self.batches.partition_point(before)..]
    }

    /// Requires that `read` is nothing but the batches from the one that holds `offset` on; says how many.
    pub(crate) fn assert_serves(&self, offset: i64, read: &Bytes) -> usize {
        let (mut rest, mut count) = (&read[..], 0);
        for expected in self.from(offset) {
            if rest.is_empty() {
                break;
            }
            assert!(rest.starts_with(expected), "not what was appended, batch {count} from offset {offset}");
            (rest, count) = (&rest[expected.len()..], count + 1);
        }
        assert!(rest.is_empty(), "more than was appended, from offset {offset}");
        count
    }

    /// Offset and timestamp of every record.
    pub(crate) fn times(&self) -> Vec<TimestampedOffset> {
        let of = |batch: &Vec<u8>| records(Bytes::from(batch.clone()), 1 << 20).unwrap();
        let all = self.batches.iter().flat_map(of).map(Result::unwrap);
        all.map(|r| TimestampedOffset { offset: r.offset, timestamp_ms: r.timestamp_ms }).collect()
    }

    /// Requires that records are found by their timestamps as a look at each of them would.
    pub(crate) fn assert_times(&self, partition: &Partition, up_to: i64, what: &str) {
        let mut times = self.times();
        times.retain(|at| at.offset < up_to.min(partition.log_end()) && at.offset >= partition.log_start());
        let latest = times.iter().map(|at| at.timestamp_ms).max();
        for asked in -1..latest.map_or(3, |latest| latest + 3) {
            let expected = times.iter().find(|at| at.timestamp_ms >= asked).copied();
            assert_eq!(partition.offset_for_time(asked, up_to).unwrap(), expected, "{what}: at {asked}");
        }
        let first_of_latest = times.iter().find(|at| Some(at.timestamp_ms) == latest).copied();
        assert_eq!(partition.max_timestamp(up_to).unwrap(), first_of_latest, "{what}");
    }

    /// Requires that a partition holds a front part of this history, whole, and says where it ends.
    pub(crate) fn assert_holds(&self, partition: &Partition) -> i64 {
        let mut offset = partition.log_start();
        while offset < partition.log_end() {
            let read = partition.read(offset, 500, i64::MAX).unwrap();
            let count = self.assert_serves(offset, &read);
            assert!(count > 0, "nothing at {offset}, below the end at {}", partition.log_end());
            offset = BatchHeader::parse(&self.from(offset)[count - 1]).unwrap().next_offset();
        }
        assert_eq!(offset, partition.log_end());
        offset
    }
}

/// One whole group commit.
pub(crate) fn sync(partition: &mut Partition) -> Result<i64, LogError> {
    let ticket = partition.begin_sync();
    let result = ticket.run();
    partition.finish_sync(ticket, result)
}

/// A transaction as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) producer_id: i64,
    /// First offset and the one behind the last of each batch.
    pub(crate) batches: Vec<(i64, i64)>,
    /// The marker's offset, and what it says.
    pub(crate) end: Option<(i64, TransactionResult)>,
}

impl Transaction {
    fn first(&self) -> i64 {
        self.batches[0].0
    }

    /// The first offset of what is left of it, where the log starts at `start`.
    fn first_held(&self, start: i64) -> Option<i64> {
        self.batches.iter().find(|(_, next)| *next > start).map(|(first, _)| *first)
    }
}
