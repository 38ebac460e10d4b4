//! One transactional id as a state machine without I/O: requests, stored records, markers written and the passing of time go
//! in, records to store and markers to write come out. Semantics are those of Kafka's transaction coordinator, version 1.
//!
//! ```text
//!            partitions          end, timeout, another instance     markers in all partitions
//!  Empty ──────────────▶ Ongoing ───────────────▶ PrepareCommit ──────────────▶ CompleteCommit
//!    ▲                      ▲                      PrepareAbort                  CompleteAbort
//!    │                      └───────────────────── partitions ────────────────────────┤
//!    └──────────────────────────────────── initialised again ─────────────────────────┘
//! ```
//!
//! Invariants:
//! - At most one step is being stored; meanwhile every other request is answered [`TransactionError::Concurrent`].
//! - What may be written to is part of the transaction durably, so whatever is in a partition is found again, and ended.
//! - Once an end is asked for, nothing is written any more: a decision that is durable is about all that is in the log.
//! - Where it is unknown whether a step was stored nothing goes on until the broker is opened again.
//! - An instance is fenced by a later one or by its own timeout, by nothing else.

mod init;
#[cfg(test)]
mod tests;

use std::time::Duration;

use topo_protocol::TransactionResult;

use super::error::TransactionError;
use super::metadata::TransactionMetadata;
use super::request::{ProducerInstance, TransactionDescription, TransactionState, done};
use crate::config::TransactionConfig;
use crate::topic::TopicPartition;

pub(crate) use init::Init;

/// How long to wait before markers that could not be written, or a record, are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A point in time: on a clock that never goes back, and on the wall's, which is only written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) elapsed: Duration,
    pub(crate) wall_ms: i64,
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is so already.
    Done(ProducerInstance),
    /// To ask again with a producer id that nobody has.
    NeedsProducerId,
    /// The record is to be stored; then [`Transaction::stored`] is to be called, or [`Transaction::refused`] where nothing was
    /// written.
    Store(TransactionMetadata),
}

/// What is to be done once time has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// As [`Step::Store`].
    Store(TransactionMetadata),
    /// The markers are to be written.
    Mark(Markers),
    /// The transactional id is to be forgotten, with [`Transaction::end_life`] once that is written.
    Expire,
}

/// What all partitions of a transaction are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Markers {
    pub(crate) producer: ProducerInstance,
    pub(crate) result: TransactionResult,
    pub(crate) partitions: Vec<TopicPartition>,
}

/// One transactional id.
#[derive(Debug)]
pub(crate) struct Transaction {
    config: TransactionConfig,
    /// As of the last step that was stored; `None` before the first one.
    metadata: Option<TransactionMetadata>,
    /// As of the step that is being stored.
    pending: Option<TransactionMetadata>,
    /// Whether it is unknown what was stored last.
    uncertain: bool,
    dead: bool,
    /// Whether the markers could not be written when that was tried last.
    stuck: bool,
    /// When an ongoing transaction is aborted.
    abort_at: Duration,
    /// When what could not be written is tried again.
    retry_at: Option<Duration>,
    /// When it expires, unless a transaction is ongoing.
    expires_at: Duration,
    /// The largest epoch of its producer that a partition knows, which may be one whose record was lost.
    known_epoch: i16,
}

impl Transaction {
    /// A transactional id that nobody has initialised.
    pub(crate) fn new(config: TransactionConfig, now: Moment) -> Self {
        Self {
            config,
            metadata: None,
            pending: None,
            uncertain: false,
            dead: false,
            stuck: false,
            abort_at: Duration::ZERO,
            retry_at: None,
            expires_at: now.elapsed.saturating_add(config.id_expiration),
            known_epoch: -1,
        }
    }

    /// One as it was stored, of whose producer the partitions know `known_epoch`. An ongoing transaction has its whole timeout
    /// from now on; what was decided is done at once.
    pub(crate) fn restored(
        config: TransactionConfig,
        metadata: TransactionMetadata,
        known_epoch: i16,
        now: Moment,
    ) -> Self {
        let age = now.wall_ms.saturating_sub(metadata.updated_ms);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        let left = config.id_expiration.saturating_sub(age);
        Self {
            abort_at: now.elapsed.saturating_add(metadata.timeout),
            retry_at: metadata.state.prepared().map(|_| now.elapsed),
            expires_at: now.elapsed.saturating_add(left),
            metadata: Some(metadata),
            known_epoch,
            ..Self::new(config, now)
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> TransactionState {
        match &self.metadata {
            _ if self.dead => TransactionState::Dead,
            Some(metadata) => metadata.state,
            None => TransactionState::Empty,
        }
    }

    /// Whether nothing of it was stored, or is being.
    pub(crate) fn is_new(&self) -> bool {
        self.metadata.is_none() && self.pending.is_none() && !self.uncertain
    }

    /// Whether a step is under way that ends by itself.
    pub(crate) fn is_settling(&self) -> bool {
        !self.uncertain && !self.stuck && (self.pending.is_some() || self.state().prepared().is_some())
    }

    /// Whether a step is under way of which it is unknown when it ends: something cannot be written.
    pub(crate) fn is_stuck(&self) -> bool {
        self.uncertain || self.stuck
    }

    /// Partitions that it keeps in memory.
    pub(crate) fn partition_count(&self) -> usize {
        let of = |metadata: &Option<TransactionMetadata>| metadata.as_ref().map_or(0, |m| m.partitions.len());
        of(&self.metadata) + of(&self.pending)
    }

    /// What an onlooker sees; `None` for one that was never initialised.
    pub(crate) fn describe(&self) -> Option<TransactionDescription> {
        let metadata = self.metadata.as_ref().filter(|_| !self.dead)?;
        Some(TransactionDescription {
            state: metadata.state,
            producer: metadata.producer,
            timeout: metadata.timeout,
            started_ms: (metadata.started_ms >= 0).then_some(metadata.started_ms),
            partitions: metadata.partitions.clone(),
        })
    }

    /// Makes partitions part of the producer's transaction, which begins with the first.
    pub(crate) fn add(
        &mut self,
        producer: ProducerInstance,
        partitions: &[TopicPartition],
        now: Moment,
    ) -> Result<Step, TransactionError> {
        let metadata = self.settled(producer)?;
        if metadata.state.prepared().is_some() {
            return Err(TransactionError::Concurrent);
        }
        let is_ongoing = metadata.state == TransactionState::Ongoing;
        if partitions.is_empty()
            || is_ongoing && partitions.iter().all(|partition| metadata.partitions.contains(partition))
        {
            return Ok(Step::Done(producer));
        }
        let mut next = metadata.clone();
        next.partitions.extend(partitions.iter().cloned());
        let max = self.config.max_partitions;
        if next.partitions.len() > max {
            return Err(TransactionError::TooManyPartitions { max });
        }
        if !is_ongoing {
            (next.state, next.started_ms) = (TransactionState::Ongoing, now.wall_ms);
        }
        Ok(self.store(next, now))
    }

    /// Whether the producer may write to that partition now, as part of its transaction.
    pub(crate) fn check_write(
        &self,
        producer: ProducerInstance,
        to: &TopicPartition,
    ) -> Result<(), TransactionError> {
        let metadata = self.of(producer)?;
        let next = self.pending.as_ref().map_or(metadata.state, |pending| pending.state);
        match (metadata.state, next) {
            (TransactionState::Ongoing, TransactionState::Ongoing) => {}
            // The first partitions are added: it has none so far.
            (state, TransactionState::Ongoing) | (_, state) => {
                return Err(TransactionError::InvalidState { asked: "written to", state });
            }
        }
        if metadata.partitions.contains(to) { Ok(()) } else { Err(TransactionError::NotAdded(to.clone())) }
    }

    /// Ends the producer's transaction.
    ///
    /// Whoever sends this late, after the producer has begun its next transaction with the same epoch, ends that one: nothing
    /// in this version of the protocol tells the two apart.
    pub(crate) fn end(
        &mut self,
        producer: ProducerInstance,
        result: TransactionResult,
        now: Moment,
    ) -> Result<Step, TransactionError> {
        let metadata = self.settled(producer)?;
        let state = metadata.state;
        match state {
            TransactionState::Ongoing => {}
            // Sent again, since the answer was lost.
            state if state == TransactionState::complete(result) => return Ok(Step::Done(producer)),
            state if state == TransactionState::prepare(result) => return Err(TransactionError::Concurrent),
            state => return Err(TransactionError::InvalidState { asked: done(result), state }),
        }
        let next = TransactionMetadata { state: TransactionState::prepare(result), ..metadata.clone() };
        Ok(self.store(next, now))
    }

    /// The step's record is durable, or it is unknown whether it is; the markers that are to be written now.
    pub(crate) fn stored(&mut self, durable: bool, now: Moment) -> Option<Markers> {
        let pending = self.pending.take()?;
        if !durable {
            self.uncertain = true;
            return None;
        }
        let begins = pending.state == TransactionState::Ongoing && self.state() != TransactionState::Ongoing;
        if begins {
            self.abort_at = now.elapsed.saturating_add(pending.timeout);
        }
        self.expires_at = now.elapsed.saturating_add(self.config.id_expiration);
        let producer_id = |metadata: &TransactionMetadata| metadata.producer.producer_id;
        if self.metadata.as_ref().map(producer_id) != Some(producer_id(&pending)) {
            self.known_epoch = -1;
        }
        self.metadata = Some(pending);
        self.markers()
    }

    /// Nothing of the step's record was written: it is as if nobody had asked.
    pub(crate) fn refused(&mut self, now: Moment) {
        self.pending = None;
        self.retry_at = Some(now.elapsed.saturating_add(RETRY));
    }

    /// All partitions have the markers, durably: what is to be written, before [`Transaction::complete`] is called with it.
    /// `None` where that is no news.
    pub(crate) fn completion(&self, markers: &Markers, now: Moment) -> Option<TransactionMetadata> {
        let metadata = self.metadata.as_ref()?;
        if self.markers().as_ref() != Some(markers) {
            return None;
        }
        Some(TransactionMetadata {
            state: TransactionState::complete(markers.result),
            partitions: Default::default(),
            started_ms: -1,
            updated_ms: now.wall_ms,
            ..metadata.clone()
        })
    }

    /// The transaction is at its end. Its record need not be durable: whatever follows stands behind it in the same log, and
    /// until something does, writing the markers once more changes nothing.
    pub(crate) fn complete(&mut self, completed: TransactionMetadata, now: Moment) {
        self.expires_at = now.elapsed.saturating_add(self.config.id_expiration);
        (self.metadata, self.retry_at, self.stuck) = (Some(completed), None, false);
    }

    /// The markers, or the completion, could not be written: they are due again later.
    pub(crate) fn unmarked(&mut self, now: Moment) {
        self.stuck = self.state().prepared().is_some();
        self.retry_at = Some(now.elapsed.saturating_add(RETRY));
    }

    /// What is to be done by now. Where something is, this is to be called again.
    pub(crate) fn tick(&mut self, now: Moment) -> Option<Due> {
        if self.next_deadline().is_none_or(|due| due > now.elapsed) {
            return None;
        }
        self.retry_at = None;
        if let Some(markers) = self.markers() {
            return Some(Due::Mark(markers));
        }
        let metadata = self.metadata.as_ref();
        match metadata.filter(|metadata| metadata.state == TransactionState::Ongoing) {
            Some(ongoing) if self.abort_at <= now.elapsed => {
                let fenced = ongoing.fenced(None);
                match self.store(fenced, now) {
                    Step::Store(metadata) => Some(Due::Store(metadata)),
                    Step::Done(_) | Step::NeedsProducerId => None,
                }
            }
            None if self.expires_at <= now.elapsed => Some(Due::Expire),
            _ => None,
        }
    }

    /// When [`Transaction::tick`] has something to do, if nothing else happens.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        if self.dead || self.uncertain || self.pending.is_some() {
            return None;
        }
        let then = match self.state() {
            TransactionState::Ongoing => self.abort_at,
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => return self.retry_at,
            _ => self.expires_at,
        };
        // What could not be written a moment ago is not tried at once.
        Some(self.retry_at.map_or(then, |retry| retry.max(then)))
    }

    /// The process stood still for that long, and could hear nobody: that time does not count.
    pub(crate) fn stood_still(&mut self, late: Duration) {
        self.abort_at = self.abort_at.saturating_add(late);
    }

    /// It is forgotten: whoever has it has to look for it again.
    pub(crate) fn end_life(&mut self) {
        self.dead = true;
    }

    /// What the partitions are to be told, where the end is decided.
    fn markers(&self) -> Option<Markers> {
        let metadata = self.metadata.as_ref()?;
        Some(Markers {
            producer: metadata.producer,
            result: metadata.state.prepared()?,
            partitions: metadata.partitions.iter().cloned().collect(),
        })
    }

    /// The step that leads to `next`.
    fn store(&mut self, next: TransactionMetadata, now: Moment) -> Step {
        let next = TransactionMetadata { updated_ms: now.wall_ms, ..next };
        self.pending = Some(next.clone());
        Step::Store(next)
    }

    /// What it is, for that producer.
    fn of(&self, producer: ProducerInstance) -> Result<&TransactionMetadata, TransactionError> {
        if self.uncertain {
            return Err(TransactionError::Unavailable);
        }
        match &self.metadata {
            Some(metadata) if metadata.producer == producer => Ok(metadata),
            Some(metadata) if metadata.producer.producer_id == producer.producer_id => {
                Err(TransactionError::Fenced(producer))
            }
            _ => Err(TransactionError::UnknownProducer(producer.producer_id)),
        }
    }

    /// The same, unless a step is being stored.
    fn settled(&self, producer: ProducerInstance) -> Result<&TransactionMetadata, TransactionError> {
        if self.pending.is_some() {
            return Err(TransactionError::Concurrent);
        }
        self.of(producer)
    }
}
