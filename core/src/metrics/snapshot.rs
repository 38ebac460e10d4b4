//! A topology's numbers at one moment: plain data for the page, the metrics endpoint and the tests.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

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

/// One subscription: a component's stream read by another with a grouping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSnapshot {
    /// The emitting component.
    pub from: Arc<str>,
    /// Its stream's name.
    pub stream: Arc<str>,
    /// The subscribing component.
    pub to: Arc<str>,
    /// The grouping's name: `shuffle`, `fields`, …
    pub grouping: Arc<str>,
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
    /// How many times the instance was replaced after a panic or an error.
    pub restarted: u64,
    /// Share of its time since the start that the task spent executing, 0 to 1.
    pub busy: f64,
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

/// A distribution of times, to about 1%.
#[derive(Debug, Clone)]
pub struct Latency(pub(crate) Histogram<u64>);

impl Latency {
    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time below which the share `quantile` (0 to 1) of all lie; `None` where none was recorded.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.value_at_quantile(quantile)))
    }

    /// The mean; `None` where nothing was recorded.
    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.mean() as u64))
    }

    /// The longest; `None` where nothing was recorded.
    pub fn max(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.max()))
    }

    /// All times added up, to about 1%.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos((self.0.mean() * self.0.len() as f64) as u64)
    }

    /// How many times were at most `limit`; exact where `limit` is one nanosecond short of a power of two, else to
    /// about 1% of `limit`.
    pub fn count_at_most(&self, limit: Duration) -> u64 {
        self.0.count_between(0, u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Joins the distributions of several tasks.
    pub fn merge<'a>(all: impl IntoIterator<Item = &'a Latency>) -> Latency {
        let mut merged = super::histogram();
        for one in all {
            // Every histogram here is made by the same function, so the bounds agree.
            let _ = merged.add(&one.0);
        }
        Latency(merged)
    }
}

/// The distribution of the given times, each at least one nanosecond and at most an hour.
impl FromIterator<Duration> for Latency {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut histogram = super::histogram();
        for time in times {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
        }
        Latency(histogram)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_below_a_power_of_two_are_exact() {
        for exponent in 8..35 {
            let edge = 1_u64 << exponent;
            let latency: Latency = [edge - 1, edge, edge + 1].map(Duration::from_nanos).into_iter().collect();
            assert_eq!(latency.count_at_most(Duration::from_nanos(edge - 1)), 1, "2^{exponent}");
        }
    }

    #[test]
    fn a_sum_is_within_one_percent() {
        let times: Vec<Duration> = (1..=10_000_u64).map(|n| Duration::from_nanos(n * 37)).collect();
        let exact: Duration = times.iter().sum();
        let sum = times.into_iter().collect::<Latency>().sum();
        assert!(sum.abs_diff(exact) * 100 < exact, "{sum:?} for {exact:?}");
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        let empty = Latency::merge([]);
        assert_eq!((empty.count(), empty.sum(), empty.quantile(0.5)), (0, Duration::ZERO, None));
    }
}
