//! The coordinator as executors and its driver share it: numbers to look at between batches, and a lock for the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::coordinator::{Coordinator, Phase};
use super::staged::Staged;
use crate::config::MicroTransactions;
use crate::metrics::TransactionSnapshot;
use crate::runtime::Bell;
use crate::state::Shelf;

/// What an executor has to do about micro-transactions beside its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing.
    Run,
    /// Stop and drop what is about to be sent.
    Halt,
    /// Drop what was sent and go back to what is committed.
    Clear,
    /// Stop where it is, until all have gone back.
    Wait,
    /// Nothing, and no more batches come.
    Over,
}

/// The bits of an order that say the phase.
const PHASE_BITS: u32 = 3;
const PHASES: u64 = (1 << PHASE_BITS) - 1;
const OPEN: u64 = 0;
const CLOSING: u64 = 1;
const HALTING: u64 = 2;
const CLEARING: u64 = 3;
const WAITING: u64 = 4;
const OVER: u64 = 5;

/// A txid and a phase as one number.
fn order(txid: u64, phase: Phase) -> u64 {
    let phase = match phase {
        Phase::Open => OPEN,
        Phase::Closing => CLOSING,
        Phase::Halting => HALTING,
        Phase::Clearing => CLEARING,
        Phase::Waiting => WAITING,
        Phase::Over => OVER,
    };
    (txid << PHASE_BITS) | phase
}

/// A batch that is to be committed.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) staged: Staged,
    /// The stores whose changes are in it.
    pub(crate) shelves: Vec<Arc<dyn Shelf>>,
}

struct Shared {
    coordinator: Coordinator,
    /// What is to be committed, until the driver takes it.
    ready: Option<Batch>,
    /// Stores whose changes were handed over for the batch that is closing.
    shelves: Vec<Arc<dyn Shelf>>,
    numbers: TransactionSnapshot,
}

/// The micro-transactions of one topology.
pub(crate) struct Transactions {
    pub(crate) settings: MicroTransactions,
    shared: Mutex<Shared>,
    /// The coordinator's txid and phase, for a look without the lock: one number, so that they belong together.
    order: AtomicU64,
    committed: AtomicU64,
    staged_bytes: AtomicUsize,
    /// Whether the batch that is open is large enough.
    is_full: AtomicBool,
    bells: Vec<Bell>,
    /// Rings the driver.
    pub(super) news: Notify,
}

impl Transactions {
    /// For tasks with these bells.
    pub(crate) fn new(settings: MicroTransactions, bells: Vec<Bell>) -> Self {
        let coordinator = Coordinator::new(bells.len());
        let (ready, shelves, numbers) = Default::default();
        Self {
            settings,
            shared: Mutex::new(Shared { coordinator, ready, shelves, numbers }),
            order: AtomicU64::new(order(1, Phase::Open)),
            committed: AtomicU64::new(0),
            staged_bytes: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
            bells,
            news: Notify::new(),
        }
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the coordinator, shows what came of it and wakes everybody who may have to act on it.
    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        let mut shared = self.lock();
        let state = |shared: &Shared| {
            let coordinator = &shared.coordinator;
            (coordinator.phase(), coordinator.txid(), coordinator.committed())
        };
        let before = state(&shared);
        let done = act(&mut shared);
        let now = state(&shared);
        let (phase, txid, committed) = now;
        self.committed.store(committed, Ordering::Release);
        self.order.store(order(txid, phase), Ordering::Release);
        drop(shared);
        if before != now {
            self.bells.iter().for_each(|bell| bell.notify_one());
            self.news.notify_one();
        }
        done
    }

    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        match self.order.load(Ordering::Acquire) & PHASES {
            OPEN | CLOSING => Stage::Run,
            HALTING => Stage::Halt,
            CLEARING => Stage::Clear,
            WAITING => Stage::Wait,
            _ => Stage::Over,
        }
    }

    /// Whether executors have to stop and go back.
    #[inline]
    pub(crate) fn is_going_back(&self) -> bool {
        matches!(self.stage(), Stage::Halt | Stage::Clear | Stage::Wait)
    }

    /// The batch that what is emitted now belongs to.
    pub(crate) fn txid(&self) -> u64 {
        self.order.load(Ordering::Acquire) >> PHASE_BITS
    }

    /// The newest batch that is committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// The batch whose marker spouts are to send now.
    pub(crate) fn closing(&self) -> Option<u64> {
        let order = self.order.load(Ordering::Acquire);
        (order & PHASES == CLOSING).then_some(order >> PHASE_BITS)
    }

    /// A task has passed the marker of `txid`.
    pub(crate) fn pass(&self, task: usize, txid: u64, staged: Staged, shelves: Vec<Arc<dyn Shelf>>) {
        self.with(|shared| {
            shared.shelves.extend(shelves);
            if let Some(staged) = shared.coordinator.pass(task, txid, staged) {
                let shelves = std::mem::take(&mut shared.shelves);
                shared.ready = Some(Batch { staged, shelves });
                self.staged_bytes.store(0, Ordering::Relaxed);
                self.is_full.store(false, Ordering::Relaxed);
            }
        });
    }

    /// Something of what is not committed failed: all of it is taken back.
    pub(crate) fn fail(&self, why: &Arc<str>) {
        self.with(|shared| {
            if shared.coordinator.fail(Arc::clone(why)) {
                tracing::warn!(txid = shared.coordinator.txid(), %why, "a micro-transaction is aborted and made again");
            }
        });
    }

    /// A task has done what the stage asks of it.
    pub(crate) fn arrive(&self, task: usize, stage: Stage) {
        let phase = match stage {
            Stage::Halt => Phase::Halting,
            Stage::Clear => Phase::Clearing,
            Stage::Run | Stage::Wait | Stage::Over => return,
        };
        self.with(|shared| {
            if phase == Phase::Halting {
                // Whoever handed them over restores them itself.
                shared.shelves.clear();
            }
            if shared.coordinator.arrive(task, phase) && phase == Phase::Halting {
                self.staged_bytes.store(0, Ordering::Relaxed);
                self.is_full.store(false, Ordering::Relaxed);
            }
        });
    }

    /// So many bytes wait to be written; the batch is closed early where they are too many.
    pub(crate) fn note_staged(&self, bytes: usize) {
        let all = self.staged_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all >= self.settings.batch_bytes {
            self.close_soon();
        }
    }

    /// Has the batch that is open closed as soon as that can be.
    pub(crate) fn close_soon(&self) {
        if !self.is_full.swap(true, Ordering::AcqRel) {
            self.news.notify_one();
        }
    }

    /// Whether the batch that is open is to be closed before its time.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    pub(super) fn may_close(&self) -> bool {
        self.lock().coordinator.may_close()
    }

    pub(super) fn close(&self, is_last: bool) {
        self.with(|shared| shared.coordinator.close(is_last));
    }

    /// What is to be committed.
    pub(super) fn take_ready(&self) -> Option<Batch> {
        self.lock().ready.take()
    }

    /// The batch before the open one is committed, or was not.
    pub(super) fn end_commit(
        &self,
        result: Result<(), Arc<str>>,
        note: impl FnOnce(&mut TransactionSnapshot),
    ) {
        self.with(|shared| {
            note(&mut shared.numbers);
            shared.coordinator.end_commit(result);
        });
    }

    /// How often in a row a batch failed.
    pub(super) fn failures(&self) -> u32 {
        self.lock().coordinator.failures()
    }

    pub(super) fn go_on(&self, is_draining: bool) {
        self.with(|shared| {
            shared.numbers.aborts += 1;
            shared.numbers.last_abort = shared.coordinator.why().cloned();
            shared.coordinator.go_on(is_draining);
        });
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.with(|shared| shared.coordinator.end());
    }

    /// The numbers now.
    pub(crate) fn snapshot(&self) -> TransactionSnapshot {
        let shared = self.lock();
        TransactionSnapshot {
            txid: shared.coordinator.txid(),
            committed: shared.coordinator.committed(),
            ..shared.numbers.clone()
        }
    }
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").field("coordinator", &self.lock().coordinator).finish_non_exhaustive()
    }
}
