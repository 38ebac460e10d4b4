//! What callers hold: the requests of a producer to its transactional id, typed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;
use topo_protocol::{BatchHeader, TransactionResult};

use super::coordinator::Coordinator;
use super::error::TransactionError;
use super::metadata::fits;
use super::request::{ProducerInstance, TransactionDescription, TransactionListing};
use super::slot::{Answer, Slot, SlotState, Waiter};
use super::transaction::{Init, Moment, Step, Transaction};
use crate::broker::{Appending, Broker};
use crate::error::{BrokerError, shown};
use crate::groups::Claim;
use crate::offsets::CommittedOffset;
use crate::topic::{TopicPartition, is_internal};

/// Transactional ids of a broker: Kafka's transactions, for producers in this process and outside alike.
///
/// Got from [`Broker::transactions`]; clones share it. A producer in this process is more at ease with
/// [`Broker::transactional`].
#[derive(Debug, Clone)]
pub struct Transactions {
    pub(super) broker: Broker,
    pub(super) coordinator: Arc<Coordinator>,
}

impl Transactions {
    pub(crate) fn new(broker: Broker, coordinator: Arc<Coordinator>) -> Self {
        let transactions = Self { broker, coordinator };
        if !transactions.coordinator.started.swap(true, Ordering::Relaxed) {
            transactions.start();
        }
        transactions
    }

    /// Initialises an instance of a producer, which fences all earlier ones and aborts what they have not ended; with
    /// `expected`, one that goes on after an error, under a new epoch, if it is still the one that counts. A transaction may
    /// last for `timeout`.
    ///
    /// # Errors
    /// [`TransactionError::Concurrent`] where a transaction had to be aborted, or another step is under way: the same is to be
    /// asked again. [`TransactionError::Fenced`] where `expected` is not the one that counts.
    /// [`TransactionError::InvalidTimeout`], [`TransactionError::InvalidId`], [`TransactionError::TooManyIds`],
    /// [`TransactionError::TooLarge`], [`TransactionError::Unavailable`] or [`TransactionError::Broker`].
    pub async fn init(
        &self,
        id: &str,
        timeout: Duration,
        expected: Option<ProducerInstance>,
    ) -> Result<ProducerInstance, TransactionError> {
        check_id(id)?;
        self.prepare().await?;
        let mut fresh = None;
        loop {
            let init = Init { timeout, expected, fresh };
            let taken = self.coordinator.with_new(id, |slot, state, now| {
                let step = state.transaction.init(init, now)?;
                // What was begun by somebody else has to come to its end first.
                let concurrent = matches!(&step, Step::Store(next) if next.state.prepared().is_some());
                self.take(slot, state, step, concurrent.then_some(TransactionError::Concurrent))
            })?;
            match taken? {
                Taken::Answered(producer) => return Ok(producer),
                Taken::Waits(answer) => return wait(answer).await,
                Taken::NeedsProducerId => fresh = Some(self.broker.new_producer_id().await?),
            }
        }
    }

    /// Makes partitions part of the producer's transaction, durably; it begins with the first ones. They must exist.
    ///
    /// # Errors
    /// [`TransactionError::Concurrent`] while the one before is not at its end; [`TransactionError::Fenced`] or
    /// [`TransactionError::UnknownProducer`] for who is not the instance that counts;
    /// [`TransactionError::TooManyPartitions`], [`TransactionError::TooLarge`], [`TransactionError::InvalidId`],
    /// [`TransactionError::Unavailable`] or [`TransactionError::Broker`].
    pub async fn add_partitions(
        &self,
        id: &str,
        producer: ProducerInstance,
        partitions: &[TopicPartition],
    ) -> Result<(), TransactionError> {
        for partition in partitions {
            if is_internal(&partition.topic) {
                return Err(BrokerError::InternalTopic(partition.topic.clone()).into());
            }
            self.broker.topic(&partition.topic)?.partition(partition.partition)?;
        }
        self.add(id, producer, partitions).await
    }

    /// Makes what a group commits part of the producer's transaction, durably. As in Kafka that is the partition which holds
    /// the group's offsets.
    ///
    /// # Errors
    /// As [`Transactions::add_partitions`], and [`TransactionError::Group`] for a group that can be none.
    pub async fn add_offsets(
        &self,
        id: &str,
        producer: ProducerInstance,
        group: &str,
    ) -> Result<(), TransactionError> {
        check_id(id)?;
        crate::groups::check_name(group)?;
        let partition = self.broker.offsets_log().await?;
        self.add(id, producer, std::slice::from_ref(partition.at())).await
    }

    /// Appends transactional batches of the producer to a partition of its transaction: the first half of an append, as
    /// [`Broker::start_append`]. Checked and written under one lock with the end of the transaction, so that nothing is
    /// written behind a decision.
    ///
    /// # Errors
    /// [`TransactionError::InvalidState`] or [`TransactionError::NotAdded`] outside of the transaction;
    /// [`TransactionError::Fenced`] or [`TransactionError::UnknownProducer`]; [`TransactionError::Broker`] for what
    /// [`Broker::start_append`] refuses, and for batches that are not the producer's or not of a transaction.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_append(
        &self,
        id: &str,
        producer: ProducerInstance,
        to: &TopicPartition,
        batches: Vec<BytesMut>,
        now_ms: i64,
    ) -> Result<Appending, TransactionError> {
        let started = self.coordinator.with(id, |_, state, _| {
            state.transaction.check_write(producer, to)?;
            check_producer(producer, &batches)?;
            Ok(self.broker.start_append_in_transaction(to, batches, now_ms)?)
        });
        started.unwrap_or(Err(TransactionError::UnknownProducer(producer.producer_id)))
    }

    /// Commits, as part of the producer's transaction, what a member of a group, or [`Claim::nobody`], goes on from: seen once
    /// the transaction is committed. The group's generation and the transaction are checked at the moment of writing.
    ///
    /// # Errors
    /// As [`Transactions::start_append`] for the producer, where its transaction has not been told of a group by
    /// [`Transactions::add_offsets`] as well; [`TransactionError::Group`] where the claim does not hold;
    /// [`TransactionError::Broker`] for what [`Broker::commit`] refuses.
    pub async fn commit_offsets(
        &self,
        id: &str,
        producer: ProducerInstance,
        group: &str,
        claim: &Claim,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), TransactionError> {
        let groups = self.broker.groups();
        groups.prepare_commits().await?;
        let partition = self.broker.offsets_log().await?;
        let started = self.coordinator.with(id, |_, state, _| {
            state.transaction.check_write(producer, partition.at())?;
            if offsets.is_empty() {
                return Ok(None);
            }
            Ok(Some(groups.start_commit_in_transaction(group, claim, producer, offsets)?))
        });
        let unknown = TransactionError::UnknownProducer(producer.producer_id);
        if let Some(appending) = started.unwrap_or(Err(unknown))? {
            appending.durable().await?;
        }
        Ok(())
    }

    /// Ends the producer's transaction. When this returns well that is decided durably, and, unless a partition cannot be
    /// written to now, all of them are told: who reads what is committed sees all of it or nothing.
    ///
    /// Asked again after it was done, it succeeds. Whoever asks late, after the same instance has begun its next transaction,
    /// ends that one: in this version of the protocol nothing tells the two apart.
    ///
    /// # Errors
    /// [`TransactionError::InvalidState`] without a transaction, or where it ended otherwise;
    /// [`TransactionError::Concurrent`] while it ends; [`TransactionError::Fenced`],
    /// [`TransactionError::UnknownProducer`], [`TransactionError::InvalidId`], [`TransactionError::Unavailable`] or
    /// [`TransactionError::Broker`]: after these last two it may have ended so, or go on, and the same is to be asked again.
    pub async fn end(
        &self,
        id: &str,
        producer: ProducerInstance,
        result: TransactionResult,
    ) -> Result<(), TransactionError> {
        self.request(id, producer, |transaction, now| transaction.end(producer, result, now)).await
    }

    /// A transactional id as it stands.
    ///
    /// # Errors
    /// [`TransactionError::NotFound`] or [`TransactionError::InvalidId`].
    pub fn describe(&self, id: &str) -> Result<TransactionDescription, TransactionError> {
        check_id(id)?;
        let described = self.coordinator.with(id, |_, state, _| state.transaction.describe()).flatten();
        described.ok_or_else(|| TransactionError::NotFound(shown(id)))
    }

    /// All transactional ids by name.
    pub fn list(&self) -> Vec<TransactionListing> {
        let listed = |slot: Arc<Slot>| {
            let description = slot.lock().transaction.describe()?;
            Some(TransactionListing {
                transactional_id: slot.id.clone(),
                producer_id: description.producer.producer_id,
                state: description.state,
                started_ms: description.started_ms,
            })
        };
        self.coordinator.slots().into_iter().filter_map(listed).collect()
    }

    /// Waits until no step of the transactional id is under way: what was answered [`TransactionError::Concurrent`] may be
    /// asked again.
    ///
    /// # Errors
    /// [`TransactionError::Unavailable`] where a step cannot come to its end now, since a partition or the log of transactional
    /// ids cannot be written to. It is tried again every second; where storage has failed that helps once the broker is opened
    /// again.
    pub async fn settled(&self, id: &str) -> Result<(), TransactionError> {
        match self.coordinator.slot(id) {
            Some(slot) => slot.settled().await,
            None => Ok(()),
        }
    }

    async fn add(
        &self,
        id: &str,
        producer: ProducerInstance,
        partitions: &[TopicPartition],
    ) -> Result<(), TransactionError> {
        self.coordinator.check_partitions(partitions.len())?;
        self.request(id, producer, |transaction, now| transaction.add(producer, partitions, now)).await
    }

    /// Takes a step with a transactional id that is there, and waits for its end.
    async fn request(
        &self,
        id: &str,
        producer: ProducerInstance,
        step: impl FnOnce(&mut Transaction, Moment) -> Result<Step, TransactionError>,
    ) -> Result<(), TransactionError> {
        check_id(id)?;
        let taken = self.coordinator.with(id, |slot, state, now| {
            let step = step(&mut state.transaction, now)?;
            self.take(slot, state, step, None)
        });
        match taken.unwrap_or(Err(TransactionError::UnknownProducer(producer.producer_id)))? {
            Taken::Waits(answer) => wait(answer).await.map(drop),
            Taken::Answered(_) | Taken::NeedsProducerId => Ok(()),
        }
    }

    /// Has a step stored, after which, where it ends a transaction when that is done, who asks is told so, or `otherwise`.
    fn take(
        &self,
        slot: &Arc<Slot>,
        state: &mut SlotState,
        step: Step,
        otherwise: Option<TransactionError>,
    ) -> Result<Taken, TransactionError> {
        match step {
            Step::Done(producer) => Ok(Taken::Answered(producer)),
            Step::NeedsProducerId => Ok(Taken::NeedsProducerId),
            Step::Store(next) => {
                let (sender, answered) = oneshot::channel();
                let answer = otherwise.map_or(Ok(next.producer), Err);
                self.store(slot, state, &next)?;
                state.waiter = Some(Waiter { answer, sender });
                Ok(Taken::Waits(answered))
            }
        }
    }

    /// Sees that there is a topic for the records.
    async fn prepare(&self) -> Result<(), TransactionError> {
        if self.coordinator.is_closed() {
            return Err(TransactionError::Unavailable);
        }
        self.coordinator.store_in(&self.broker.transactions_log().await?);
        Ok(())
    }
}

/// How far a step is.
enum Taken {
    Answered(ProducerInstance),
    NeedsProducerId,
    Waits(oneshot::Receiver<Answer>),
}

async fn wait(answer: oneshot::Receiver<Answer>) -> Answer {
    answer.await.unwrap_or(Err(TransactionError::Unavailable))
}

fn check_id(id: &str) -> Result<(), TransactionError> {
    if fits(id) { Ok(()) } else { Err(TransactionError::InvalidId(shown(id))) }
}

/// Whether all batches are that producer's.
fn check_producer(producer: ProducerInstance, batches: &[BytesMut]) -> Result<(), BrokerError> {
    for batch in batches {
        let header = BatchHeader::parse(batch)?;
        if (header.producer_id, header.producer_epoch) != (producer.producer_id, producer.epoch) {
            return Err(BrokerError::UnacceptableBatch("it is another producer's"));
        }
    }
    Ok(())
}
