//! The coordinator as executors and its driver share it: numbers to look at between batches, and a lock for the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::coordinator::{Coordinator, Phase};
use super::refusals::{Refusals, what_it_is};
use super::staged::{InputOffsets, LastBatch, Staged};
use crate::config::MicroTransactions;
use crate::fail::Fail;
use crate::log::{Record, TopicPartition};
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
    pub(crate) txid: u64,
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
    refusals: Refusals,
    /// Where an earlier run has noted its last batch.
    last: Option<LastBatch>,
    /// What may be added to a transaction to find out whether another instance has the transactional id.
    doubt: Option<InputOffsets>,
}

/// The micro-transactions of one topology.
pub(crate) struct Transactions {
    pub(crate) settings: MicroTransactions,
    shared: Mutex<Shared>,
    /// The coordinator's txid and phase, for a look without the lock: one number, so that they belong together.
    order: AtomicU64,
    committed: AtomicU64,
    staged_bytes: AtomicUsize,
    /// Whether the batch that is open is large enough: nothing more is emitted into it.
    is_full: AtomicBool,
    /// Whether the batch that is closing is the last.
    is_last: AtomicBool,
    /// Whether any output was ever refused.
    has_refusals: AtomicBool,
    bells: Vec<Bell>,
    /// Rings the driver.
    pub(super) news: Notify,
}

impl Transactions {
    /// For tasks with these bells.
    pub(crate) fn new(settings: MicroTransactions, bells: Vec<Bell>) -> Self {
        let coordinator = Coordinator::new(bells.len());
        let (ready, shelves, numbers, refusals) = Default::default();
        Self {
            settings,
            shared: Mutex::new(Shared {
                coordinator,
                ready,
                shelves,
                numbers,
                refusals,
                last: None,
                doubt: None,
            }),
            order: AtomicU64::new(order(1, Phase::Open)),
            committed: AtomicU64::new(0),
            staged_bytes: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
            has_refusals: AtomicBool::new(false),
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
        self.is_last.store(shared.coordinator.is_last(), Ordering::Release);
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

    /// An earlier run's last batch was found: numbers go on from the greatest.
    pub(crate) fn begin_after(&self, last: LastBatch) {
        self.with(|shared| {
            shared.coordinator.begin_after(last.txid);
            if shared.last.as_ref().is_none_or(|known| known.txid < last.txid) {
                shared.last = Some(last);
            }
        });
    }

    /// Where an earlier run has noted its last batch.
    pub(super) fn last_batch(&self) -> Option<LastBatch> {
        self.lock().last.clone()
    }

    /// Another instance may have the transactional id by now: the log is asked, at the latest with the next batch that is empty.
    /// What is added to a transaction for that is not committed.
    pub(crate) fn doubt(&self, with: InputOffsets) {
        self.lock().doubt = Some(with);
    }

    /// What the log is to be asked with.
    pub(super) fn take_doubt(&self) -> Option<InputOffsets> {
        self.lock().doubt.take()
    }

    /// The batch that is open: whoever has sent the marker of the one before it emits into this one.
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
        (order & PHASES == CLOSING).then_some((order >> PHASE_BITS) - 1)
    }

    /// Whether the batch that is closing is the last.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Acquire)
    }

    /// A task has passed the marker of `txid`.
    pub(crate) fn pass(&self, task: usize, txid: u64, staged: Staged, shelves: Vec<Arc<dyn Shelf>>) {
        self.with(|shared| {
            shared.shelves.extend(shelves);
            let counted = staged.counted;
            // What is counted twice, or not at all, as a batch is taken back does not matter: then it begins at zero.
            let rest = |all: usize| Some(all.saturating_sub(counted));
            let _ = self.staged_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
            if let Some(staged) = shared.coordinator.pass(task, txid, staged) {
                let shelves = std::mem::take(&mut shared.shelves);
                shared.ready = Some(Batch { txid, staged, shelves });
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

    /// It is known which record failed, so that it will not fail for ever.
    pub(crate) fn blame(&self) {
        self.lock().coordinator.blame();
    }

    /// Senders were held so long, as they were ahead of others.
    pub(crate) fn note_held(&self, held: Duration) {
        if !held.is_zero() {
            self.lock().numbers.held += held;
        }
    }

    /// Whether the log takes `record` at `at`, as far as is known.
    ///
    /// # Errors
    /// It has refused it.
    pub(crate) fn check(&self, at: &TopicPartition, record: &Record) -> Result<(), Fail> {
        if !self.has_refusals.load(Ordering::Relaxed) {
            return Ok(());
        }
        let what = what_it_is(at, record);
        match self.lock().refusals.of(what) {
            Some(why) => Err(Fail::reject(format_args!("what came of it is refused by {at}: {why}"))),
            None => Ok(()),
        }
    }

    /// Looks at what was refused, or adds to it.
    pub(super) fn with_refusals<T>(&self, act: impl FnOnce(&mut Refusals) -> T) -> T {
        self.has_refusals.store(true, Ordering::Relaxed);
        act(&mut self.lock().refusals)
    }

    /// Whether any output was ever refused.
    pub(super) fn has_refusals(&self) -> bool {
        self.has_refusals.load(Ordering::Relaxed)
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
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    pub(super) fn may_close(&self) -> bool {
        self.lock().coordinator.may_close()
    }

    pub(super) fn close(&self, is_last: bool) {
        self.with(|shared| {
            if shared.coordinator.close(is_last) {
                self.is_full.store(false, Ordering::Release);
            }
        });
    }

    /// What is to be committed.
    pub(super) fn take_ready(&self) -> Option<Batch> {
        self.lock().ready.take()
    }

    /// The batch before the open one is committed.
    pub(super) fn end_commit(&self, is_empty: bool, note: impl FnOnce(&mut TransactionSnapshot)) {
        self.with(|shared| {
            note(&mut shared.numbers);
            shared.coordinator.committed_one(is_empty);
        });
    }

    /// It could not be committed.
    pub(super) fn abort_commit(&self, why: Arc<str>, is_outage: bool) {
        self.with(|shared| shared.coordinator.aborted_one(why, is_outage));
    }

    /// Why no more attempt is made, where so many failed in a row and no record is to blame.
    pub(super) fn given_up(&self) -> Option<Arc<str>> {
        let shared = self.lock();
        let strikes = shared.coordinator.strikes();
        if strikes < self.settings.attempts.max(1) {
            return None;
        }
        let why = shared.coordinator.why().map_or("nobody knows why", |why| why);
        let sentence = format!(
            "a batch failed {strikes} times in a row, and no record is known to be to blame: {why}; nothing of it is \
             committed: mend that, then start the topology again"
        );
        Some(sentence.into())
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
