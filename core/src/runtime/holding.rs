//! What one executor has in work, shown to the topology's watch: whether component code runs, and for whose tree.
//!
//! The executor writes plain stores: one per input, a few per chunk, no clock. The watch reads them now and then, and it
//! is the watch that knows the time. A future that waits is woken and dropped; code that blocks its thread cannot be,
//! and goes on when it returns.
//!
//! Invariant: `turn` is odd exactly while component code runs and does not wait for room in a queue, and no two runs have
//! the same. `root` is stored after the turn that it belongs to.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::acks::Cause;
use super::contain::{Panicked, contain};
use super::envelope::JOINT;
use crate::fail::Fail;
use crate::ledger::RootId;

/// What component code is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Doing {
    /// One input after the other.
    Execute = 0,
    Idle = 1,
    Tick = 2,
    Watermark = 3,
    Timer = 4,
    EndBatch = 5,
}

/// Wakes the watch, which sleeps while nobody has anything in work.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    dormant: AtomicBool,
    bell: Notify,
}

impl Alarm {
    /// Says that the watch is about to sleep; it looks once more before it does.
    pub(crate) fn lie_down(&self) {
        self.dormant.store(true, Ordering::SeqCst);
    }

    /// Says that the watch does not sleep after all, or no longer.
    pub(crate) fn get_up(&self) {
        self.dormant.store(false, Ordering::SeqCst);
    }

    /// Waits for somebody to have something in work.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    #[inline]
    fn ring_if_dormant(&self) -> bool {
        let rings = self.dormant.load(Ordering::SeqCst) && self.dormant.swap(false, Ordering::SeqCst);
        if rings {
            self.bell.notify_one();
        }
        rings
    }
}

/// A future of the component that waits, and the trees of a joint input.
#[derive(Debug, Default)]
struct Waiting {
    /// Whether the future has given its thread back.
    pending: bool,
    waker: Option<Waker>,
    joint: Vec<RootId>,
}

/// One executor's work in hand.
#[derive(Debug)]
pub(crate) struct Holding {
    turn: AtomicU64,
    /// The root of the input in work.
    root: AtomicU64,
    doing: AtomicU8,
    /// How many tuples the output may hold before a chunk ends; 0 ends it after the input in work.
    limit: AtomicUsize,
    batch_size: usize,
    /// Whether the code waits for room in a queue.
    paused: AtomicBool,
    /// The newest turn that took too long.
    overrun: AtomicU64,
    waiting: Mutex<Waiting>,
    alarm: Arc<Alarm>,
    component: Arc<str>,
    task: u32,
    /// How long a turn may take.
    pub(crate) timeout: Option<Duration>,
}

/// What the watch found when a turn had taken too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// It has ended meanwhile.
    Ended,
    /// Its future waits, and was woken to be dropped.
    Dropped,
    /// It blocks its thread, with these trees in work.
    Blocked(Vec<RootId>),
}

impl Holding {
    pub(crate) fn new(
        component: Arc<str>,
        task: u32,
        batch_size: usize,
        timeout: Option<Duration>,
        alarm: Arc<Alarm>,
    ) -> Self {
        Self {
            turn: AtomicU64::new(0),
            root: AtomicU64::new(0),
            doing: AtomicU8::new(Doing::Execute as u8),
            limit: AtomicUsize::new(batch_size),
            batch_size,
            paused: AtomicBool::new(false),
            overrun: AtomicU64::new(0),
            waiting: Mutex::default(),
            alarm,
            component,
            task,
            timeout,
        }
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is about to be run: the watch must not sleep. Once per batch, as it costs a fence: either the watch sees
    /// another turn at its last look before it sleeps, or it is seen to sleep here, and was rung: then the thread is given
    /// back once, because what a thread wakes may be kept for that thread.
    pub(crate) async fn arrive(&self) {
        self.turn.fetch_add(2, Ordering::SeqCst);
        if self.alarm.ring_if_dormant() {
            tokio::task::yield_now().await;
        }
    }

    /// The input in work.
    #[inline(always)]
    pub(crate) fn show(&self, root: RootId) {
        self.root.store(root.as_u64(), Ordering::Release);
    }

    /// The input in work belongs to several trees.
    #[cold]
    pub(crate) fn show_joint(&self, roots: Vec<RootId>) {
        self.lock().joint = roots;
        self.show(JOINT);
    }

    /// Whether an output of so many tuples ends the chunk: it fills a batch, or the watch wants to know whether the
    /// input in work is the one that takes long.
    #[inline(always)]
    pub(crate) fn ends_chunk(&self, buffered: usize) -> bool {
        buffered >= self.limit.load(Ordering::Relaxed)
    }

    /// One writer, so load and store do.
    fn step(&self) {
        self.turn.store(self.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Runs component code to its end, its panic, or until it waits for longer than it may; what is left of it is dropped
    /// then.
    pub(crate) async fn run<F: Future>(&self, doing: Doing, future: F) -> Result<F::Output, Cause> {
        let mut future = pin!(Some(future));
        self.doing.store(doing as u8, Ordering::Relaxed);
        self.limit.store(self.batch_size, Ordering::Relaxed);
        self.step();
        let mut has_waited = false;
        let ended = poll_fn(|cx| {
            if has_waited && self.go_on() {
                return Poll::Ready(Err(self.timed_out()));
            }
            let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
            match catch_unwind(AssertUnwindSafe(|| running.poll(cx))) {
                Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
                Ok(Poll::Pending) if self.wait(cx.waker()) => Poll::Ready(Err(self.timed_out())),
                Ok(Poll::Pending) => {
                    has_waited = true;
                    Poll::Pending
                }
                Err(payload) => Poll::Ready(Err(Fail::Retry(Panicked::of(&*payload).0).into())),
            }
        })
        .await;
        self.step();
        if has_waited {
            self.lock().waker = None;
        }
        if ended.is_err() {
            // The first cause is the one that is told; what the code does as it is dropped cannot change it.
            let _ = contain(|| future.set(None));
        }
        ended
    }

    /// The future gives its thread back, unless it has taken too long already.
    fn wait(&self, waker: &Waker) -> bool {
        let mut waiting = self.lock();
        if self.is_overrun() {
            return true;
        }
        waiting.pending = true;
        if !waiting.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiting.waker = Some(waker.clone());
        }
        false
    }

    /// The future has its thread again. Whether it took too long.
    fn go_on(&self) -> bool {
        self.lock().pending = false;
        self.is_overrun()
    }

    /// Whether the watch has found that the turn of now takes too long.
    pub(crate) fn is_overrun(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        !turn.is_multiple_of(2) && self.overrun.load(Ordering::Acquire) == turn
    }

    /// Why what takes too long fails.
    pub(crate) fn timed_out(&self) -> Cause {
        let doing = match self.doing.load(Ordering::Relaxed) {
            doing if doing == Doing::Idle as u8 => "in its idle",
            doing if doing == Doing::Tick as u8 => "in its tick",
            doing if doing == Doing::Watermark as u8 => "in its on_watermark",
            doing if doing == Doing::EndBatch as u8 => "in its end_batch",
            doing if doing == Doing::Timer as u8 => "in its on_timer",
            _ => "executing it",
        };
        let (component, task, longest) = (&self.component, self.task, self.timeout.unwrap_or_default());
        Cause::timeout(format!("`{component}` task {task} was still {doing} after {longest:?}").into())
    }

    /// Time does not count until what is returned is dropped: the code waits for room in somebody else's queue.
    pub(crate) fn pause(self: &Arc<Self>) -> Pause {
        let runs = !self.turn.load(Ordering::Relaxed).is_multiple_of(2);
        if runs {
            self.paused.store(true, Ordering::Relaxed);
            self.step();
        }
        Pause(runs.then(|| Arc::clone(self)))
    }

    /// The turn of now. Odd while component code runs.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::SeqCst)
    }

    /// Whether there is code to look after. While it waits for room the watch stays awake, because it cannot be woken when
    /// that ends.
    pub(crate) fn is_at_work(&self) -> bool {
        self.paused.load(Ordering::Acquire) || !self.turn().is_multiple_of(2)
    }

    /// Has the chunk end after the input in work, so that the turn is one input's alone.
    pub(crate) fn end_chunk(&self) {
        self.limit.store(0, Ordering::Relaxed);
    }

    /// Says that `turn` takes too long.
    pub(crate) fn overrun(&self, turn: u64) -> Overrun {
        let root = RootId::from_u64(self.root.load(Ordering::Acquire));
        let waiting = self.lock();
        let roots = match root {
            _ if self.doing.load(Ordering::Relaxed) != Doing::Execute as u8 => Vec::new(),
            RootId::UNTRACKED => Vec::new(),
            JOINT => waiting.joint.clone(),
            root => vec![root],
        };
        if self.turn.load(Ordering::Acquire) != turn {
            return Overrun::Ended;
        }
        self.overrun.store(turn, Ordering::Release);
        let waker = waiting.waker.clone().filter(|_| waiting.pending);
        drop(waiting);
        match waker {
            Some(waker) => {
                waker.wake();
                Overrun::Dropped
            }
            None => Overrun::Blocked(roots),
        }
    }
}

/// Ends a pause when it is dropped.
#[derive(Debug)]
pub(crate) struct Pause(Option<Arc<Holding>>);

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(holding) = &self.0 {
            holding.step();
            holding.paused.store(false, Ordering::Release);
        }
    }
}
