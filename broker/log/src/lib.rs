//! One partition on disk, synchronous: record batches stored verbatim in segments, read from any offset, made durable
//! in groups, and recovered after a crash.
//!
//! ```text
//! DATA-DIR/format, lock, clean            one DataDirectory, held by one process
//! DATA-DIR/TOPIC-N/00000000000000000000.log      batches, verbatim
//!                  00000000000000000000.index    where some of them start; derived
//!                  00000000000000000000.timeindex  how late what is in front of those is; derived
//!                  00000000000000000000.txnindex   which transactions were aborted; derived
//!                  00000000000000000042.snapshot  what producers sent last, and their open transactions, up to there; derived
//!                  checkpoint                    the recovery point and the log's start
//!                  compacted                     up to where only the last record of each key is left; derived
//!                  ….cleaned, ….swap             segments that are about to take the place of others
//! ```
//!
//! A [`Partition`] owns its segments; each is a file of batches and an index of it. All bytes go through
//! [`storage::Storage`], so that a simulated disk can stand in. The log is the only truth: the index is derived from
//! it, and the checkpoint only says where checking has to start.

mod aborted;
mod buffers;
mod checkpoint;
mod compaction;
mod config;
mod cursor;
mod directory;
mod error;
mod index;
mod partition;
mod producers;
mod recovery;
mod retention;
mod segment;
pub mod storage;
mod sync;
mod time;

pub use aborted::AbortedTransaction;
pub use compaction::{Cleaned, Compacted, Compaction, Pace, Swap};
pub use config::{CompactionConfig, PartitionConfig, Retention};
pub use directory::{DataDirectory, DirectoryError};
pub use error::LogError;
pub use partition::{Appended, Batches, Partition};
pub use producers::{ProducerError, ProducerState};
pub use recovery::Recovery;
pub use retention::{Expired, NewStart};
pub use sync::SyncTicket;
pub use time::TimestampedOffset;
