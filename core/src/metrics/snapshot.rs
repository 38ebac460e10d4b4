//! A topology's numbers at one moment: plain data for the page, the metrics endpoint and the tests.

use std::sync::Arc;
use std::time::Duration;

use super::activity::Spent;
use super::histogram::Latency;

/// What kind of component a snapshot speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentKind {
    /// A source of tuples.
    Spout,
    /// A step.
    Bolt,
}

/// Whether a topology takes in tuples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyStatus {
    /// Spouts emit.
    Active,
    /// Spouts are paused; what is in flight goes on.
    Inactive,
    /// The topology drains before it stops.
    Killed,
}

/// A whole topology at one moment. Counters are exact since the start; each task's are consistent to its last batch.
#[derive(Debug, Clone)]
pub struct TopologySnapshot {
    /// The topology's name.
    pub name: Arc<str>,
    /// Its id: the name and when it started.
    pub id: Arc<str>,
    /// Whether spouts emit.
    pub status: TopologyStatus,
    /// How long it has run.
    pub uptime: Duration,
    /// Whether trees are tracked (any delivery but at most once).
    pub acked_delivery: bool,
    /// Components in the order they were added.
    pub components: Vec<ComponentSnapshot>,
    /// Who reads whom.
    pub edges: Vec<EdgeSnapshot>,
    /// Its micro-transactions, where it has any.
    pub transactions: Option<TransactionSnapshot>,
}

/// The micro-transactions of a topology. What never wrote anything, as while there is no input, counts as no commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionSnapshot {
    /// The batch that is open.
    pub txid: u64,
    /// The newest batch that is committed.
    pub committed: u64,
    /// Transactions committed.
    pub commits: u64,
    /// How often what was not committed was taken back.
    pub aborts: u64,
    /// Trees that spouts had opened in the last batch that was committed.
    pub trees: u64,
    /// Records of outputs and state in its transaction.
    pub records: u64,
    /// About how many bytes those took.
    pub bytes: u64,
    /// How long it lasted, from its opening until it was committed.
    pub lasted: Duration,
    /// How long its commit took, of that.
    pub took: Duration,
    /// How long senders were held, in all, as they were a batch ahead of others by more than a queue takes.
    pub held: Duration,
    /// Why something was taken back the last time.
    pub last_abort: Option<Arc<str>>,
}

/// One subscription: a component's stream read by another with a grouping; and what went through it since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EdgeSnapshot {
    /// The emitting component.
    pub from: Arc<str>,
    /// Its stream's name.
    pub stream: Arc<str>,
    /// The subscribing component.
    pub to: Arc<str>,
    /// The grouping's name: `shuffle`, `fields`, …
    pub grouping: Arc<str>,
    /// Whether it closes a cycle: it never makes its sender wait.
    pub feedback: bool,
    /// Tuples that were put into the queues of the subscriber.
    pub tuples: u64,
    /// In so many batches.
    pub batches: u64,
    /// Their size in bytes, as sampled.
    pub bytes: u64,
    /// How often a full queue made a sender wait.
    pub refused: u64,
    /// What waits of it in the queues of the subscriber's tasks, and what may wait there in all.
    pub queue: QueueSnapshot,
    /// Which share of the fullest of those queues it takes, in tuples or bytes, whichever is more; 0 to 1.
    pub fullest: f64,
    /// How long its tuples waited there, per batch.
    pub queue_wait: Latency,
    /// How far the last of its senders that are not idle has come in event time, in milliseconds since 1970; `None` before
    /// any of them says so.
    pub event_time_ms: Option<i64>,
    /// Whether event time waits for none of its senders.
    pub idle: bool,
}

/// A component: its tasks' numbers.
#[derive(Debug, Clone)]
pub struct ComponentSnapshot {
    /// The component's name.
    pub name: Arc<str>,
    /// Spout or bolt.
    pub kind: ComponentKind,
    /// One entry per task.
    pub tasks: Vec<TaskSnapshot>,
}

/// One task's numbers.
#[derive(Debug, Clone)]
pub struct TaskSnapshot {
    /// The task's number within its component, from 0.
    pub task: u32,
    /// Tuples emitted by the component's code.
    pub emitted: u64,
    /// Tuples sent on: emitted times their subscribers (and copies).
    pub transferred: u64,
    /// Inputs executed (bolts).
    pub executed: u64,
    /// Inputs acknowledged (bolts), or trees completed (spouts).
    pub acked: u64,
    /// Inputs failed (bolts), or trees failed (spouts).
    pub failed: u64,
    /// Of the failed, those refused for good.
    pub rejected: u64,
    /// Executes that took longer than they may and inputs held longer (bolts), or trees that failed for one (spouts, among
    /// the failed). An input that a bolt owns, and answers after all, counts as acked or failed as well.
    pub timed_out: u64,
    /// Inputs that came too late for their windows.
    pub late: u64,
    /// How far it has come in event time, in milliseconds since 1970 (bolts); `None` before it hears of any.
    pub event_time_ms: Option<i64>,
    /// Trees opened and not yet completed or failed (spouts), or not yet completed or given up (operators).
    pub pending: u64,
    /// Trees of its own that were completed (operators).
    pub trees_acked: u64,
    /// Attempts at trees of its own that failed (operators).
    pub trees_failed: u64,
    /// Trees of its own that were refused, or failed as often as they may (operators).
    pub trees_exhausted: u64,
    /// What its windows hold as of the last watermark, timer or flush (steps with windows).
    pub open_windows: Option<OpenWindows>,
    /// How many times the instance was replaced after a panic or an error.
    pub restarted: u64,
    /// Share of its time since the start that the task spent executing, 0 to 1.
    pub busy: f64,
    /// What it spent its time on since the start.
    pub spent: Spent,
    /// What waits in its queue (bolts).
    pub queue: QueueSnapshot,
    /// Time spent in execute, per input (bolts).
    pub execute: Latency,
    /// Time an input waited in the queue, per batch (bolts).
    pub queue_wait: Latency,
    /// Time from emit to the tree's completion (spouts and operators).
    pub complete: Latency,
    /// How far what it has open is spread over each partition that it reads (spouts of a log).
    pub windows: Vec<WindowSnapshot>,
    /// The newest error or panic, if any.
    pub last_error: Option<TaskError>,
}

/// An error or panic that a task reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What it said.
    pub message: Arc<str>,
}

/// What a spout has open of one partition: a record that is not done holds back the committed offset, and once those after
/// it are `limit` ahead, the spout waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowSnapshot {
    /// The partition, as `topic-number`.
    pub partition: Arc<str>,
    /// Offset of the oldest record that is not done; `None` where all are.
    pub oldest: Option<i64>,
    /// How many offsets lie between that and the newest emitted, both counted; 0 where all are done.
    pub span: u64,
    /// How many may.
    pub limit: u64,
    /// Records that failed and wait for their next attempt, or for their dead letter to be written.
    pub waiting: u64,
}

/// What the windows of a task hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenWindows {
    /// Keys that have windows open, or results that are not acknowledged.
    pub keys: u64,
    /// Windows of all keys that are not complete, as of the last flush.
    pub windows: u64,
    /// Results that were given and are not acknowledged.
    pub results: u64,
}

/// A queue's fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// Tuples waiting.
    pub tuples: u64,
    /// Their size in bytes, as sampled.
    pub bytes: u64,
    /// How many tuples may wait before senders do.
    pub capacity_tuples: u64,
    /// How many bytes may wait before senders do.
    pub capacity_bytes: u64,
}

impl QueueSnapshot {
    /// The share of its room that is taken, in tuples or bytes, whichever is nearer to its limit; 0 to 1.
    pub fn fill(&self) -> f64 {
        let share = |waiting: u64, room: u64| if room == 0 { 0.0 } else { waiting as f64 / room as f64 };
        share(self.tuples, self.capacity_tuples).max(share(self.bytes, self.capacity_bytes)).min(1.0)
    }
}

impl ComponentSnapshot {
    /// Adds up one counter over the tasks.
    pub fn total(&self, counter: impl Fn(&TaskSnapshot) -> u64) -> u64 {
        self.tasks.iter().map(counter).sum()
    }

    /// How far the last of its tasks has come in event time; tasks that have not heard of any do not count.
    pub fn event_time_ms(&self) -> Option<i64> {
        self.tasks.iter().filter_map(|task| task.event_time_ms).min()
    }

    /// Joins one distribution over the tasks.
    pub fn latency(&self, which: impl Fn(&TaskSnapshot) -> &Latency) -> Latency {
        Latency::merge(self.tasks.iter().map(which))
    }
}
