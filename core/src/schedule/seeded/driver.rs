//! Picks who runs next, polls it, and moves the clock when nobody can run.
//!
//! Invariant: no lock is held while foreign code runs (a poll, a wake, a drop), so tasks may spawn, sleep, wake and drop
//! each other as they like.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::sleep::Timers;
use super::trace::{Stall, Trace};
use crate::schedule::{Moment, Task, panic_message};

/// Where the wall clock starts: 14 November 2023, in milliseconds since 1970.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// Owns the tasks. Wakers and sleeps refer to it weakly, because tasks hold those.
#[derive(Debug)]
pub(super) struct Driver {
    state: Mutex<State>,
}

pub(super) struct State {
    random: Xoshiro256PlusPlus,
    pub(super) now: Moment,
    /// The wall clock less the monotonic one.
    pub(super) wall_lead_ms: i64,
    /// Those that are not finished, by a number that is never used again.
    pub(super) tasks: BTreeMap<u64, Entry>,
    next_task: u64,
    /// Invariant: the tasks whose `ready` is set, each once.
    pub(super) ready: Vec<u64>,
    pub(super) timers: Timers,
    pub(super) trace: Trace,
    /// Whether some thread is polling tasks now.
    driven: bool,
    pub(super) step_limit: u64,
    pub(super) step_cost: Duration,
}

pub(super) struct Entry {
    name: Arc<str>,
    waker: Waker,
    ready: bool,
    /// `None` while it is polled, and always for the future given to `block_on`.
    task: Option<Task>,
}

/// Marks one task ready.
struct Alarm {
    driver: Weak<Driver>,
    task: u64,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(driver) = self.driver.upgrade() {
            driver.lock().mark_ready(self.task);
        }
    }
}

/// A task taken out to be polled.
struct Picked {
    number: u64,
    name: Arc<str>,
    waker: Waker,
    task: Option<Task>,
}

/// The future given to `block_on`: its number, and how to poll it.
pub(super) struct Main<'a> {
    pub(super) number: u64,
    pub(super) poll: &'a mut dyn FnMut(&mut Context<'_>) -> Poll<()>,
}

impl Driver {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Moment::default(),
            wall_lead_ms: WALL_START_MS,
            tasks: BTreeMap::new(),
            next_task: 0,
            ready: Vec::new(),
            timers: Timers::default(),
            trace: Trace::new(seed),
            driven: false,
            step_limit: 10_000_000,
            step_cost: Duration::ZERO,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    // Foreign code never runs under the lock, so a poisoned state is still whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the right to poll tasks, until the guard is dropped.
    pub(super) fn drive(self: &Arc<Self>) -> Driving<'_> {
        let mut state = self.lock();
        assert!(
            !state.driven,
            "a seeded scheduler cannot be driven from within, nor from two threads at once"
        );
        state.driven = true;
        state.trace.begin();
        Driving { driver: self, main: None }
    }

    pub(super) fn enter(self: &Arc<Self>, name: &str, task: Option<Task>) -> u64 {
        let mut state = self.lock();
        let number = state.next_task;
        state.next_task += 1;
        let waker = Waker::from(Arc::new(Alarm { driver: Arc::downgrade(self), task: number }));
        state.tasks.insert(number, Entry { name: name.into(), waker, ready: false, task });
        state.mark_ready(number);
        number
    }

    /// Polls tasks until none is ready, or until `main` is complete, and says whether it is.
    pub(super) fn run_ready(&self, mut main: Option<&mut Main<'_>>) -> Result<bool, Stall> {
        while let Some(mut picked) = self.pick()? {
            let mut context = Context::from_waker(&picked.waker);
            let is_main = main.as_ref().is_some_and(|main| main.number == picked.number);
            let polled = catch_unwind(AssertUnwindSafe(|| match (&mut main, &mut picked.task) {
                (Some(main), None) if is_main => (main.poll)(&mut context),
                (_, Some(task)) => task.as_mut().poll(&mut context),
                (_, None) => Poll::Ready(()),
            }));
            let finished = !matches!(polled, Ok(Poll::Pending));
            let name = Arc::clone(&picked.name);
            self.put_back(picked, finished);
            match polled {
                Err(panic) => {
                    let trace = self.lock().trace.to_string();
                    panic!("task `{name}` panicked with {trace}: {}", panic_message(&*panic));
                }
                Ok(_) if is_main && finished => return Ok(true),
                Ok(_) => {}
            }
        }
        Ok(false)
    }

    /// Polls tasks until none is ready.
    pub(super) fn settle(&self) {
        if let Err(stall) = self.run_ready(None) {
            panic!("{stall}");
        }
    }

    /// Takes a random task out of the ready set.
    fn pick(&self) -> Result<Option<Picked>, Stall> {
        let mut state = self.lock();
        if state.ready.is_empty() {
            return Ok(None);
        }
        if state.trace.steps_of_this_drive() >= state.step_limit {
            return Err(Stall::StepLimit { trace: state.trace.to_string() });
        }
        let ready = state.ready.len();
        let at = state.random.random_range(0..ready);
        let number = state.ready.swap_remove(at);
        Ok(state.tasks.get_mut(&number).map(|entry| {
            entry.ready = false;
            let (name, waker) = (Arc::clone(&entry.name), entry.waker.clone());
            Picked { number, name, waker, task: entry.task.take() }
        }))
    }

    /// Ends a step: records it, lets it cost its time, and keeps or drops the task.
    fn put_back(&self, picked: Picked, finished: bool) {
        let mut state = self.lock();
        let (now, cost) = (state.now, state.step_cost);
        state.trace.step(&picked.name, now, finished);
        state.now = now.after(cost);
        let due = state.take_due();
        let mut finished_task = picked.task;
        if finished {
            state.remove(picked.number);
        } else if let Some(entry) = state.tasks.get_mut(&picked.number) {
            entry.task = finished_task.take();
        }
        drop(state);
        drop(finished_task);
        due.into_iter().for_each(Waker::wake);
    }

    /// Moves the clock to the earliest timer, if that is not after `until`, and wakes who waits for it.
    pub(super) fn jump(&self, until: Moment) -> bool {
        let mut state = self.lock();
        let Some(at) = state.timers.earliest().filter(|&at| at <= until) else { return false };
        state.now = state.now.max(at);
        let due = state.take_due();
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }

    pub(super) fn deadlock(&self) -> Stall {
        let state = self.lock();
        Stall::Deadlock { waiting: state.unfinished(), trace: state.trace.to_string() }
    }
}

impl State {
    fn mark_ready(&mut self, number: u64) {
        if let Some(entry) = self.tasks.get_mut(&number)
            && !entry.ready
        {
            entry.ready = true;
            self.ready.push(number);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        self.ready.retain(|&ready| ready != number);
        self.tasks.remove(&number)
    }

    pub(super) fn unfinished(&self) -> Vec<Arc<str>> {
        self.tasks.values().map(|entry| Arc::clone(&entry.name)).collect()
    }

    fn take_due(&mut self) -> Vec<Waker> {
        self.timers.take_due(self.now)
    }

    pub(super) fn now_ms(&self) -> i64 {
        // At most u64::MAX / 1,000,000, so it fits.
        (self.now.as_nanos() / 1_000_000) as i64
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("now", &self.now).field("unfinished", &self.unfinished()).finish()
    }
}

/// The right to poll tasks.
pub(super) struct Driving<'a> {
    driver: &'a Arc<Driver>,
    main: Option<u64>,
}

impl Driving<'_> {
    /// Enters a future that the driver does not own; it leaves with this guard, however that goes.
    pub(super) fn enter_main(&mut self, name: &str) -> u64 {
        *self.main.insert(self.driver.enter(name, None))
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        let mut state = self.driver.lock();
        let main = self.main.and_then(|number| state.remove(number));
        state.driven = false;
        drop(state);
        drop(main);
    }
}
