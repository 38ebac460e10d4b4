//! How steps come to their end: records become durable, markers are written, time passes.
//!
//! Invariant: for each transactional id the decision is durable before the first marker is written, and the markers are
//! durable in all partitions before the completion is. A crash between any two is repaired by writing the markers again.

use std::sync::Arc;
use std::time::Duration;

use super::coordinator::Coordinator;
use super::error::TransactionError;
use super::handle::Transactions;
use super::metadata::TransactionMetadata;
use super::records;
use super::request::done;
use super::slot::{Slot, SlotState};
use super::transaction::{Due, Markers};
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::timer::Wake;

impl Transactions {
    /// Lets time pass for transactional ids, and brings to its end what was decided before the broker was opened.
    pub(super) fn start(&self) {
        // What was stored counts from here.
        let (timer, coordinator) = (self.coordinator.timer.clone(), Arc::downgrade(&self.coordinator));
        let broker = self.broker.downgrade();
        tokio::spawn(async move {
            while let Some(wake) = timer.wake().await {
                let Some((broker, coordinator)) = broker.upgrade().zip(coordinator.upgrade()) else { return };
                let this = Self { broker, coordinator };
                match wake {
                    Wake::Due(at, id) => this.tick(at, &id),
                    Wake::StoodStill(late) => this.stood_still(late),
                }
            }
        });
    }

    /// Writes a step's record; it goes on by itself once that is durable.
    ///
    /// # Errors
    /// Where it was not written: the step is not taken, or it is unknown whether it is.
    pub(super) fn store(
        &self,
        slot: &Arc<Slot>,
        state: &mut SlotState,
        next: &TransactionMetadata,
    ) -> Result<(), TransactionError> {
        let now = self.coordinator.now();
        let Some(partition) = self.coordinator.partition().cloned() else {
            state.transaction.refused(now);
            return Err(TransactionError::Unavailable);
        };
        let next_offset = match records::write(&partition, &slot.id, Some(next), wall_ms()) {
            Ok(next_offset) => next_offset,
            Err(error) if nothing_written(&error) => {
                state.transaction.refused(now);
                return Err(error.into());
            }
            Err(error) => {
                state.transaction.stored(false, now);
                return Err(error.into());
            }
        };
        let (broker, coordinator) = (self.broker.downgrade(), Arc::downgrade(&self.coordinator));
        let slot = slot.clone();
        tokio::spawn(async move {
            let durable = partition.until_durable(next_offset).await;
            let Some((broker, coordinator)) = broker.upgrade().zip(coordinator.upgrade()) else { return };
            Self { broker, coordinator }.stored(&slot, durable);
        });
        Ok(())
    }

    fn stored(&self, slot: &Arc<Slot>, durable: Result<(), BrokerError>) {
        let mut state = slot.lock();
        let markers = state.transaction.stored(durable.is_ok(), self.coordinator.now());
        match markers {
            Some(markers) => self.mark(slot, markers),
            None => state.answer(durable.map_err(TransactionError::from)),
        }
        self.coordinator.account(slot, &mut state);
        drop(state);
        slot.notify();
    }

    /// Has a decided transaction's partitions told, then its completion written.
    fn mark(&self, slot: &Arc<Slot>, markers: Markers) {
        let (broker, coordinator) = (self.broker.downgrade(), Arc::downgrade(&self.coordinator));
        let (marking, slot) = (self.broker.clone(), slot.clone());
        tokio::spawn(async move {
            let marked = marking.write_markers(&markers).await;
            drop(marking);
            let Some((broker, coordinator)) = broker.upgrade().zip(coordinator.upgrade()) else { return };
            Self { broker, coordinator }.marked(&slot, &markers, marked);
        });
    }

    fn marked(&self, slot: &Arc<Slot>, markers: &Markers, marked: Result<(), BrokerError>) {
        let mut state = slot.lock();
        let now = self.coordinator.now();
        let ended = marked.and_then(|()| {
            if let Some(completed) = state.transaction.completion(markers, now) {
                let partition = self.coordinator.partition().ok_or(BrokerError::Closed)?;
                records::write(partition, &slot.id, Some(&completed), now.wall_ms)?;
                state.transaction.complete(completed, now);
            }
            Ok(())
        });
        if let Err(error) = ended {
            if !matches!(error, BrokerError::Closed) {
                let is = done(markers.result);
                tracing::warn!(id = &*slot.id, %error, "a transaction that is {is} is not at its end yet");
            }
            state.transaction.unmarked(now);
        }
        // It is decided, whether or not all partitions know.
        state.answer(Ok(()));
        self.coordinator.account(slot, &mut state);
        drop(state);
        slot.notify();
    }

    fn tick(&self, at: Duration, id: &str) {
        let Some(slot) = self.coordinator.slot(id) else { return };
        let mut state = slot.lock();
        Coordinator::unschedule(&mut state, at);
        while let Some(due) = state.transaction.tick(self.coordinator.now()) {
            match due {
                Due::Store(next) => {
                    tracing::info!(id, timeout = ?next.timeout, "a transaction took too long; it is aborted");
                    if let Err(error) = self.store(&slot, &mut state, &next) {
                        tracing::warn!(id, %error, "a transaction that took too long is not aborted yet");
                    }
                }
                Due::Mark(markers) => self.mark(&slot, markers),
                Due::Expire => self.expire(&slot, &mut state),
            }
        }
        self.coordinator.account(&slot, &mut state);
    }

    /// Forgets a transactional id. Whether that is durable makes no difference to anybody.
    fn expire(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        let now = self.coordinator.now();
        let written = match self.coordinator.partition() {
            Some(partition) => records::write(partition, &slot.id, None, now.wall_ms).map(drop),
            None => Ok(()),
        };
        match written {
            Ok(()) => state.transaction.end_life(),
            Err(error) => {
                tracing::warn!(id = &*slot.id, %error, "a transactional id that has expired is kept");
                state.transaction.unmarked(now);
            }
        }
    }

    fn stood_still(&self, late: Duration) {
        tracing::info!(?late, "the process stood still: transactions may last that much longer");
        for slot in self.coordinator.slots() {
            let mut state = slot.lock();
            state.transaction.stood_still(late);
            self.coordinator.account(&slot, &mut state);
        }
    }
}

/// Whether an append that failed left nothing in the log, and may be tried again.
fn nothing_written(error: &BrokerError) -> bool {
    match error {
        BrokerError::Closed | BrokerError::InvalidBatch(_) => true,
        BrokerError::Log { source, .. } => matches!(source, topo_log::LogError::Full { .. }),
        _ => false,
    }
}
