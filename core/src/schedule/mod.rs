//! Time and scheduling as arguments: executors run on a [`Scheduler`] and read a [`Clock`], so that a whole topology
//! runs unchanged on tokio in production and on one seeded thread with a manual clock in a test.

mod seeded;
mod tokio;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use self::seeded::{Seeded, Stall};
pub use self::tokio::TokioScheduler;

/// A future the scheduler owns.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A monotonic instant in nanoseconds since the clock was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The instant `nanos` nanoseconds after the clock was made.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock was made.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long `earlier` lies before this moment; zero where it does not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment put off by `by`.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where all time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The monotonic time: what intervals and timeouts are measured with.
    fn now(&self) -> Moment;

    /// The wall clock in milliseconds since 1970, for record timestamps only; it may jump.
    fn wall_ms(&self) -> i64;
}

/// What executors run on.
///
/// Two implementations: tokio and a seeded single thread.
pub trait Scheduler: Send + Sync + 'static {
    /// Runs `task` to its end. `name` is told in traces and panics.
    fn spawn(&self, name: &str, task: Task);

    /// Completes at `at` or soon after; at once when `at` has passed.
    fn sleep_until(&self, at: Moment) -> Task;

    /// The clock that `sleep_until` goes by.
    fn clock(&self) -> &dyn Clock;
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
