//! The 61 bytes that open every batch.
//!
//! Invariant: a [`BatchHeader`] that was parsed states a length of at least a header and offsets that can be computed
//! without overflow.

use super::attributes::Attributes;
use super::error::BatchError;

/// Bytes of a batch's header.
pub const HEADER_BYTES: usize = 61;

/// The version of the format, and the only one read.
pub(super) const MAGIC: i8 = 2;
/// Bytes before the part that `batch_length` counts: the base offset and the length itself.
pub(super) const LENGTH_END: usize = 12;
/// Where the length stands.
pub(super) const LENGTH: std::ops::Range<usize> = 8..LENGTH_END;
/// Where the leader epoch stands: behind the length, before the checksum.
const LEADER_EPOCH: std::ops::Range<usize> = 12..16;
const CRC: std::ops::Range<usize> = 17..21;
/// Where codec and flags stand.
pub(super) const ATTRIBUTES: std::ops::Range<usize> = 21..23;
/// Where the timestamp stands that the records' are relative to.
pub(super) const BASE_TIMESTAMP: std::ops::Range<usize> = 27..35;
/// Where the largest timestamp stands.
pub(super) const MAX_TIMESTAMP: std::ops::Range<usize> = 35..43;
/// Where the producer's id is.
pub(super) const PRODUCER_ID: std::ops::Range<usize> = 43..51;
/// Where its epoch is.
pub(super) const PRODUCER_EPOCH: std::ops::Range<usize> = 51..53;
/// Where its sequence number of the first record is.
pub(super) const BASE_SEQUENCE: std::ops::Range<usize> = 53..57;
/// Where the count of records stands.
pub(super) const RECORD_COUNT: std::ops::Range<usize> = 57..61;
/// The checksum covers everything from here to the batch's end.
const CRC_FROM: usize = 21;

/// A batch's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record, assigned when the batch is appended; not covered by the CRC.
    pub base_offset: i64,
    /// Bytes that follow this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; not covered by the CRC.
    pub partition_leader_epoch: i32,
    /// Version of the format: 2.
    pub magic: i8,
    /// CRC32C of everything behind this field.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Distance of the last offset from the base offset.
    pub last_offset_delta: i32,
    /// Timestamp that the records' are relative to, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp of the records, in milliseconds since 1970.
    pub max_timestamp: i64,
    /// Id of the idempotent producer; -1 where there is none.
    pub producer_id: i64,
    /// Its epoch; -1 where there is none.
    pub producer_epoch: i16,
    /// Its sequence number of the first record; -1 where there is none.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the front of `bytes`, which may hold any part of the rest of the batch.
    ///
    /// Lengths, version and offsets are bounded; the checksum is not computed: see [`check`].
    ///
    /// # Errors
    /// [`BatchError::Truncated`] below [`HEADER_BYTES`] bytes; [`BatchError::Magic`], [`BatchError::Length`],
    /// [`BatchError::Offsets`] or [`BatchError::Count`] for a header that no batch can have.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() });
        };
        let header = Self {
            base_offset: i64::from_be_bytes(field(header, 0)),
            batch_length: i32::from_be_bytes(field(header, LENGTH.start)),
            partition_leader_epoch: i32::from_be_bytes(field(header, LEADER_EPOCH.start)),
            magic: i8::from_be_bytes(field(header, 16)),
            crc: u32::from_be_bytes(field(header, CRC.start)),
            attributes: Attributes::from_bits(i16::from_be_bytes(field(header, ATTRIBUTES.start))),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp: i64::from_be_bytes(field(header, 27)),
            max_timestamp: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            record_count: i32::from_be_bytes(field(header, 57)),
        };
        header.bounded()
    }

    fn bounded(self) -> Result<Self, BatchError> {
        let Self { base_offset, last_offset_delta, record_count, .. } = self;
        if self.magic != MAGIC {
            return Err(BatchError::Magic(self.magic));
        }
        if self.batch_length < (HEADER_BYTES - LENGTH_END) as i32 {
            return Err(BatchError::Length(self.batch_length));
        }
        let past_the_last = base_offset.checked_add(i64::from(last_offset_delta) + 1);
        if base_offset < 0 || last_offset_delta < 0 || past_the_last.is_none() {
            return Err(BatchError::Offsets { base_offset, last_offset_delta });
        }
        // Compaction removes records and keeps the offsets, so fewer records than offsets are fine.
        if record_count < 0 || i64::from(record_count) > i64::from(last_offset_delta) + 1 {
            return Err(BatchError::Count { record_count, last_offset_delta });
        }
        Ok(self)
    }

    /// Bytes of the whole batch, the header included.
    pub fn total_bytes(&self) -> usize {
        LENGTH_END + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// Checks the batch that this is the header of: its exact length and its checksum.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::TrailingBytes`] or [`BatchError::Crc`].
    pub fn verify(&self, batch: &[u8]) -> Result<(), BatchError> {
        let needed = self.total_bytes();
        if batch.len() < needed {
            return Err(BatchError::Truncated { needed, available: batch.len() });
        }
        if batch.len() > needed {
            return Err(BatchError::TrailingBytes { batch_bytes: needed, extra: batch.len() - needed });
        }
        let computed = crc32c::crc32c(&batch[CRC_FROM..]);
        if computed != self.crc {
            return Err(BatchError::Crc { stored: self.crc, computed });
        }
        Ok(())
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Offset behind the last record: where the next batch starts.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Whether there is one record for every offset, as in every batch a producer sends; compaction leaves gaps.
    pub fn is_dense(&self) -> bool {
        i64::from(self.record_count) == i64::from(self.last_offset_delta) + 1
    }

    /// From when on compaction may remove the batch's deletions and markers, in milliseconds since 1970; `None` where it
    /// has not come by yet, or found none.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whether compaction made the batch what it is: nobody sends one without a record for every offset.
    pub fn is_compacted(&self) -> bool {
        !self.is_dense() || self.attributes.has_delete_horizon()
    }
}

/// The `N` bytes at `at`, which the callers above keep inside the header.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

/// Checks one whole batch: exact length, version, checksum, offsets and counts. The records are not decoded.
///
/// # Errors
/// The [`BatchError`] that says what is wrong.
pub fn check(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(batch)?;
    header.verify(batch)?;
    Ok(header)
}

/// Gives a batch its place in a partition by patching base offset and leader epoch, which the CRC does not cover.
///
/// # Errors
/// [`BatchError::Truncated`] below [`HEADER_BYTES`] bytes.
pub fn place(batch: &mut [u8], base_offset: i64, leader_epoch: i32) -> Result<(), BatchError> {
    if batch.len() < HEADER_BYTES {
        return Err(BatchError::Truncated { needed: HEADER_BYTES, available: batch.len() });
    }
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[LEADER_EPOCH].copy_from_slice(&leader_epoch.to_be_bytes());
    Ok(())
}

/// Writes the checksum of a batch that is complete otherwise.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
}
