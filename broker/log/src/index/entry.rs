//! What indexes hold: for a batch, where it starts, or how late everything in front of it is.

use std::fmt;

/// An entry of an index, fixed in size.
pub(crate) trait IndexEntry: Copy + fmt::Debug {
    /// Bytes in the file.
    const BYTES: usize;

    /// Writes the entry into its slot.
    fn encode(&self, slot: &mut [u8]);

    /// Reads what [`IndexEntry::encode`] wrote.
    fn decode(slot: &[u8]) -> Self;

    /// The base offset of the entry's batch less the segment's.
    fn relative_offset(&self) -> u32;

    /// Whether the entry may follow `previous`.
    fn follows(&self, previous: &Self) -> bool;
}

/// Where a batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// The batch's base offset less the segment's.
    pub(crate) relative_offset: u32,
    /// Bytes from the segment's start.
    pub(crate) position: u32,
}

/// The largest timestamp in front of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// The largest timestamp of all batches of the segment in front of this one, in milliseconds since 1970.
    pub(crate) max_timestamp_before: i64,
    /// The batch's base offset less the segment's; behind the last batch in the entry that seals the index.
    pub(crate) relative_offset: u32,
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(&self, slot: &mut [u8]) {
        slot[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        slot[4..].copy_from_slice(&self.position.to_be_bytes());
    }

    fn decode(slot: &[u8]) -> Self {
        Self { relative_offset: word(slot, 0), position: word(slot, 4) }
    }

    fn relative_offset(&self) -> u32 {
        self.relative_offset
    }

    fn follows(&self, previous: &Self) -> bool {
        self.relative_offset > previous.relative_offset && self.position > previous.position
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(&self, slot: &mut [u8]) {
        slot[..8].copy_from_slice(&self.max_timestamp_before.to_be_bytes());
        slot[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(slot: &[u8]) -> Self {
        let max_timestamp_before = i64::from_be_bytes(std::array::from_fn(|at| slot[at]));
        Self { max_timestamp_before, relative_offset: word(slot, 8) }
    }

    fn relative_offset(&self) -> u32 {
        self.relative_offset
    }

    fn follows(&self, previous: &Self) -> bool {
        self.relative_offset > previous.relative_offset
            && self.max_timestamp_before >= previous.max_timestamp_before
    }
}

/// The four bytes at `at`, which the page's layout keeps inside the slot.
fn word(slot: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|byte| slot[at + byte]))
}
