//! The log as it should be: every batch that was appended, in order, and the comparison of a partition with it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use topo_log::storage::Storage;
use topo_log::{LogError, Partition, PartitionConfig, Recovery, TimestampedOffset};
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room, records};

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
        let mut bytes = batch(self.serial, CODECS[(self.serial / 2 % 5) as usize]);
        self.serial += 1;
        let end = partition.log_end();
        let result = partition.append(&mut bytes);
        match &result {
            Ok(appended) => {
                assert_eq!((appended.base_offset, end), (end, self.end()));
                assert_eq!(partition.log_end(), appended.last_offset + 1);
                self.batches.push(bytes);
            }
            Err(LogError::Storage { .. }) => self.batches.push(bytes),
            Err(_) => assert_eq!(partition.log_end(), end, "a refused batch must leave nothing"),
        }
        result.map(drop)
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
