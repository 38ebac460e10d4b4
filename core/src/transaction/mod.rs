//! Micro-transactions: batches of input whose offsets, state changes and outputs become durable together, or not at all.
//!
//! A batch's way: spouts emit into the batch that is open. Once it has been open for `MicroTransactions::interval`, or is
//! large enough, each spout sends a marker behind what it emitted, and emits into the next batch. A bolt that has the marker of
//! all its senders hands over what its sinks staged and what its state changed, and sends the marker on; what comes behind
//! the markers of some waits meanwhile, within the bytes of a queue. When the marker has passed every task and no tree of the
//! batch is open, one transaction of the log takes all of it. So batch n+1 is processed while n closes and commits, and
//! closes when n is committed.
//!
//! Where anything fails, everything that is not committed is taken back: all tasks stop and drop what they send, then all
//! drop what they were sent, restore their states and start anew, and the spouts go back to what was committed.
//!
//! Invariant: a task is in one batch at a time, and takes nothing of the next before it has passed this one's marker on.
//!
//! The shape is Trident's (Storm: batches strictly ordered by txid) with the alignment of Chandy and Lamport's snapshots;
//! the offsets are in the transaction as in Kafka Streams. Txids go on over restarts: the last one is noted with the offsets.
//!
//! **Where Trident's other stores would go.** Here outputs and state are exactly once because the log commits both with the
//! offsets. A store outside the log cannot join that transaction. It would be a [`Shelf`](crate::state::Shelf) of another kind,
//! handed over in `BoltExecutor::stage` and told in `Driver::note`: its `stage` writes each value with the txid that changed
//! it, and with what it was before (Trident's *opaque* value; *transactional* ones, which keep no earlier value, need batches
//! that are made again with the same records, and here a batch is made again with other bounds). What it reads of a txid
//! that the offsets do not note is not committed, and its earlier value counts. Txids are never used twice for what was committed, so
//! that such a store can go by them.

mod coordinator;
mod driver;
mod refusals;
mod staged;
mod transactions;
mod writing;

pub(crate) use driver::Driver;
pub(crate) use staged::{Letter, Staged, Staging};
pub(crate) use transactions::{Stage, Transactions};

pub use staged::{InputOffsets, LastBatch};
