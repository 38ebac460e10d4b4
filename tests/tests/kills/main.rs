//! What a broker acknowledged stays, whatever ends its process: clients of librdkafka load it while it is killed at random,
//! at every operation of its storage, and while its disk fails.
//!
//! Each record must be in the log exactly once and in its producer's order, at the offset that was acknowledged; a committed
//! offset never goes back; and no start needs anything but time. A transaction must be there as a whole, with the offsets that
//! it commits, or not at all, and in the end none may be left open. Of a compacted topic the last record of each key is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod copying;
mod load;
mod process;
mod reading;

mod compacted;
mod disk;
mod every_operation;
mod random;
