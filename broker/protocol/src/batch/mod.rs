//! Record batches of version 2, the unit that is appended, stored, fetched and checksummed.
//!
//! ```
//! use topo_protocol::batch::{self, BatchBuilder, Compression, NewRecord, Room};
//!
//! let mut builder = BatchBuilder::new(16 << 10);
//! let record = NewRecord { timestamp_ms: 1_000, key: Some(b"k"), value: Some(b"v"), headers: &[] };
//! assert_eq!(builder.append(&record)?, Room::Taken);
//! let mut bytes = builder.finish(Compression::Lz4)?;
//! batch::place(&mut bytes, 42, 0)?;
//!
//! let header = batch::check(&bytes)?;
//! assert_eq!((header.base_offset, header.next_offset()), (42, 43));
//! let record = batch::records(bytes.freeze(), 1 << 20)?.next().expect("one record")?;
//! assert_eq!((record.offset, record.value.as_deref()), (42, Some(&b"v"[..])));
//! # Ok::<(), batch::BatchError>(())
//! ```

mod append_time;
mod attributes;
mod builder;
mod codec;
mod error;
mod header;
mod marker;
mod reader;
mod rebuild;
mod recompress;
mod snappy;
mod stamp;
#[cfg(test)]
mod tests;

pub use append_time::stamp_append_time;
pub use attributes::{Attributes, Compression, TimestampType};
pub use builder::{BatchBuilder, BatchProducer, NewHeader, NewRecord, Room};
pub use error::BatchError;
pub use header::{BatchHeader, HEADER_BYTES, check, place};
pub use marker::{EndTransactionMarker, TransactionResult};
pub use reader::{DecodedRecord, RecordHeader, Records, records};
pub use rebuild::{Rebuild, placeholder, rebuild};
pub use recompress::recompress;
pub use stamp::stamp_producer;
