//! Every setting of a topology's runtime, in one place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::log::Log;
use crate::state::RestoreProgress;

/// What happens to a tuple whose tree does not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Delivery {
    /// Trees are not tracked: the spout hears an ack at once, and what is lost is lost.
    AtMostOnce,
    /// Trees are tracked in the ledger: the spout hears an ack only when the whole tree is done.
    #[default]
    AtLeastOnce,
    /// Input goes through in batches, each a micro-transaction: outputs, changes of state and input offsets are committed
    /// together, or all are taken back and the batch is processed again. Needs [`StateSettings::log`], spouts that can go back
    /// ([`Spout::REPLAYS`](crate::Spout::REPLAYS)), and no cycle.
    ExactlyOnce,
}

/// How large micro-transactions are, where [`Delivery::ExactlyOnce`] asks for them. What comes first closes the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroTransactions {
    /// How long a batch is open. Outputs are seen, by who reads what is committed, about so much later.
    pub interval: Duration,
    /// How many trees each spout task may open in a batch.
    pub batch_records: usize,
    /// About how many bytes of outputs and changes of state a batch may gather; one that gathers more is closed at once.
    pub batch_bytes: usize,
    /// How long a bolt that owns its inputs may take to answer those of a batch once its marker has come; then the batch fails,
    /// with the bolt's name.
    pub held_wait: Duration,
    /// How many batches in a row may fail without anything being committed and without a record that is known to be to blame, but
    /// for outages of the log; then the topology stops, and says why.
    pub attempts: u32,
    /// After how long the log aborts a transaction that is not committed: Kafka's `transaction.timeout.ms`.
    pub timeout: Duration,
}

impl Default for MicroTransactions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            batch_records: 100_000,
            batch_bytes: 64 << 20,
            held_wait: Duration::from_secs(5),
            attempts: 20,
            timeout: Duration::from_secs(60),
        }
    }
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
    /// Where keyed state lives, and where it is kept. By default in memory, and nowhere.
    pub state: StateSettings,
    /// How large batches are under [`Delivery::ExactlyOnce`].
    pub transactions: MicroTransactions,
    /// What edge ids and shuffles are drawn from; the same seed on the seeded scheduler gives the same run.
    pub seed: u64,
    /// Keeps explicit sets of edges beside the ledgers, for [`Running::verify_trees`](crate::Running::verify_trees). For
    /// tests: slow. None are kept under [`Delivery::ExactlyOnce`], where trees may be dropped unanswered.
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
            state: StateSettings::default(),
            transactions: MicroTransactions::default(),
            seed: rand::random(),
            witness: false,
        }
    }
}

/// Where the values of keyed state live while the topology runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StateBackend {
    /// In memory.
    #[default]
    Memory,
    /// On disk, for states larger than memory. Needs feature `fjall`. Each topology of each process has a part of `directory`,
    /// emptied when it starts: what outlives it is in the changelogs.
    Disk {
        /// Where the files are; created if need be.
        directory: PathBuf,
        /// How many bytes of values each task's part of each state keeps in memory, by their serialized size. What was changed
        /// is among them, and flushed early where it takes too much.
        cache_bytes: usize,
    },
}

impl StateBackend {
    /// On disk in `directory`, with 64 MiB of values in memory for each task's part of each state.
    pub fn disk(directory: impl Into<PathBuf>) -> Self {
        Self::Disk { directory: directory.into(), cache_bytes: 64 << 20 }
    }
}

/// Told, from time to time, how far a state is restored.
pub type RestoreWatch = Arc<dyn Fn(&RestoreProgress) + Send + Sync>;

/// How keyed state is kept.
#[derive(Clone)]
pub struct StateSettings {
    /// Where changelogs are written, and states restored from; the log of micro-transactions, too. `None`: state is kept in
    /// this process alone and is gone when the topology ends.
    pub log: Option<Arc<dyn Log>>,
    /// Where values live.
    pub backend: StateBackend,
    /// How many partitions a changelog is created with, 1 to 256. One that is there has as many as it has.
    pub changelog_partitions: u32,
    /// Whether what was before each change since the last flush is kept in memory too, so that changes can be taken back
    /// without reading the changelog again.
    pub keeps_undo: bool,
    /// Told how far a restore is; called by the task that restores, which waits meanwhile.
    pub on_restore: Option<RestoreWatch>,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self {
            log: None,
            backend: StateBackend::default(),
            changelog_partitions: 8,
            keeps_undo: false,
            on_restore: None,
        }
    }
}

impl fmt::Debug for StateSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSettings")
            .field("is_kept", &self.log.is_some())
            .field("backend", &self.backend)
            .field("changelog_partitions", &self.changelog_partitions)
            .field("keeps_undo", &self.keeps_undo)
            .finish_non_exhaustive()
    }
}

/// Logs and watches are the same where they are one.
impl PartialEq for StateSettings {
    fn eq(&self, other: &Self) -> bool {
        let same_log = match (&self.log, &other.log) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        let same_watch = match (&self.on_restore, &other.on_restore) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_log
            && same_watch
            && self.backend == other.backend
            && self.changelog_partitions == other.changelog_partitions
            && self.keeps_undo == other.keeps_undo
    }
}

impl Eq for StateSettings {}
