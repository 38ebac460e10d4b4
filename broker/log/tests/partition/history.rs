//! The log as it should be: every batch that was appended, in order, and the comparison of a partition with it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use topo_log::storage::Storage;
use topo_log::{LogError, Partition, PartitionConfig, Recovery};
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room};

pub(crate) const DIR: &str = "/lines-0";

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

/// A batch unlike that of any other serial number: 1 to 3 records of up to 70 bytes.
pub(crate) fn batch(serial: u64, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for record in 0..=serial % 3 {
        let value = format!("{serial}/{record} {}", "x".repeat((serial * 37 % 60) as usize));
        let record =
            NewRecord { timestamp_ms: serial as i64, key: None, value: Some(value.as_bytes()), headers: &[] };
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
        let codecs = [Compression::None, Compression::Lz4, Compression::Zstd];
        let mut bytes = batch(self.serial, codecs[(self.serial / 2 % 3) as usize]);
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

    /// Requires that a partition holds a front part of this history, whole, and says where it ends.
    pub(crate) fn assert_holds(&self, partition: &Partition) -> i64 {
        let mut offset = partition.log_start();
        assert_eq!(offset, 0);
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
