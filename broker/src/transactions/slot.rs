//! A transactional id with who waits for it.
//!
//! Invariant: who waits is answered when the step that it asked for is at its end; there is at most one, since there is at
//! most one step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::error::TransactionError;
use super::request::ProducerInstance;
use super::transaction::Transaction;

/// What a step leads to, for who asked for it.
pub(super) type Answer = Result<ProducerInstance, TransactionError>;

/// One transactional id, as it is shared.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: Arc<str>,
    state: Mutex<SlotState>,
    settled: Notify,
}

#[derive(Debug)]
pub(super) struct SlotState {
    pub(super) transaction: Transaction,
    pub(super) waiter: Option<Waiter>,
    /// The earliest tick that the timer knows of.
    pub(super) scheduled: Option<Duration>,
    /// What of the coordinator's sum is this one's.
    pub(super) counted: usize,
}

/// Who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// What it is told where all goes well.
    pub(super) answer: Answer,
    pub(super) sender: oneshot::Sender<Answer>,
}

impl Slot {
    pub(super) fn new(id: Arc<str>, transaction: Transaction) -> Self {
        let state = SlotState { transaction, waiter: None, scheduled: None, counted: 0 };
        Self { id, state: Mutex::new(state), settled: Notify::new() }
    }

    // A panic in the midst of a step is a fault of the program; the transaction's own checks still hold afterwards.
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no step is under way; an error where one cannot come to its end now.
    pub(super) async fn settled(&self) -> Result<(), TransactionError> {
        loop {
            let mut changed = std::pin::pin!(self.settled.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let (is_settling, is_stuck) = {
                let state = self.lock();
                (state.transaction.is_settling(), state.transaction.is_stuck())
            };
            match (is_settling, is_stuck) {
                (_, true) => return Err(TransactionError::Unavailable),
                (false, false) => return Ok(()),
                (true, false) => {}
            }
            changed.await;
        }
    }

    /// A step is at its end.
    pub(super) fn notify(&self) {
        self.settled.notify_waiters();
    }
}

impl SlotState {
    /// Tells who waits what it was to be told, or why not.
    pub(super) fn answer(&mut self, done: Result<(), TransactionError>) {
        if let Some(Waiter { answer, sender }) = self.waiter.take() {
            // Nobody listens where the request was given up: that is no loss.
            let _ = sender.send(done.and(answer));
        }
    }
}
