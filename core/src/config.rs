//! Every setting of a topology's runtime, in one place.

use std::time::Duration;

use crate::backoff::Backoff;

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
    /// How long one execute, tick or idle of a bolt may take; `None` for ever. Its trees fail then, to be replayed, with a
    /// reason that names component and task. An execute that awaits something is dropped and its instance replaced. One that
    /// blocks its thread cannot be: it is reported, and goes on when it returns.
    ///
    /// It is found up to an eighth of the shortest timeout, at most a second, later. Time in a queue, or awaiting
    /// [`Emitter::ready`](crate::Emitter::ready), does not count. At least a millisecond.
    pub execute_timeout: Option<Duration>,
    /// How long a bolt that owns its inputs may hold one unanswered; `None` for ever. Its trees fail then, the bolt goes on,
    /// and what it answers later changes nothing.
    ///
    /// Longer than `execute_timeout` by default: an execute that hangs keeps its whole task from working, while to hold is
    /// what the explicit form is for, and only an input that was forgotten is to be found. A bolt that waits longer for a
    /// partner or a window says so itself, by [`BoltHandle::hold_timeout`](crate::BoltHandle::hold_timeout).
    pub hold_timeout: Option<Duration>,
    /// How often a tree that an [`Operator`](crate::Operator) opened is tried; at least 1. After the last attempt it is given
    /// up, and counted as exhausted.
    pub tree_attempts: u32,
    /// How long such a tree waits for its next attempt.
    pub tree_backoff: Backoff,
    /// How long a component that failed to start, panicked, erred or took too long waits before its next instance starts, at first;
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
            execute_timeout: Some(Duration::from_secs(30)),
            hold_timeout: Some(Duration::from_secs(300)),
            tree_attempts: 5,
            tree_backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) },
            restart_delay: Duration::from_millis(10),
            seed: rand::random(),
            witness: false,
        }
    }
}
