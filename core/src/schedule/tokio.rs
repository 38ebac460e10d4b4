//! Executors on tokio's threads, by the machine's own clock.

use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::{Clock, Moment, Scheduler, Task, panic_message};

/// The scheduler of production: tokio's tasks, timers to the millisecond, the machine's clocks.
///
/// ```
/// use topo_core::schedule::{Scheduler, TokioScheduler};
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// let (tell, told) = tokio::sync::oneshot::channel();
/// runtime.block_on(async {
///     let scheduler = TokioScheduler::current();
///     scheduler.spawn("teller", Box::pin(async { tell.send("done").unwrap() }));
///     assert_eq!(told.await, Ok("done"));
/// });
/// ```
#[derive(Debug, Clone)]
pub struct TokioScheduler {
    runtime: Handle,
    start: Instant,
}

impl TokioScheduler {
    /// Schedules on `runtime`, whose timers must be enabled. The clock starts now.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, start: Instant::now() }
    }

    /// Schedules on the runtime that this is called from.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime.
    pub fn current() -> Self {
        Self::new(Handle::current())
    }
}

impl Clock for TokioScheduler {
    fn now(&self) -> Moment {
        // 64 bits of nanoseconds last for 584 years.
        Moment::from_nanos(self.start.elapsed().as_nanos() as u64)
    }

    fn wall_ms(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = |by: Duration| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        since_1970.map_or_else(|before| -millis(before.duration()), millis)
    }
}

impl Scheduler for TokioScheduler {
    fn spawn(&self, name: &str, mut task: Task) {
        let name = name.to_owned();
        self.runtime.spawn(poll_fn(move |context| {
            // Nobody joins the task, so a panic has to be told here or never.
            catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))).unwrap_or_else(|panic| {
                tracing::error!(task = name, "task panicked: {}", panic_message(&*panic));
                Poll::Ready(())
            })
        }));
    }

    fn sleep_until(&self, at: Moment) -> Task {
        if at <= self.now() {
            return Box::pin(ready(()));
        }
        match self.start.checked_add(Duration::from_nanos(at.as_nanos())) {
            Some(at) => {
                let _timers = self.runtime.enter();
                Box::pin(sleep_until(at))
            }
            // Later than the machine's clock can ever say.
            None => Box::pin(pending()),
        }
    }

    fn clock(&self) -> &dyn Clock {
        self
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_when_its_moment_has_come_and_not_before() {
        let scheduler = TokioScheduler::current();
        let at = scheduler.now().after(Duration::from_millis(3));
        scheduler.sleep_until(at).await;
        assert!(scheduler.clock().now() >= at);
        scheduler.sleep_until(Moment::default()).await;
    }

    #[test]
    fn a_sleep_can_be_made_outside_of_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let scheduler = TokioScheduler::new(runtime.handle().clone());
        let never = scheduler.sleep_until(Moment::from_nanos(u64::MAX));
        let soon = scheduler.sleep_until(scheduler.now().after(Duration::from_millis(1)));
        runtime.block_on(soon);
        drop(never);
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_no_other_with_it() {
        let scheduler = TokioScheduler::current();
        let (tell, told) = oneshot::channel::<()>();
        scheduler.spawn(
            "clumsy",
            Box::pin(async move {
                let _dropped_by_the_panic = tell;
                panic!("on purpose");
            }),
        );
        assert!(told.await.is_err());
        let (tell, told) = oneshot::channel();
        scheduler.spawn("careful", Box::pin(async move { tell.send(7).unwrap() }));
        assert_eq!(told.await, Ok(7));
    }

    #[tokio::test]
    async fn the_wall_clock_is_the_system_s() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!(TokioScheduler::current().wall_ms().abs_diff(before) < 60_000);
    }
}
