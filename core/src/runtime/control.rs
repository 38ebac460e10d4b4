//! What the executors of one topology share: its phase, and how far they have come.

use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::flushes::Flushes;
use super::inbox::Bell;
use crate::spout::Fault;
use crate::transaction::Transactions;

/// Where a topology is in its life. Phases only go up, but for pausing and resuming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Bolts and spouts are being prepared; nothing flows.
    Preparing = 0,
    /// Spouts emit.
    Active = 1,
    /// Spouts are paused.
    Inactive = 2,
    /// Spouts are paused for good, and say that event time is over once nothing of theirs is open.
    Ending = 3,
    /// What is open completes, and everybody stops.
    Draining = 4,
    /// Everybody stops at the next batch.
    Aborting = 5,
}

impl Phase {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Preparing,
            1 => Self::Active,
            2 => Self::Inactive,
            3 => Self::Ending,
            4 => Self::Draining,
            _ => Self::Aborting,
        }
    }
}

/// How far the executors have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) prepared: usize,
    pub(crate) finished: usize,
    /// Spout tasks that have nothing to emit and no tree open.
    pub(crate) idle_spouts: usize,
    /// Spout tasks that will never emit again and have no tree open.
    pub(crate) done_spouts: usize,
    /// Bolt tasks that have opened trees which are neither done nor given up.
    pub(crate) busy_bolts: usize,
    /// Tasks for which event time is over, and that have no tree of their own open.
    pub(crate) ended: usize,
    pub(crate) failed_to_start: bool,
    /// The topology stopped for a reason of its own.
    pub(crate) stopped_itself: bool,
}

/// The shared part.
#[derive(Debug)]
pub(crate) struct Control {
    phase: AtomicU8,
    bells: Vec<Bell>,
    // Not a watch channel: that wakes its waiters in an order that no seed decides.
    progress: Mutex<Progress>,
    progressed: Notify,
    pub(crate) flushes: Flushes,
    /// Where input goes through in micro-transactions.
    pub(crate) transactions: Option<Arc<Transactions>>,
    /// Rings what drives them, with every phase.
    pub(crate) driver_bell: Notify,
    stop_reason: Mutex<Option<Arc<str>>>,
    start_fault: Mutex<Option<(Arc<str>, Fault)>>,
}

impl Control {
    pub(crate) fn new(bells: Vec<Bell>, transactions: Option<Arc<Transactions>>) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Preparing as u8),
            bells,
            progress: Mutex::default(),
            progressed: Notify::new(),
            flushes: Flushes::default(),
            transactions,
            driver_bell: Notify::new(),
            stop_reason: Mutex::new(None),
            start_fault: Mutex::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Acquire))
    }

    /// Goes to `phase` and wakes everybody. A topology that ends, drains or aborts does not come back.
    pub(crate) fn enter(&self, phase: Phase) {
        let stays = |now: u8| now >= Phase::Ending as u8 && (phase as u8) < now;
        let entered = self
            .phase
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (!stays(now)).then_some(phase as u8));
        if entered.is_ok() {
            self.bells.iter().for_each(|bell| bell.notify_one());
            self.driver_bell.notify_one();
        }
    }

    /// Whether executors are to give up what they wait for: everybody stops, or goes back to what is committed.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase() == Phase::Aborting || self.is_going_back()
    }

    /// Whether a micro-transaction failed and everybody goes back to what is committed.
    #[inline]
    pub(crate) fn is_going_back(&self) -> bool {
        self.transactions.as_ref().is_some_and(|transactions| transactions.is_going_back())
    }

    /// Stops everybody at once, because the topology cannot go on; the first reason counts.
    pub(crate) fn stop_for(&self, why: Arc<str>) {
        tracing::error!(%why, "the topology stops");
        self.stop_reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.enter(Phase::Aborting);
        self.advance(|progress| progress.stopped_itself = true);
    }

    /// Why the topology stopped by itself.
    pub(crate) fn stop_reason(&self) -> Option<Arc<str>> {
        self.stop_reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock_progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn advance(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock_progress());
        self.progressed.notify_waiters();
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.lock_progress()
    }

    /// Waits until `reached`.
    pub(crate) async fn wait(&self, mut reached: impl FnMut(&Progress) -> bool) {
        loop {
            let mut progressed = pin!(self.progressed.notified());
            progressed.as_mut().enable();
            if reached(&self.progress()) {
                return;
            }
            progressed.await;
        }
    }

    /// Notes that a component could not start; the first one counts.
    pub(crate) fn fail_start(&self, component: &Arc<str>, fault: Fault) {
        self.start_fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| (Arc::clone(component), fault));
        self.advance(|progress| progress.failed_to_start = true);
    }

    pub(crate) fn take_start_fault(&self) -> Option<(Arc<str>, Fault)> {
        self.start_fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
