//! A log of keyed records as it should be: every record that was appended, and what compaction may take of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use topo_log::storage::SimulatedDisk;
use topo_log::{AbortedTransaction, CompactionConfig, LogError, Partition, PartitionConfig, Retention};
use topo_protocol::{
    BatchBuilder, BatchHeader, DecodedRecord, EndTransactionMarker, NewRecord, Room, TransactionResult,
    records,
};

use crate::history::{CODECS, open, small_by, stamp, sync};

/// How long deletions stay, in milliseconds.
pub(super) const DELETE_RETENTION_MS: i64 = 30;
/// Idempotent producers; as many more have transactions.
const PRODUCERS: i64 = 3;

/// Small segments and every pass due at once; some with a map of very few keys.
pub(super) fn config(seed: u64) -> PartitionConfig {
    let compaction = CompactionConfig {
        min_dirty_ppm: 0,
        delete_retention: Duration::from_millis(DELETE_RETENTION_MS.unsigned_abs()),
        map_bytes: if seed.is_multiple_of(3) { 0 } else { 1 << 20 },
        ..CompactionConfig::default()
    };
    let max_bytes = seed.is_multiple_of(5).then_some(2_500);
    let retention = Retention { max_age: None, max_bytes, roll_after: Duration::MAX };
    PartitionConfig { compaction: Some(compaction), retention, ..small_by(seed) }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) timestamp_ms: i64,
    /// The marker of a transaction, and no record.
    pub(super) is_marker: bool,
}

/// A transaction, by the offsets of its records.
#[derive(Debug, Clone)]
struct Transaction {
    producer_id: i64,
    records: Vec<i64>,
    /// Where its marker is if it came that far, and whether that commits it.
    end: Option<(i64, bool)>,
}

/// What a partition was given and told.
#[derive(Debug, Clone, Default)]
pub(super) struct Keyed {
    /// Every record whose append was tried, in order; those from the durable end on may be lost.
    pub(super) records: Vec<Kept>,
    /// The batches of each producer, as they lie in the log if they came that far.
    batches: BTreeMap<i64, Vec<Vec<u8>>>,
    transactions: Vec<Transaction>,
    /// Offsets below were acknowledged as durable.
    pub(super) durable: i64,
    /// Offsets below were given up.
    start: i64,
    /// One past the last offset, be it a marker's.
    log_end: i64,
    pub(super) now_ms: i64,
    serial: u64,
}

impl Keyed {
    pub(super) fn end(&self) -> i64 {
        self.log_end
    }

    /// Appends a batch of one to four records of a few keys, some of them deletions, some without a key, a third of the
    /// batches an idempotent producer's.
    pub(super) fn append(&mut self, partition: &mut Partition, rng: &mut StdRng) -> Result<(), LogError> {
        self.now_ms += 1;
        let base_offset = partition.log_end();
        let mut builder = BatchBuilder::new(1 << 20);
        let mut new = Vec::new();
        for at in 0..rng.random_range(1..5) {
            self.serial += 1;
            let key = (!rng.random_ratio(1, 12)).then(|| vec![b'k', rng.random_range(0..7)]);
            let is_deletion = key.is_some() && rng.random_ratio(1, 5);
            let value = format!("{} {}", self.serial, "x".repeat(rng.random_range(0..60)));
            let value = (!is_deletion).then_some(value.as_bytes());
            let timestamp_ms = self.now_ms - rng.random_range(0..3);
            let record = NewRecord { timestamp_ms, key: key.as_deref(), value, headers: &[] };
            assert_eq!(builder.append(&record), Ok(Room::Taken));
            let (key, value) = (key.map(Bytes::from), value.map(Bytes::copy_from_slice));
            new.push(Kept { offset: base_offset + at, key, value, timestamp_ms, is_marker: false });
        }
        let mut bytes = builder.finish(CODECS[rng.random_range(0..5)]).unwrap().to_vec();
        let producer_id = rng.random_range(0..PRODUCERS * 3);
        let is_transactional = (PRODUCERS..PRODUCERS * 2).contains(&producer_id);
        if producer_id < PRODUCERS * 2 {
            bytes[22] |= if is_transactional { 1 << 4 } else { 0 };
            let before = self.batches.get(&producer_id).and_then(|batches| batches.last());
            let before = before.map(|batch| BatchHeader::parse(batch).unwrap());
            let next = before.map_or(0, |last| last.base_sequence + last.last_offset_delta + 1);
            stamp(&mut bytes, producer_id, 0, next);
        }
        let appended = partition.append(&mut bytes);
        if appended.is_ok() || matches!(appended, Err(LogError::Storage { .. })) {
            if is_transactional {
                self.open(producer_id).records.extend(new.iter().map(|record| record.offset));
            }
            self.log_end = base_offset + new.len() as i64;
            self.records.extend(new);
            if producer_id < PRODUCERS * 2 {
                self.batches.entry(producer_id).or_default().push(bytes);
            }
        }
        appended.map(|appended| assert_eq!(appended.base_offset, base_offset))
    }

    /// The transaction that a producer has open, or begins now.
    fn open(&mut self, producer_id: i64) -> &mut Transaction {
        let is_open = |held: &Transaction| held.producer_id == producer_id && held.end.is_none();
        let at = self.transactions.iter().position(is_open).unwrap_or_else(|| {
            self.transactions.push(Transaction { producer_id, records: Vec::new(), end: None });
            self.transactions.len() - 1
        });
        &mut self.transactions[at]
    }

    /// Ends one of the transactions that are open.
    fn end_one(&mut self, partition: &mut Partition, rng: &mut StdRng) -> Result<(), LogError> {
        self.now_ms += 1;
        let (offset, now_ms) = (partition.log_end(), self.now_ms);
        let mut open: Vec<_> = self.transactions.iter_mut().filter(|held| held.end.is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let at = rng.random_range(0..open.len());
        let commits = rng.random();
        let result = if commits { TransactionResult::Commit } else { TransactionResult::Abort };
        let producer_id = open[at].producer_id;
        let marker = EndTransactionMarker { producer_id, producer_epoch: 0, coordinator_epoch: 0, result };
        let appended = partition.append_marker(&marker, now_ms);
        if appended.is_ok() || matches!(appended, Err(LogError::Storage { .. })) {
            open[at].end = Some((offset, commits));
            self.log_end = offset + 1;
        }
        appended.map(drop)
    }

    /// Ends all transactions that are open: what lies behind the first one is not compacted.
    pub(super) fn end_all(&mut self, partition: &mut Partition, rng: &mut StdRng) -> Result<(), LogError> {
        while self.transactions.iter().any(|held| held.end.is_none()) {
            self.end_one(partition, rng)?;
        }
        Ok(())
    }

    /// Appends, syncs, compacts, retains and deletes at random until an error, or for a while; sometimes closes then.
    pub(super) fn live(&mut self, mut partition: Partition, rng: &mut StdRng) -> Result<(), LogError> {
        for _ in 0..rng.random_range(5..25) {
            for _ in 0..rng.random_range(1..5) {
                match rng.random_range(0..4) {
                    0 => self.end_one(&mut partition, rng)?,
                    _ => self.append(&mut partition, rng)?,
                }
            }
            self.now_ms += rng.random_range(0..10);
            match rng.random_range(0..8) {
                0..4 => self.durable = sync(&mut partition)?,
                4 => {
                    let retained = partition.retain(self.now_ms);
                    self.start = partition.log_start();
                    retained?;
                }
                5 if rng.random_ratio(1, 4) => {
                    let offset = rng.random_range(partition.log_start()..=partition.durable_end());
                    let deleted = partition.delete_before(offset);
                    self.start = partition.log_start();
                    deleted?;
                }
                _ => {
                    partition.compact(self.now_ms)?;
                }
            }
        }
        if rng.random() {
            partition.close()?;
            self.durable = self.end();
        }
        Ok(())
    }

    /// Opens after a power loss and requires that what was promised is there.
    pub(super) fn recover(
        &mut self,
        disk: &SimulatedDisk,
        config: &PartitionConfig,
        what: &str,
    ) -> Partition {
        let (mut partition, _) = open(disk, config).unwrap_or_else(|error| panic!("{what}: {error}"));
        let end = partition.log_end();
        assert!(end >= self.durable, "{what}: durable up to {}, recovered up to {end}", self.durable);
        assert!(partition.log_start() >= self.start, "{what}");
        (self.durable, self.start) = (end, partition.log_start());
        self.records.retain(|record| record.offset < end);
        for transaction in &mut self.transactions {
            transaction.records.retain(|offset| *offset < end);
            transaction.end = transaction.end.filter(|(marker, _)| *marker < end);
        }
        self.transactions.retain(|transaction| !transaction.records.is_empty());
        self.log_end = end;
        for batches in self.batches.values_mut() {
            batches.retain(|batch| BatchHeader::parse(batch).unwrap().next_offset() <= end);
        }
        self.assert_kept(&partition, what);
        self.assert_known(&mut partition, what);
        partition
    }

    /// Requires that each producer's last batch is known again.
    pub(super) fn assert_known(&self, partition: &mut Partition, what: &str) {
        for batch in self.batches.values().filter_map(|batches| batches.last()) {
            let header = BatchHeader::parse(batch).unwrap();
            if header.base_offset < partition.log_start() {
                continue;
            }
            let again = partition.append(&mut batch.clone());
            let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(again.is_duplicate && again.base_offset == header.base_offset, "{what}: {again:?}");
        }
    }

    /// Requires that nothing is missing that compaction may not take, and nothing is there that was not appended; says
    /// what is left.
    pub(super) fn assert_kept(&self, partition: &Partition, what: &str) -> Vec<Kept> {
        let start = partition.log_start();
        let kept = read_all(partition, what);
        let fates = self.fates();
        // Whether a record counts, also for who reads what is committed alone.
        let counts =
            |offset: i64| fates.get(&offset) != Some(&None) && fates.get(&offset) != Some(&Some(false));
        let mut rest = kept.iter().filter(|record| !record.is_marker).peekable();
        for (at, record) in self.records.iter().enumerate().filter(|(_, record)| record.offset >= start) {
            if rest.next_if(|next| *next == record).is_some() {
                continue;
            }
            match fates.get(&record.offset) {
                Some(Some(false)) => continue,
                fate => {
                    assert_ne!(fate, Some(&None), "{what}: {record:?} is gone, whose transaction is open")
                }
            }
            let key = record.key.as_ref();
            assert!(key.is_some(), "{what}: {record:?} is gone, which has no key");
            let mut later = self.records[at + 1..].iter().filter(|later| counts(later.offset));
            let later = later.any(|later| later.key.as_ref() == key);
            let is_due = record.value.is_none() && record.timestamp_ms + DELETE_RETENTION_MS <= self.now_ms;
            assert!(later || is_due, "{what}: {record:?} is gone, the last of its key");
            if !later {
                let mut counting = kept.iter().filter(|kept| !kept.is_marker && counts(kept.offset));
                let deleted = counting.find(|kept| kept.key.as_ref() == key && kept.offset < record.offset);
                assert_eq!(deleted, None, "{what}: back after its deletion {record:?} has gone");
            }
        }
        assert_eq!(rest.next(), None, "{what}: never appended, or out of order");
        self.assert_reads(partition, &kept, what);
        for from in [start, (start + partition.log_end()) / 2] {
            self.assert_committed(partition, from, &kept, what);
        }
        kept
    }

    /// Of every record of a transaction, whether that was committed; `None` while it is open.
    fn fates(&self) -> BTreeMap<i64, Option<bool>> {
        let fates = self.transactions.iter().flat_map(|transaction| {
            let fate = transaction.end.map(|(_, commits)| commits);
            transaction.records.iter().map(move |offset| (*offset, fate))
        });
        fates.collect()
    }

    /// Requires that who reads what is committed alone from somewhere on finds that, and nothing else.
    fn assert_committed(&self, partition: &Partition, from: i64, kept: &[Kept], what: &str) {
        let (start, end) = (partition.log_start(), partition.log_end());
        let open = self.transactions.iter().filter(|transaction| transaction.end.is_none());
        // Where its front was given up, a transaction begins with what is left of it, or where that would be.
        let left = open.clone().filter_map(|open| open.records.iter().find(|offset| **offset >= start)).min();
        let whole = open.filter_map(|open| open.records.first()).min();
        let range = whole.map_or(end, |first| (*first).max(start))..=left.copied().unwrap_or(end);
        let stable = partition.last_stable_offset(end);
        assert!(range.contains(&stable), "{what}: stable up to {stable}, not {range:?}");
        let aborted = partition.aborted(from, stable).unwrap();
        let (fates, of) = (self.fates(), |offset: i64| {
            self.transactions.iter().find(|transaction| transaction.records.contains(&offset))
        });
        for record in kept.iter().filter(|kept| !kept.is_marker && (from..stable).contains(&kept.offset)) {
            let is_hidden = of(record.offset).is_some_and(|transaction| {
                let is_its = |aborted: &AbortedTransaction| {
                    let range = aborted.first_offset..=aborted.last_offset;
                    aborted.producer_id == transaction.producer_id && range.contains(&record.offset)
                };
                aborted.iter().any(is_its)
            });
            let is_aborted = fates.get(&record.offset) == Some(&Some(false));
            assert_eq!(is_hidden, is_aborted, "{what}: {record:?} from {from}, {aborted:?}");
        }
    }

    /// Requires that a read from anywhere comes to the next record that is left, and that records are found by their times.
    fn assert_reads(&self, partition: &Partition, kept: &[Kept], what: &str) {
        let end = partition.log_end();
        for from in partition.log_start()..end {
            let expected = kept.iter().find(|record| record.offset >= from);
            let batches = partition.read(from, 1, end).unwrap();
            let next = BatchHeader::parse(&batches).unwrap().next_offset();
            assert!(next > from, "{what}: from {from}");
            let found = decode(batches).into_iter().find(|record| record.offset >= from);
            // The batch at hand may hold earlier records alone; then it is the next one's turn.
            match expected {
                Some(expected) if found.is_none() => assert!(expected.offset >= next, "{what}: from {from}"),
                expected => assert_eq!(found.as_ref(), expected, "{what}: from {from}"),
            }
        }
        for asked in [self.now_ms - 40, self.now_ms - 9, self.now_ms - 1] {
            let found = partition.offset_for_time(asked, end).unwrap().map(|found| found.offset);
            let expected = kept.iter().find(|record| record.timestamp_ms >= asked);
            assert_eq!(found, expected.map(|record| record.offset), "{what}: at {asked}");
        }
        let latest = kept.iter().map(|record| record.timestamp_ms).max();
        assert_eq!(partition.max_timestamp(end).unwrap().map(|at| at.timestamp_ms), latest, "{what}");
    }
}

/// Every record that a reader gets who starts at the log's start.
pub(super) fn read_all(partition: &Partition, what: &str) -> Vec<Kept> {
    let (mut offset, mut kept) = (partition.log_start(), Vec::new());
    while offset < partition.log_end() {
        let read = partition.read(offset, 400, partition.log_end());
        let mut batches = read.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(!batches.is_empty(), "{what}: nothing at {offset}");
        while !batches.is_empty() {
            let header = BatchHeader::parse(&batches).unwrap();
            let batch = batches.split_to(header.total_bytes());
            kept.extend(decode(batch).into_iter().filter(|record| record.offset >= offset));
            offset = header.next_offset();
        }
    }
    assert_eq!(offset, partition.log_end(), "{what}");
    kept
}

/// The records of one batch.
fn decode(batch: Bytes) -> Vec<Kept> {
    let is_marker = BatchHeader::parse(&batch).unwrap().attributes.is_control();
    let all = records(batch, 1 << 20).unwrap().map(Result::unwrap);
    let kept = |r: DecodedRecord| {
        let DecodedRecord { offset, key, value, timestamp_ms, .. } = r;
        Kept { offset, key, value, timestamp_ms, is_marker }
    };
    all.map(kept).collect()
}
