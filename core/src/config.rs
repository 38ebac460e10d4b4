//! Every setting of a topology's runtime, in one place.

use std::time::Duration;

/// What happens to a tuple whose tree does not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Delivery {
    /// Trees are not tracked: the spout hears an ack at once, and what is lost is lost.
    AtMostOnce,
    /// Trees are tracked in the ledger: the spout hears an ack only when the whole tree is done.
    #[default]
    AtLeastOnce,
}

/// How a topology runs. `Config::default()` suits one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether trees are tracked.
    pub delivery: Delivery,
    /// How many tuples make a batch that leaves at once; at least 1.
    pub batch_size: usize,
    /// How long a tuple may wait for its batch to fill while its sender is busy. An idle sender never waits.
    pub max_batch_delay: Duration,
    /// How many trees a spout task may have open; at least 1, at most 2^20. A spout may set its own.
    pub max_pending: usize,
    /// How many tuples may wait in a task's queue before its senders wait.
    pub queue_tuples: usize,
    /// How many bytes may wait in a task's queue before its senders wait; sizes are sampled.
    pub queue_bytes: usize,
    /// How many bytes may wait in a task's queue before a feedback edge fails what it carries.
    pub feedback_bytes: usize,
    /// How long a component that failed to start, panicked or erred waits before its next instance starts, at first;
    /// doubled up to a hundredfold while it goes on failing.
    pub restart_delay: Duration,
    /// What edge ids and shuffles are drawn from; the same seed on the seeded scheduler gives the same run.
    pub seed: u64,
    /// Keeps explicit sets of edges beside the ledgers, for [`Running::verify_trees`](crate::Running::verify_trees). For
    /// tests: slow.
    pub witness: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delivery: Delivery::default(),
            batch_size: 512,
            max_batch_delay: Duration::from_millis(5),
            max_pending: 10_000,
            queue_tuples: 8_192,
            queue_bytes: 16 << 20,
            feedback_bytes: 16 << 20,
            restart_delay: Duration::from_millis(10),
            seed: rand::random(),
            witness: false,
        }
    }
}
