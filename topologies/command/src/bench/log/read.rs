//! Where a reader of a partition stands, and what it has read.

use topo_protocol::BatchHeader;

/// One that reads a partition from its start to its end, again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    offset: i64,
    end: i64,
}

impl Reader {
    /// At the start of a partition of `end` records.
    pub(super) fn new(end: i64) -> Self {
        Self { offset: 0, end }
    }

    /// What is to be read next.
    pub(super) fn offset(&self) -> i64 {
        self.offset
    }

    /// Goes on behind what was read, and says how many records that were.
    pub(super) fn take(&mut self, mut batches: &[u8]) -> u64 {
        let mut records = 0;
        while let Ok(header) = BatchHeader::parse(batches) {
            records += u64::from(header.record_count.unsigned_abs());
            self.offset = header.next_offset();
            let Some(rest) = batches.get(header.total_bytes()..) else { break };
            batches = rest;
        }
        if self.offset >= self.end {
            self.offset = 0;
        }
        records
    }
}
