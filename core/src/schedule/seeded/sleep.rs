//! Timers on the manual clock. A sleep that is dropped leaves no timer behind, so the clock never jumps to it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, Waker};

use super::Moment;
use super::driver::Driver;

/// Who is to be woken when, in the order of time and then of registration.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: BTreeMap<(Moment, u64), Waker>,
    registered: u64,
}

impl Timers {
    pub(super) fn earliest(&self) -> Option<Moment> {
        self.waiting.keys().next().map(|&(at, _)| at)
    }

    /// Takes out all that are due at `now`.
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }
}

/// Completes when the clock has come to `at`.
pub(super) struct Sleep {
    driver: Weak<Driver>,
    at: Moment,
    /// Which registration is this one's, once it was polled.
    registration: Option<u64>,
}

impl Sleep {
    pub(super) fn new(driver: Weak<Driver>, at: Moment) -> Self {
        Self { driver, at, registration: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Without its scheduler a clock stands still for ever.
        let Some(driver) = self.driver.upgrade() else { return Poll::Pending };
        let waker = context.waker().clone();
        let mut state = driver.lock();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let timers = &mut state.timers;
        let registration = *self.registration.get_or_insert_with(|| {
            timers.registered += 1;
            timers.registered
        });
        let previous = timers.waiting.insert((self.at, registration), waker);
        drop(state);
        drop(previous);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(driver), Some(registration)) = (self.driver.upgrade(), self.registration) {
            let waker = driver.lock().timers.waiting.remove(&(self.at, registration));
            drop(waker);
        }
    }
}
