//! Tuples, topologies, the ack ledger and the runtime that moves tuples between tasks.

mod fail;
mod tuple;

pub mod ledger;
pub mod log;
pub mod metrics;
pub mod schedule;

pub use fail::{Fail, FailKind, Failure};
pub use tuple::Tuple;
