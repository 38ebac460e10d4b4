//! What the runtime counts. Executors write, anyone may take a snapshot, nobody waits for anybody.

mod counters;
mod snapshot;

pub(crate) use counters::{TaskCounters, record};

pub use snapshot::{
    ComponentKind, ComponentSnapshot, EdgeSnapshot, Latency, QueueSnapshot, TaskError, TaskSnapshot,
    TopologySnapshot, TopologyStatus, TransactionSnapshot, WindowSnapshot,
};

use hdrhistogram::Histogram;

/// Longest time that a histogram tells apart: an hour, in nanoseconds.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds with two significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are constants that hdrhistogram accepts; the fallback keeps the function total.
    Histogram::new_with_bounds(1, LONGEST_NANOS, 2)
        .unwrap_or_else(|_| unreachable!("constant bounds are valid"))
}
