//! One task's counters: written by its executor alone, read by anyone.
//!
//! Counters are plain stores, once per batch and not per tuple; histograms sit behind a lock that only a snapshot ever
//! contends for.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::snapshot::{Latency, QueueSnapshot, TaskError, TaskSnapshot, WindowSnapshot};

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`. Only the executor of the task may call it.
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Distributions of times.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) execute: Histogram<u64>,
    pub(crate) queue_wait: Histogram<u64>,
    pub(crate) complete: Histogram<u64>,
}

/// What one task counts.
#[derive(Debug)]
pub(crate) struct TaskCounters {
    pub(crate) emitted: Counter,
    pub(crate) transferred: Counter,
    pub(crate) executed: Counter,
    pub(crate) acked: Counter,
    pub(crate) failed: Counter,
    pub(crate) rejected: Counter,
    timed_out: AtomicU64,
    late: AtomicU64,
    /// `i64::MIN` where it has not come anywhere.
    event_time_ms: AtomicI64,
    pub(crate) pending: Counter,
    pub(crate) trees_acked: Counter,
    pub(crate) trees_failed: Counter,
    pub(crate) trees_exhausted: Counter,
    pub(crate) restarted: Counter,
    pub(crate) busy_nanos: Counter,
    times: Mutex<Times>,
    windows: Mutex<Vec<WindowSnapshot>>,
    last_error: Mutex<Option<TaskError>>,
}

impl Default for TaskCounters {
    fn default() -> Self {
        let empty = super::histogram;
        let times = Times { execute: empty(), queue_wait: empty(), complete: empty() };
        Self {
            emitted: Counter::default(),
            transferred: Counter::default(),
            executed: Counter::default(),
            acked: Counter::default(),
            failed: Counter::default(),
            rejected: Counter::default(),
            timed_out: AtomicU64::new(0),
            late: AtomicU64::new(0),
            event_time_ms: AtomicI64::new(i64::MIN),
            pending: Counter::default(),
            trees_acked: Counter::default(),
            trees_failed: Counter::default(),
            trees_exhausted: Counter::default(),
            restarted: Counter::default(),
            busy_nanos: Counter::default(),
            times: Mutex::new(times),
            windows: Mutex::default(),
            last_error: Mutex::new(None),
        }
    }
}

impl TaskCounters {
    // No code panics while it holds these locks, so a poisoned one is still whole.
    pub(crate) fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something took too long. Anybody may call it: whom it happens to may not be able to.
    pub(crate) fn time_out(&self, count: u64) {
        self.timed_out.fetch_add(count, Relaxed);
    }

    /// Inputs came too late for their windows.
    pub(crate) fn late(&self, count: u64) {
        self.late.fetch_add(count, Relaxed);
    }

    /// The task has come so far in event time.
    pub(crate) fn come_to(&self, at_ms: i64) {
        self.event_time_ms.fetch_max(at_ms, Relaxed);
    }

    pub(crate) fn windows(&self) -> MutexGuard<'_, Vec<WindowSnapshot>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn report(&self, at_ms: i64, message: Arc<str>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(TaskError { at_ms, message });
    }

    pub(crate) fn snapshot(&self, task: u32, queue: QueueSnapshot, uptime: Duration) -> TaskSnapshot {
        let times = self.times();
        let uptime_nanos = uptime.as_nanos().max(1) as f64;
        TaskSnapshot {
            task,
            emitted: self.emitted.get(),
            transferred: self.transferred.get(),
            executed: self.executed.get(),
            acked: self.acked.get(),
            failed: self.failed.get(),
            rejected: self.rejected.get(),
            timed_out: self.timed_out.load(Relaxed),
            late: self.late.load(Relaxed),
            event_time_ms: Some(self.event_time_ms.load(Relaxed)).filter(|at| *at != i64::MIN),
            pending: self.pending.get(),
            trees_acked: self.trees_acked.get(),
            trees_failed: self.trees_failed.get(),
            trees_exhausted: self.trees_exhausted.get(),
            restarted: self.restarted.get(),
            busy: (self.busy_nanos.get() as f64 / uptime_nanos).min(1.0),
            queue,
            execute: Latency(times.execute.clone()),
            queue_wait: Latency(times.queue_wait.clone()),
            complete: Latency(times.complete.clone()),
            windows: self.windows().clone(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Records `time` for `count` events; times beyond an hour count as an hour.
pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration, count: u64) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(nanos.max(1), count);
}
