//! One task's counters: written by its executor alone, read by anyone.
//!
//! Counters are plain stores, once per batch and not per tuple, and so are histograms.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::activity::Activities;
use super::histogram::{Histogram, Latency};
use super::snapshot::{OpenWindows, QueueSnapshot, TaskError, TaskSnapshot, WindowSnapshot};
use crate::schedule::Moment;
use crate::time::{EventTime, Watermark};

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

/// How far one who sends to a task has come in event time, as it said last.
#[derive(Debug)]
struct SenderTime {
    at: AtomicI64,
    /// 1 where nobody should wait for it.
    idle: AtomicU64,
}

/// What one task counts.
#[derive(Debug, Default)]
pub(crate) struct TaskCounters {
    pub(crate) emitted: Counter,
    pub(crate) transferred: Counter,
    pub(crate) executed: Counter,
    pub(crate) acked: Counter,
    pub(crate) failed: Counter,
    pub(crate) rejected: Counter,
    timed_out: AtomicU64,
    late: AtomicU64,
    event_time: CameTo,
    /// Of those who send to it, by their numbers.
    senders: OnceLock<Box<[SenderTime]>>,
    pub(crate) pending: Counter,
    pub(crate) trees_acked: Counter,
    pub(crate) trees_failed: Counter,
    pub(crate) trees_exhausted: Counter,
    pub(crate) restarted: Counter,
    /// One more than the keys that have windows open; 0 where there are no windows.
    window_keys: Counter,
    /// Windows of all keys that are not complete.
    windows_open: Counter,
    /// Results of windows that are not acknowledged.
    window_results: Counter,
    pub(crate) activities: Activities,
    pub(crate) execute: Histogram,
    pub(crate) complete: Histogram,
    /// One for each subscription.
    queue_waits: Box<[Histogram]>,
    windows: Mutex<Vec<WindowSnapshot>>,
    last_error: Mutex<Option<TaskError>>,
}

/// How far a task has come in event time: `i64::MIN` where it has not come anywhere.
#[derive(Debug)]
struct CameTo(AtomicI64);

impl Default for CameTo {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl TaskCounters {
    /// For a task of a component that subscribes so often.
    pub(crate) fn new(inputs: usize) -> Self {
        Self { queue_waits: (0..inputs).map(|_| Histogram::default()).collect(), ..Self::default() }
    }

    /// So many tuples of one subscription waited for so long.
    pub(crate) fn waited(&self, input: u32, time: Duration, tuples: u64) {
        if let Some(waits) = self.queue_waits.get(input as usize) {
            waits.record(time, tuples);
        }
    }

    /// How long tuples of one subscription waited.
    pub(crate) fn queue_wait(&self, input: usize) -> Latency {
        self.queue_waits.get(input).map(Histogram::snapshot).unwrap_or_default()
    }

    /// So many keys have so many windows open, and so many results are not acknowledged.
    pub(crate) fn show_open_windows(&self, keys: usize, windows: u64, results: usize) {
        self.window_keys.set(keys as u64 + 1);
        self.windows_open.set(windows);
        self.window_results.set(results as u64);
    }

    /// So many send to the task.
    pub(crate) fn listen_to(&self, senders: usize) {
        let nowhere = || SenderTime { at: AtomicI64::new(i64::MIN), idle: AtomicU64::new(0) };
        self.senders.get_or_init(|| (0..senders).map(|_| nowhere()).collect());
    }

    /// One who sends to the task has come so far in event time.
    pub(crate) fn heard(&self, sender: u32, time: EventTime) {
        if let Some(sender) = self.senders.get().and_then(|senders| senders.get(sender as usize)) {
            sender.at.store(time.at.0, Relaxed);
            sender.idle.store(u64::from(time.idle), Relaxed);
        }
    }

    /// How far those who send to it have come, by their numbers.
    pub(crate) fn sender_times(&self) -> Vec<EventTime> {
        let senders = self.senders.get().map(|senders| &senders[..]).unwrap_or_default();
        let time = |sender: &SenderTime| EventTime {
            at: Watermark(sender.at.load(Relaxed)),
            idle: sender.idle.load(Relaxed) == 1,
        };
        senders.iter().map(time).collect()
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
        self.event_time.0.fetch_max(at_ms, Relaxed);
    }

    pub(crate) fn windows(&self) -> MutexGuard<'_, Vec<WindowSnapshot>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn report(&self, at_ms: i64, message: Arc<str>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(TaskError { at_ms, message });
    }

    /// The numbers at `now`, of a task that began at `started`.
    pub(crate) fn snapshot(
        &self,
        task: u32,
        queue: QueueSnapshot,
        started: Moment,
        now: Moment,
    ) -> TaskSnapshot {
        let spent = self.activities.spent(now);
        let uptime = now.since(started).as_nanos().max(1) as f64;
        let waits: Vec<Latency> = self.queue_waits.iter().map(Histogram::snapshot).collect();
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
            event_time_ms: Some(self.event_time.0.load(Relaxed)).filter(|at| *at != i64::MIN),
            pending: self.pending.get(),
            trees_acked: self.trees_acked.get(),
            trees_failed: self.trees_failed.get(),
            trees_exhausted: self.trees_exhausted.get(),
            restarted: self.restarted.get(),
            open_windows: self.window_keys.get().checked_sub(1).map(|keys| OpenWindows {
                keys,
                windows: self.windows_open.get(),
                results: self.window_results.get(),
            }),
            busy: (spent.executing.as_nanos() as f64 / uptime).min(1.0),
            spent,
            queue,
            execute: self.execute.snapshot(),
            queue_wait: Latency::merge(&waits),
            complete: self.complete.snapshot(),
            windows: self.windows().clone(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
