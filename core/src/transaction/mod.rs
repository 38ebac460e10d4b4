//! Micro-transactions: batches of input whose offsets, state changes and outputs become durable together, or not at all.
//!
//! A batch's way: spouts emit into the batch that is open. Once it has been open for [`MicroTransactions::interval`], or is
//! large enough, each spout sends a marker behind what it emitted; a bolt that has the marker of all its senders hands over
//! what its sinks staged and what its state changed, and sends the marker on. When it has passed every task and no tree is
//! open, the next batch opens, and one transaction of the log takes all of the last one. So batch n+1 is processed while
//! n commits.
//!
//! Where anything fails, everything that is not committed is taken back: all tasks stop and drop what they send, then all
//! drop what they were sent, restore their states and start anew, and the spouts go back to what was committed.
//!
//! Invariant: the next batch opens only when every task has passed the last one's marker, so no task ever has tuples of two
//! batches.
//!
//! The shape is Trident's (Storm: batches strictly ordered by txid) with the alignment of Chandy and Lamport's snapshots;
//! the offsets are in the transaction as in Kafka Streams.

mod coordinator;
mod driver;
mod staged;
mod transactions;

pub(crate) use driver::Driver;
pub(crate) use staged::{Letter, Staged, Staging};
pub(crate) use transactions::{Stage, Transactions};

pub use staged::InputOffsets;
