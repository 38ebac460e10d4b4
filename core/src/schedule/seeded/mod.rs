//! A whole topology on one thread, on a manual clock, in an order that a seed decides.
//!
//! Invariant: a run depends on the seed and on the tasks alone, not on the machine's clock, threads or addresses.

mod driver;
mod sleep;
mod trace;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use self::driver::{Driver, Main};
use self::sleep::Sleep;
pub use self::trace::Stall;
use super::{Clock, Moment, Scheduler, Task};

/// As far as the clock goes; a sleep until after it is for ever.
const LAST_MOMENT: Moment = Moment::from_nanos(u64::MAX - 1);

/// The scheduler of tests: one thread, a manual clock, and a seed that picks who runs next.
///
/// Tasks wait in a ready set; each step polls one of them, picked at random. The clock stands still while anything is
/// ready; when nothing is, it jumps to the earliest timer. When there is no timer either, the tasks that are left wait
/// for each other, and [`block_on`](Self::block_on) says which. So a run takes no time, and the same seed gives the
/// same steps: [`trace_hash`](Self::trace_hash) tells whether two runs were the same.
///
/// Everything that tasks wait for has to come from this scheduler or from other tasks: tokio's channels and locks will
/// do, its timers and sockets will not. A wake from another thread is safe, but it makes the order depend on that
/// thread, and it comes too late if all the tasks were found waiting before it.
///
/// Tasks that hold their scheduler, and are never finished, keep it alive; [`abandon`](Self::abandon) ends that.
///
/// ```
/// use std::time::Duration;
/// use topo_core::schedule::{Clock, Scheduler, Seeded};
///
/// let scheduler = Seeded::new(42);
/// let (tell, told) = tokio::sync::oneshot::channel();
/// let alarm = scheduler.sleep_until(scheduler.now().after(Duration::from_secs(3_600)));
/// scheduler.spawn("sleeper", Box::pin(async {
///     alarm.await;
///     tell.send("an hour later, at once").unwrap();
/// }));
/// assert_eq!(scheduler.block_on(told), Ok("an hour later, at once"));
/// assert_eq!(scheduler.now().as_nanos(), 3_600_000_000_000);
/// ```
#[derive(Debug)]
pub struct Seeded {
    driver: Arc<Driver>,
}

impl Seeded {
    /// A scheduler without tasks, whose clock stands at zero.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { driver: Driver::new(seed) })
    }

    /// Runs tasks until `future` is complete; those not finished by then go on in the next call.
    ///
    /// # Panics
    ///
    /// With the seed and the task's name if a task panics, and with the [`Stall`] if `future` cannot complete; also if
    /// it is called from one of the tasks.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.try_block_on(future).unwrap_or_else(|stall| panic!("{stall}"))
    }

    /// Runs tasks until `future` is complete, as [`block_on`](Self::block_on) does.
    ///
    /// # Errors
    ///
    /// [`Stall::Deadlock`] if everybody waits and no timer is set, [`Stall::StepLimit`] if the limit of steps was
    /// reached. In both cases `future` is dropped and the tasks stay.
    ///
    /// # Panics
    ///
    /// With the seed and the task's name if a task panics; also if it is called from one of the tasks.
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, Stall> {
        let mut driving = self.driver.drive();
        let mut future = pin!(future);
        let mut output = None;
        let number = driving.enter_main("block_on");
        let mut poll =
            |context: &mut Context<'_>| future.as_mut().poll(context).map(|ready| output = Some(ready));
        let mut main = Main { number, poll: &mut poll };
        while !self.driver.run_ready(Some(&mut main))? {
            if !self.driver.jump(LAST_MOMENT) {
                return Err(self.driver.deadlock());
            }
        }
        Ok(output.expect("the driver says that the future is complete"))
    }

    /// Runs tasks until none is ready, without moving the clock.
    ///
    /// # Panics
    ///
    /// As [`block_on`](Self::block_on), but for deadlocks: tasks may wait.
    pub fn run_until_stalled(&self) {
        let _driving = self.driver.drive();
        self.driver.settle();
    }

    /// Lets `by` pass: runs what is ready, then timer by timer all that falls due, in order.
    ///
    /// # Panics
    ///
    /// As [`run_until_stalled`](Self::run_until_stalled).
    pub fn advance(&self, by: Duration) {
        let _driving = self.driver.drive();
        let until = self.driver.lock().now.after(by);
        self.driver.settle();
        while self.driver.jump(until) {
            self.driver.settle();
        }
        let mut state = self.driver.lock();
        state.now = state.now.max(until);
    }

    /// Sets the wall clock, forwards or back; the monotonic clock and the timers do not notice.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        let mut state = self.driver.lock();
        state.wall_lead_ms = wall_ms.saturating_sub(state.now_ms());
    }

    /// Ends a drive after this many steps of a task, counted from its start; 10 million unless it is set.
    pub fn set_step_limit(&self, steps: u64) {
        self.driver.lock().step_limit = steps;
    }

    /// Lets the clock move by `cost` with each step. Without it, which is the default, tasks that always find
    /// something to do keep time, and all timers, from moving.
    pub fn set_step_cost(&self, cost: Duration) {
        self.driver.lock().step_cost = cost;
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.driver.lock().trace.seed()
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.driver.lock().trace.steps()
    }

    /// A hash of every step so far: whose it was, when, and whether that task was finished by it.
    pub fn trace_hash(&self) -> u64 {
        self.driver.lock().trace.hash()
    }

    /// The names of the tasks that are not finished, in the order they were spawned.
    pub fn unfinished(&self) -> Vec<Arc<str>> {
        self.driver.lock().unfinished()
    }

    /// Drops every task where it stands, as a crash would. What they spawn while they are dropped is dropped as well.
    ///
    /// # Panics
    ///
    /// If it is called from one of the tasks.
    pub fn abandon(&self) {
        let _driving = self.driver.drive();
        loop {
            let tasks = {
                let mut state = self.driver.lock();
                state.ready.clear();
                std::mem::take(&mut state.tasks)
            };
            if tasks.is_empty() {
                return;
            }
        }
    }
}

impl Clock for Seeded {
    fn now(&self) -> Moment {
        self.driver.lock().now
    }

    fn wall_ms(&self) -> i64 {
        let state = self.driver.lock();
        state.wall_lead_ms.saturating_add(state.now_ms())
    }
}

impl Scheduler for Seeded {
    fn spawn(&self, name: &str, task: Task) {
        self.driver.enter(name, Some(task));
    }

    fn sleep_until(&self, at: Moment) -> Task {
        Box::pin(Sleep::new(Arc::downgrade(&self.driver), at))
    }

    fn clock(&self) -> &dyn Clock {
        self
    }
}
