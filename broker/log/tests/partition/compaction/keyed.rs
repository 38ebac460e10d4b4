//! A log of keyed records as it should be: every record that was appended, and what compaction may take of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use topo_log::storage::SimulatedDisk;
use topo_log::{CompactionConfig, LogError, Partition, PartitionConfig, Retention};
use topo_protocol::{BatchBuilder, BatchHeader, NewRecord, Room, records};

use crate::history::{CODECS, open, small_by, stamp, sync};

/// How long deletions stay, in milliseconds.
pub(super) const DELETE_RETENTION_MS: i64 = 30;
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
}

/// What a partition was given and told.
#[derive(Debug, Clone, Default)]
pub(super) struct Keyed {
    /// Every record whose append was tried, in order; those from the durable end on may be lost.
    pub(super) records: Vec<Kept>,
    /// The batches of each producer, as they lie in the log if they came that far.
    batches: BTreeMap<i64, Vec<Vec<u8>>>,
    /// Offsets below were acknowledged as durable.
    pub(super) durable: i64,
    /// Offsets below were given up.
    start: i64,
    pub(super) now_ms: i64,
    serial: u64,
}

impl Keyed {
    pub(super) fn end(&self) -> i64 {
        self.records.last().map_or(0, |record| record.offset + 1)
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
            new.push(Kept { offset: base_offset + at, key, value, timestamp_ms });
        }
        let mut bytes = builder.finish(CODECS[rng.random_range(0..5)]).unwrap().to_vec();
        let producer_id = rng.random_range(0..PRODUCERS * 3);
        if producer_id < PRODUCERS {
            let before = self.batches.get(&producer_id).and_then(|batches| batches.last());
            let before = before.map(|batch| BatchHeader::parse(batch).unwrap());
            let next = before.map_or(0, |last| last.base_sequence + last.last_offset_delta + 1);
            stamp(&mut bytes, producer_id, 0, next);
        }
        let appended = partition.append(&mut bytes);
        if appended.is_ok() || matches!(appended, Err(LogError::Storage { .. })) {
            self.records.extend(new);
            if producer_id < PRODUCERS {
                self.batches.entry(producer_id).or_default().push(bytes);
            }
        }
        appended.map(|appended| assert_eq!(appended.base_offset, base_offset))
    }

    /// Appends, syncs, compacts, retains and deletes at random until an error, or for a while; sometimes closes then.
    pub(super) fn live(&mut self, mut partition: Partition, rng: &mut StdRng) -> Result<(), LogError> {
        for _ in 0..rng.random_range(5..25) {
            for _ in 0..rng.random_range(1..5) {
                self.append(&mut partition, rng)?;
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
        assert_eq!(self.end().max(self.start), end, "{what}");
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
        let mut rest = kept.iter().peekable();
        for (at, record) in self.records.iter().enumerate().filter(|(_, record)| record.offset >= start) {
            if rest.next_if(|next| *next == record).is_some() {
                continue;
            }
            let key = record.key.as_ref();
            assert!(key.is_some(), "{what}: {record:?} is gone, which has no key");
            let later = self.records[at + 1..].iter().any(|later| later.key.as_ref() == key);
            let is_due = record.value.is_none() && record.timestamp_ms + DELETE_RETENTION_MS <= self.now_ms;
            assert!(later || is_due, "{what}: {record:?} is gone, the last of its key");
            if !later {
                let deleted = kept.iter().find(|kept| kept.key.as_ref() == key);
                assert_eq!(deleted, None, "{what}: back after its deletion {record:?} has gone");
            }
        }
        assert_eq!(rest.next(), None, "{what}: never appended, or out of order");
        self.assert_reads(partition, &kept, what);
        kept
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
    let all = records(batch, 1 << 20).unwrap().map(Result::unwrap);
    all.map(|r| Kept { offset: r.offset, key: r.key, value: r.value, timestamp_ms: r.timestamp_ms }).collect()
}
