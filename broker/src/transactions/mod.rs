//! Kafka's transactions: records of several partitions, and what a group goes on from, committed together or not at all, for
//! producers in this process and outside alike.
//!
//! ```text
//!  handlers, TransactionalProducer ──▶ Transactions ──▶ Coordinator ──▶ Slot: one lock ──▶ Transaction: the state machine
//!                                        │      ▲                         │
//!                                        │    Timer                       ├──▶ __transaction_state: each step
//!                                        │                                └──▶ the records themselves
//!                                        └──▶ markers in all partitions, __consumer_offsets among them
//! ```
//!
//! A transaction ends in three steps: what is to come of it is durable, then the markers in all partitions are, then that it
//! is done. Whatever was decided when the process ended is done when the broker is opened again.
//!
//! This is the protocol's first version, with what the later one asks of the broker without its clients: whatever is written
//! outside of the ongoing transaction is refused. One thing is left that only the second version cures: a producer's epoch
//! stays the same from one transaction to the next, so that an EndTxn which arrives late, after the producer gave it up and
//! went on, ends its next transaction.

mod coordinator;
mod error;
mod field;
mod handle;
mod hanging;
mod metadata;
mod producer;
mod progress;
pub(crate) mod records;
mod request;
mod slot;
#[cfg(test)]
mod tests;
mod transaction;

pub(crate) use coordinator::Coordinator;
pub use error::TransactionError;
pub use handle::Transactions;
pub(crate) use hanging::abort_hanging;
pub use producer::{TransactionalConfig, TransactionalProducer};
pub use request::{ProducerInstance, TransactionDescription, TransactionListing, TransactionState};
pub(crate) use transaction::Markers;

/// One node, whose coordinator never moves: its epoch stays.
pub(crate) const COORDINATOR_EPOCH: i32 = 0;
