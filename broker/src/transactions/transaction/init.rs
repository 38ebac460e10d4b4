//! Initialisation: an instance takes over the transactional id, or goes on after an error.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Moment, Step, Transaction};
use crate::transactions::error::TransactionError;
use crate::transactions::metadata::TransactionMetadata;
use crate::transactions::request::{ProducerInstance, TransactionState};

/// The last epoch that an instance is given: one more is left to fence it.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// How an instance wants to be initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Init {
    /// How long its transactions may last.
    pub(crate) timeout: Duration,
    /// Who it is already, where it only goes on; it takes over from whoever there is otherwise.
    pub(crate) expected: Option<ProducerInstance>,
    /// A producer id that nobody has, where it was asked for.
    pub(crate) fresh: Option<i64>,
}

impl Transaction {
    /// Gives an instance its epoch, which fences those before. A transaction that is ongoing is aborted first: who asked is
    /// answered [`TransactionError::Concurrent`] then, and asks again.
    pub(crate) fn init(&mut self, init: Init, now: Moment) -> Result<Step, TransactionError> {
        let Init { timeout, expected, fresh } = init;
        let max = self.config.max_timeout;
        if timeout.is_zero() || timeout > max {
            return Err(TransactionError::InvalidTimeout { asked: timeout, max });
        }
        if self.uncertain {
            return Err(TransactionError::Unavailable);
        }
        if self.pending.is_some() {
            return Err(TransactionError::Concurrent);
        }
        let Some(metadata) = &self.metadata else {
            // Whoever it was under an id that has expired.
            let Some(producer_id) = fresh else { return Ok(Step::NeedsProducerId) };
            let next = empty(ProducerInstance { producer_id, epoch: 0 }, expected, timeout);
            return Ok(self.store(next, now));
        };
        let is_retry = expected.is_some() && expected == metadata.last;
        if let Some(expected) = expected
            && expected != metadata.producer
            && !is_retry
        {
            return Err(TransactionError::Fenced(expected));
        }
        match metadata.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                return Err(TransactionError::Concurrent);
            }
            // It was answered, and the producer has gone on.
            TransactionState::Ongoing if is_retry => return Ok(Step::Done(metadata.producer)),
            TransactionState::Ongoing => {
                let fenced = metadata.fenced(expected);
                return Ok(self.store(fenced, now));
            }
            _ => {}
        }
        let ProducerInstance { producer_id, epoch } = metadata.producer;
        // Where a later instance was forgotten, its epoch is not given again: partitions know what it sent.
        let (is_known, epoch) = (self.known_epoch <= epoch, self.known_epoch.max(epoch));
        // An epoch that only fenced is given to nobody.
        let producer = if is_retry && is_known && epoch <= LAST_EPOCH {
            metadata.producer
        } else if epoch < LAST_EPOCH {
            ProducerInstance { producer_id, epoch: epoch + 1 }
        } else {
            let Some(producer_id) = fresh else { return Ok(Step::NeedsProducerId) };
            ProducerInstance { producer_id, epoch: 0 }
        };
        Ok(self.store(empty(producer, expected, timeout), now))
    }
}

impl TransactionMetadata {
    /// The ongoing transaction is to be aborted, and who has it fenced; the one of `last`, if any, may go on.
    pub(super) fn fenced(&self, last: Option<ProducerInstance>) -> Self {
        let ProducerInstance { producer_id, epoch } = self.producer;
        // No instance has the largest epoch, so there is always one more.
        let producer = ProducerInstance { producer_id, epoch: epoch.saturating_add(1) };
        Self { producer, last, state: TransactionState::PrepareAbort, ..self.clone() }
    }
}

fn empty(
    producer: ProducerInstance,
    last: Option<ProducerInstance>,
    timeout: Duration,
) -> TransactionMetadata {
    TransactionMetadata {
        producer,
        last,
        timeout,
        state: TransactionState::Empty,
        partitions: BTreeSet::new(),
        updated_ms: -1,
        started_ms: -1,
    }
}
