//! When which group, or transactional id, has to be ticked: one task for all of a kind, which also notices when the process
//! stood still.
//!
//! Invariant: the task wakes at or before the earliest entry, and every [`WATCH`] while there is one. There may be entries that
//! are of no use any more: a tick that comes early changes nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How often the task looks whether time went by unseen. Members' heartbeats wake the process as often.
const WATCH: Duration = Duration::from_secs(1);

/// What the task wakes for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Who is to be ticked, having been scheduled for that time.
    Due(Duration, Arc<str>),
    /// The process stood still for that long.
    StoodStill(Duration),
}

/// The deadlines of all groups, or of all transactional ids.
#[derive(Debug)]
pub(crate) struct Timer {
    start: Instant,
    pause_tolerance: Duration,
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Deadlines {
    heap: BinaryHeap<Reverse<(Duration, Arc<str>)>>,
    closed: bool,
}

impl Timer {
    pub(crate) fn new(pause_tolerance: Duration) -> Self {
        Self { start: Instant::now(), pause_tolerance, deadlines: Mutex::default(), changed: Notify::new() }
    }

    /// The time that they are told: since the timer was made, by a clock that never goes back.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Has somebody ticked at some time.
    pub(crate) fn schedule(&self, at: Duration, name: &Arc<str>) {
        let mut deadlines = self.deadlines();
        let earliest = deadlines.heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        deadlines.heap.push(Reverse((at, name.clone())));
        drop(deadlines);
        if earliest {
            self.changed.notify_one();
        }
    }

    /// Ends [`Timer::wake`].
    pub(crate) fn close(&self) {
        self.deadlines().closed = true;
        self.changed.notify_one();
    }

    /// Waits for what is to be done next; `None` once closed.
    pub(crate) async fn wake(&self) -> Option<Wake> {
        loop {
            let now = self.now();
            let next = {
                let mut deadlines = self.deadlines();
                if deadlines.closed {
                    return None;
                }
                match deadlines.heap.peek() {
                    Some(Reverse((at, _))) if *at <= now => {
                        return deadlines.heap.pop().map(|Reverse((at, name))| Wake::Due(at, name));
                    }
                    next => next.map(|Reverse((at, _))| *at),
                }
            };
            let Some(at) = next else {
                self.changed.notified().await;
                continue;
            };
            let until = at.min(now + WATCH);
            // Whichever comes first, the heap is looked at again.
            let _ = tokio::time::timeout_at(self.start + until, self.changed.notified()).await;
            let unseen = self.now().saturating_sub(until);
            if unseen > self.pause_tolerance {
                return Some(Wake::StoodStill(unseen));
            }
        }
    }

    fn deadlines(&self) -> MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
