//! How one partition is stored.

use std::time::Duration;

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
    /// How far ahead of its end a segment's file is filled with zeros, in bytes, so that a sync of what is written there
    /// has no metadata to write; 0 for not at all, 1 MiB by default. A segment that holds less is filled ahead by as
    /// much as it holds; larger batches do without. What is not used is given back when the segment or the partition
    /// is closed.
    pub preallocate_bytes: u32,
    /// What is given up, and when.
    pub retention: Retention,
    /// Whether, and how, only the last record of each key is kept; `None`, the default, keeps them all.
    pub compaction: Option<CompactionConfig>,
    /// How long a producer that appends nothing is remembered, so that what it sends again is known.
    pub producer_expiration: Duration,
}

/// How long records are kept. Only whole segments are given up, the oldest first, and never the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A segment whose newest record is older goes; `None` keeps all. 7 days by default. A segment none of whose records
    /// carries a time is kept.
    pub max_age: Option<Duration>,
    /// The oldest segment goes while the others hold at least so many bytes; `None`, the default, for no limit.
    pub max_bytes: Option<u64>,
    /// The active segment is rolled, so that it can be given up, once its first record is so old. 7 days by default.
    pub roll_after: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const WEEK: Duration = Duration::from_hours(7 * 24);
        Self { max_age: Some(WEEK), max_bytes: None, roll_after: WEEK }
    }
}

impl Retention {
    /// Nothing is ever given up.
    pub const FOREVER: Self = Self { max_age: None, max_bytes: None, roll_after: Duration::MAX };
}

/// How a partition is compacted, so that of each key the last record stays. Only segments other than the active one are,
/// and of those only what a power loss cannot take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Begins once so many millionths of the bytes that could be compacted have not been yet. Half by default.
    pub min_dirty_ppm: u32,
    /// How long a deletion, a record with a key and no value, stays after the records it deletes have gone, so that who
    /// reads from the start to the end within that time sees it. 24 hours by default.
    pub delete_retention: Duration,
    /// Segments with a younger record are left alone. 0 by default.
    pub min_lag: Duration,
    /// Begins, whatever the ratio, once a record that has not been through it is older; the active segment is rolled by
    /// then. `None`, the default, for no such limit.
    pub max_lag: Option<Duration>,
    /// Bytes that the map from keys to their last offsets may take; one that is full ends the pass early, and another
    /// follows. 24 bytes a key and a quarter more; 128 MiB by default.
    pub map_bytes: usize,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            min_dirty_ppm: 500_000,
            delete_retention: Duration::from_hours(24),
            min_lag: Duration::ZERO,
            max_lag: None,
            map_bytes: 128 << 20,
        }
    }
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4 << 10,
            leader_epoch: 0,
            max_decompressed_bytes: 64 << 20,
            preallocate_bytes: 1 << 20,
            retention: Retention::default(),
            compaction: None,
            producer_expiration: Duration::from_hours(24),
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
