//! When which group has to be ticked: one task for all of them.
//!
//! Invariant: the task wakes at or before the earliest entry. A group may have entries that are of no use any more: a
//! tick that comes early changes nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The deadlines of all groups.
#[derive(Debug)]
pub(super) struct Timer {
    start: Instant,
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Deadlines {
    heap: BinaryHeap<Reverse<(Duration, Arc<str>)>>,
    closed: bool,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), deadlines: Mutex::default(), changed: Notify::new() }
    }

    /// The time that groups are told: since the timer was made, by a clock that never goes back.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Has a group ticked at some time.
    pub(super) fn schedule(&self, at: Duration, group: &Arc<str>) {
        let mut deadlines = self.deadlines();
        let earliest = deadlines.heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        deadlines.heap.push(Reverse((at, group.clone())));
        drop(deadlines);
        if earliest {
            self.changed.notify_one();
        }
    }

    /// Ends [`Timer::due`].
    pub(super) fn close(&self) {
        self.deadlines().closed = true;
        self.changed.notify_one();
    }

    /// Waits for the next group that is due, and since when; `None` once closed.
    pub(super) async fn due(&self) -> Option<(Duration, Arc<str>)> {
        loop {
            let next = {
                let mut deadlines = self.deadlines();
                if deadlines.closed {
                    return None;
                }
                match deadlines.heap.peek() {
                    Some(Reverse((at, _))) if *at <= self.now() => {
                        return deadlines.heap.pop().map(|Reverse(due)| due);
                    }
                    next => next.map(|Reverse((at, _))| *at),
                }
            };
            match next {
                Some(at) => {
                    // Whichever comes first, the heap is looked at again.
                    let _ = tokio::time::timeout_at(self.start + at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    fn deadlines(&self) -> MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
