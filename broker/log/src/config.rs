//! How one partition is stored.

/// Settings of one partition; the defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// A segment is rolled before it would grow beyond so many bytes; a larger batch gets one of its own.
    /// At most `i32::MAX`, as in Kafka; more is taken as that.
    pub segment_bytes: u32,
    /// Bytes of batches between two entries of the offset index.
    pub index_interval_bytes: u32,
    /// Epoch written into every batch appended, and the highest one that is accepted from the disk.
    pub leader_epoch: i32,
    /// The most that one batch may decompress to where a record is looked up by its timestamp.
    pub max_decompressed_bytes: usize,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4 << 10,
            leader_epoch: 0,
            max_decompressed_bytes: 64 << 20,
        }
    }
}

impl PartitionConfig {
    /// Keeps positions, and offsets relative to a segment's base, within the index's 32 bits.
    pub(crate) fn bounded(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.min(i32::MAX as u32);
        self
    }
}
