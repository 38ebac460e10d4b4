//! Kafka's record batches, the guard before its requests, and its partitioner, without any I/O.
//!
//! A batch is stored and sent verbatim: it is checked once where it enters ([`check`]), placed in its partition by
//! patching the two fields its checksum does not cover ([`place`]), and decoded only where records are wanted
//! ([`records`]). Nothing here trusts a length, a count or a codec: every number is bounded by the bytes that remain
//! before anything is reserved for it.

pub mod batch;
pub mod guard;
mod partitioner;
mod varint;

pub use batch::{
    Attributes, BatchBuilder, BatchError, BatchHeader, BatchProducer, Compression, DecodedRecord,
    EndTransactionMarker, HEADER_BYTES, NewHeader, NewRecord, Rebuild, RecordHeader, Records, Room,
    TimestampType, TransactionResult, check, place, placeholder, rebuild, recompress, records,
    stamp_append_time, stamp_producer,
};
pub use partitioner::partition_for_key;
