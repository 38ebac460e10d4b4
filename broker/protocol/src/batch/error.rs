//! What can be wrong with a record batch.

use super::attributes::Compression;

/// Why a batch could not be read, checked or built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("a record batch needs {needed} bytes, only {available} are there")]
    Truncated {
        /// Bytes the header, or the whole batch, takes.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// Bytes follow the batch where it should be alone.
    #[error("a record batch of {batch_bytes} bytes is followed by {extra} bytes that are not part of it")]
    TrailingBytes {
        /// Bytes of the batch.
        batch_bytes: usize,
        /// Bytes behind it.
        extra: usize,
    },
    /// The length field cannot be a batch's.
    #[error("a record batch states the impossible length {0}")]
    Length(i32),
    /// The batch is in another version of the format.
    #[error(
        "record batches of version {0} are not supported, only version 2 (written by Kafka 0.11 and newer)"
    )]
    Magic(i8),
    /// The bytes are not those that were written.
    #[error("a record batch is corrupt: its CRC32C is {computed:08x}, its header says {stored:08x}")]
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Offsets that are negative or run past the largest offset.
    #[error("a record batch spans the impossible offsets {base_offset} + {last_offset_delta}")]
    Offsets {
        /// The first record's offset.
        base_offset: i64,
        /// The last record's distance from it.
        last_offset_delta: i32,
    },
    /// More records than offsets, or a negative count.
    #[error("a record batch says it holds {record_count} records in {} offsets", i64::from(*.last_offset_delta) + 1)]
    Count {
        /// The count in the header.
        record_count: i32,
        /// The last record's distance from the base offset.
        last_offset_delta: i32,
    },
    /// A compression number that Kafka does not define.
    #[error("a record batch is compressed with the unknown codec {0}")]
    UnknownCodec(i16),
    /// The compressed records do not decompress.
    #[error("the {codec} records of a batch do not decompress: {reason}")]
    Decompress {
        /// The codec.
        codec: Compression,
        /// What the codec says.
        reason: String,
    },
    /// The records could not be compressed.
    #[error("records could not be compressed with {codec}: {reason}")]
    Compress {
        /// The codec.
        codec: Compression,
        /// What the codec says.
        reason: String,
    },
    /// The records decompress to more than the caller allows.
    #[error("the records of a batch decompress to more than the allowed {max} bytes")]
    DecompressedTooLarge {
        /// The cap that was passed.
        max: usize,
    },
    /// A record inside the batch is malformed.
    #[error("record {index} of a batch is malformed: {reason}")]
    Record {
        /// The record's index in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Records of a batch are followed by bytes that the count does not account for.
    #[error("the {record_count} records of a batch are followed by {extra} more bytes")]
    ExtraRecordBytes {
        /// The count in the header.
        record_count: i32,
        /// Bytes behind the last record.
        extra: usize,
    },
    /// A control batch that is no marker.
    #[error("a control batch is no marker: {reason}")]
    Marker {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A batch of no records was to be built.
    #[error("a record batch needs at least one record")]
    Empty,
    /// The records of one batch take more bytes than the format can say.
    #[error("a record of {bytes} bytes does not fit in a record batch")]
    TooLarge {
        /// Bytes of the record, or of the whole batch.
        bytes: usize,
    },
}
