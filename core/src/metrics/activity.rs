//! What a task spends its time on.
//!
//! The executor says when it turns to something else; the time until then is added to what it did before. What it is at
//! right now is known with its beginning, so an execute that takes a minute is seen while it takes it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::counters::Counter;
use crate::schedule::Moment;

/// What a task is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It waits for something to do, or for its turn on a thread.
    Idle,
    /// It executes, emits, routes and answers.
    Executing,
    /// It waits for room in the queue of somebody downstream.
    Blocked,
    /// It has as many trees open as it may (spouts).
    Full,
}

const ALL: [Activity; 4] = [Activity::Idle, Activity::Executing, Activity::Blocked, Activity::Full];

/// Time spent, by what on. Written by the executor of the task alone.
#[derive(Debug, Default)]
pub(crate) struct Activities {
    /// Nanoseconds of what is over.
    over: [Counter; 4],
    /// What it is at, in the two lowest bits, and since when.
    now: AtomicU64,
}

/// What a task has spent its time on since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Executing, emitting and answering; for a spout, in its `next`, `ack` and `fail`.
    pub executing: Duration,
    /// Waiting for room in the queue of a task downstream: held up by others.
    pub blocked: Duration,
    /// Waiting with as many trees open as it may have (spouts): held up by others, too.
    pub full: Duration,
}

impl Activities {
    /// The task turns to `activity`; tells what it was at before.
    pub(crate) fn turn_to(&self, activity: Activity, now: Moment) -> Activity {
        let (was, since) = decode(self.now.load(Relaxed));
        if was != activity {
            self.over[was as usize].add(now.since(since).as_nanos() as u64);
            self.now.store(now.as_nanos() << 2 | activity as u64, Relaxed);
        }
        was
    }

    /// What was spent until `now`.
    pub(crate) fn spent(&self, now: Moment) -> Spent {
        let (at, since) = decode(self.now.load(Relaxed));
        let of = |activity: Activity| {
            let over = Duration::from_nanos(self.over[activity as usize].get());
            if at == activity { over + now.since(since) } else { over }
        };
        Spent { executing: of(Activity::Executing), blocked: of(Activity::Blocked), full: of(Activity::Full) }
    }
}

fn decode(now: u64) -> (Activity, Moment) {
    (ALL[(now & 3) as usize], Moment::from_nanos(now >> 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_to_what_the_task_was_at() {
        let activities = Activities::default();
        let at = |nanos| Moment::from_nanos(nanos);
        assert_eq!(activities.turn_to(Activity::Executing, at(10)), Activity::Idle);
        assert_eq!(activities.turn_to(Activity::Executing, at(20)), Activity::Executing);
        assert_eq!(activities.turn_to(Activity::Blocked, at(40)), Activity::Executing);
        assert_eq!(activities.turn_to(Activity::Full, at(45)), Activity::Blocked);
        let spent = activities.spent(at(52));
        assert_eq!([spent.executing, spent.blocked, spent.full].map(|one| one.as_nanos()), [30, 5, 7]);
        activities.turn_to(Activity::Idle, at(60));
        assert_eq!(activities.spent(at(1_000)).full, Duration::from_nanos(15));
    }
}
