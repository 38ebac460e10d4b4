//! A producer in this process that writes in transactions.
//!
//! Invariant: whatever it appends is part of the transaction that is open, which begins with the first; once a write has
//! failed nothing is committed until the transaction was aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Handle;
use topo_protocol::{BatchProducer, TransactionResult, stamp_producer};

use super::error::TransactionError;
use super::handle::Transactions;
use super::request::{ProducerInstance, TransactionState};
use crate::broker::Appending;
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::groups::Claim;
use crate::offsets::CommittedOffset;
use crate::partition::{Appended, Partition};
use crate::topic::TopicPartition;

/// How a producer takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionalConfig {
    /// `transactional.id`: whoever takes it over fences who had it.
    pub transactional_id: Arc<str>,
    /// `transaction.timeout.ms`: a transaction that is open for longer is aborted, and its producer fenced. 1 min by default,
    /// as in Kafka.
    pub timeout: Duration,
}

impl TransactionalConfig {
    /// Under that transactional id.
    pub fn new(transactional_id: impl Into<Arc<str>>) -> Self {
        Self { transactional_id: transactional_id.into(), timeout: Duration::from_mins(1) }
    }
}

/// A producer whose records, and what it commits for groups, are read all together or not at all.
///
/// Got from [`Broker::transactional`](crate::Broker::transactional). A transaction begins with the first append or commit of
/// offsets after the last one ended. Where this is dropped, one that is open is aborted.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::collections::BTreeMap;
/// use topo_broker::{Broker, BrokerConfig, Claim, CommittedOffset, TopicPartition, TransactionalConfig};
/// use topo_protocol::{BatchBuilder, Compression, NewRecord, Room};
///
/// let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path(), BrokerConfig::default())?;
/// broker.create_topic("lines", 1, BTreeMap::new()).await?;
/// broker.create_topic("counts", 1, BTreeMap::new()).await?;
/// let (lines, counts) = (TopicPartition::new("lines", 0), TopicPartition::new("counts", 0));
///
/// let mut producer = broker.transactional(TransactionalConfig::new("counter-0")).await?;
/// let mut builder = BatchBuilder::new(16 << 10);
/// assert_eq!(builder.append(&NewRecord { value: Some(b"1"), ..NewRecord::default() })?, Room::Taken);
/// producer.append(&counts, vec![builder.finish(Compression::None)?]).await?;
/// let read_up_to = CommittedOffset {
///     offset: 1,
///     leader_epoch: -1,
///     metadata: String::new(),
///     commit_timestamp_ms: 0,
/// };
/// producer.commit_offsets("counters", &Claim::nobody(), &[(lines.clone(), read_up_to)]).await?;
/// assert_eq!(broker.committed("counters", &lines)?, None);
/// producer.commit().await?;
/// assert_eq!(broker.committed("counters", &lines)?.map(|committed| committed.offset), Some(1));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TransactionalProducer {
    transactions: Transactions,
    config: TransactionalConfig,
    instance: ProducerInstance,
    /// What is part of the transaction that is open.
    partitions: BTreeSet<TopicPartition>,
    groups: BTreeSet<Arc<str>>,
    /// The sequence number of the next record for each partition, in this epoch.
    sequences: BTreeMap<TopicPartition, i32>,
    /// Up to where each partition has to be durable before the transaction is committed.
    written: BTreeMap<TopicPartition, (Arc<Partition>, i64)>,
    is_open: bool,
    /// Whether a write has failed, so that it is unknown what is in the log.
    has_failed: bool,
}

impl TransactionalProducer {
    pub(crate) async fn init(
        transactions: Transactions,
        config: TransactionalConfig,
    ) -> Result<Self, TransactionError> {
        let instance = initialise(&transactions, &config, None).await?;
        Ok(Self {
            transactions,
            config,
            instance,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            sequences: BTreeMap::new(),
            written: BTreeMap::new(),
            is_open: false,
            has_failed: false,
        })
    }

    /// Which instance of the producer this is.
    pub fn instance(&self) -> ProducerInstance {
        self.instance
    }

    /// Whether a transaction is open.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Appends batches to a partition as part of the transaction, and returns once they are as durable as their topic wants
    /// them. They are numbered here; whose they say they are makes no difference.
    ///
    /// # Errors
    /// As [`Transactions::add_partitions`] and [`Transactions::start_append`]. After one the transaction can only be aborted.
    pub async fn append(
        &mut self,
        to: &TopicPartition,
        batches: Vec<BytesMut>,
    ) -> Result<Appended, TransactionError> {
        self.add(std::slice::from_ref(to)).await?;
        let durable = self.start_append(to, batches, wall_ms())?.durable().await;
        Ok(durable.inspect_err(|_| self.has_failed = true)?)
    }

    /// Makes partitions part of the transaction, in one step for all of them.
    ///
    /// # Errors
    /// As [`Transactions::add_partitions`], but for [`TransactionError::Concurrent`], which is waited for.
    pub async fn add(&mut self, partitions: &[TopicPartition]) -> Result<(), TransactionError> {
        let new: Vec<TopicPartition> =
            partitions.iter().filter(|of| !self.partitions.contains(of)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        // Where this is given up it may have begun.
        self.is_open = true;
        let (transactions, id) = (&self.transactions, &self.config.transactional_id);
        retried(transactions, id, || transactions.add_partitions(id, self.instance, &new)).await?;
        self.partitions.extend(new);
        Ok(())
    }

    /// The first half of [`TransactionalProducer::append`], for a partition that is part of the transaction: gives offsets and
    /// writes, at once. [`TransactionalProducer::commit`] waits for what is not durable yet.
    ///
    /// # Errors
    /// As [`Transactions::start_append`]. After one the transaction can only be aborted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_append(
        &mut self,
        to: &TopicPartition,
        mut batches: Vec<BytesMut>,
        now_ms: i64,
    ) -> Result<Appending, TransactionError> {
        if !self.partitions.contains(to) {
            return Err(TransactionError::NotAdded(to.clone()));
        }
        let mut sequence = self.sequences.get(to).copied().unwrap_or(0);
        for batch in &mut batches {
            let ProducerInstance { producer_id, epoch } = self.instance;
            let producer =
                BatchProducer { id: producer_id, epoch, base_sequence: sequence, is_transactional: true };
            let header = stamp_producer(batch, &producer).map_err(BrokerError::InvalidBatch)?;
            // From 0 to the largest number, and over again.
            sequence = sequence.wrapping_add(header.last_offset_delta).wrapping_add(1) & i32::MAX;
        }
        let id = &self.config.transactional_id;
        let started = self.transactions.start_append(id, self.instance, to, batches, now_ms);
        match &started {
            Ok(appending) => {
                self.sequences.insert(to.clone(), sequence);
                let written = (appending.partition().clone(), appending.appended().next_offset);
                self.written.insert(to.clone(), written);
            }
            Err(_) => self.has_failed = true,
        }
        started
    }

    /// Commits, with the transaction, what a member of a group, or [`Claim::nobody`], goes on from.
    ///
    /// # Errors
    /// As [`Transactions::add_offsets`] and [`Transactions::commit_offsets`], but for [`TransactionError::Concurrent`], which
    /// is waited for. After one the transaction can only be aborted.
    pub async fn commit_offsets(
        &mut self,
        group: &str,
        claim: &Claim,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), TransactionError> {
        let (transactions, id) = (&self.transactions, &self.config.transactional_id);
        if !self.groups.contains(group) {
            self.is_open = true;
            retried(transactions, id, || transactions.add_offsets(id, self.instance, group)).await?;
            self.groups.insert(group.into());
        }
        let committed = transactions.commit_offsets(id, self.instance, group, claim, offsets).await;
        committed.inspect_err(|_| self.has_failed = true)
    }

    /// Commits the transaction, if one is open: all of it is durable, and read, when this returns.
    ///
    /// # Errors
    /// [`TransactionError::InvalidState`] where a write has failed: it is to be aborted. Else as [`Transactions::end`], but
    /// for [`TransactionError::Concurrent`], which is waited for; after [`TransactionError::Unavailable`] or
    /// [`TransactionError::Broker`] this may be tried again.
    pub async fn commit(&mut self) -> Result<(), TransactionError> {
        if self.has_failed {
            return Err(TransactionError::InvalidState {
                asked: "committed, since a write has failed,",
                state: TransactionState::Ongoing,
            });
        }
        // Or a decision that is durable would be about records that are not.
        for (partition, next_offset) in self.written.values() {
            let durable = partition.until_durable(*next_offset).await;
            durable.inspect_err(|_| self.has_failed = true)?;
        }
        self.end(TransactionResult::Commit).await
    }

    /// Aborts the transaction, if one is open: nothing of it is ever read by who reads what is committed.
    ///
    /// # Errors
    /// As [`TransactionalProducer::commit`].
    pub async fn abort(&mut self) -> Result<(), TransactionError> {
        let ended = self.end(TransactionResult::Abort).await;
        match ended {
            // None had begun where the first step failed.
            Err(TransactionError::InvalidState {
                state: TransactionState::Empty | TransactionState::CompleteCommit,
                ..
            }) => {
                self.close();
            }
            ended => ended?,
        }
        if self.has_failed {
            // Which sequence numbers were used is unknown: another epoch starts anew.
            self.instance = initialise(&self.transactions, &self.config, Some(self.instance)).await?;
            self.sequences.clear();
            self.has_failed = false;
        }
        Ok(())
    }

    async fn end(&mut self, result: TransactionResult) -> Result<(), TransactionError> {
        if !self.is_open {
            return Ok(());
        }
        let (transactions, id) = (&self.transactions, &self.config.transactional_id);
        retried(transactions, id, || transactions.end(id, self.instance, result)).await?;
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        self.is_open = false;
        self.partitions.clear();
        self.groups.clear();
        self.written.clear();
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        // Without a runtime nothing can be stored; the timeout aborts it then.
        if !self.is_open {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (transactions, id) = (self.transactions.clone(), self.config.transactional_id.clone());
        let instance = self.instance;
        runtime.spawn(async move {
            // Whoever has taken over has aborted it.
            let abort = || transactions.end(&id, instance, TransactionResult::Abort);
            let _ = retried(&transactions, &id, abort).await;
        });
    }
}

async fn initialise(
    transactions: &Transactions,
    config: &TransactionalConfig,
    expected: Option<ProducerInstance>,
) -> Result<ProducerInstance, TransactionError> {
    let id = &config.transactional_id;
    retried(transactions, id, || transactions.init(id, config.timeout, expected)).await
}

/// Asks again while an earlier step has to come to its end.
async fn retried<T, F: Future<Output = Result<T, TransactionError>>>(
    transactions: &Transactions,
    id: &str,
    request: impl Fn() -> F,
) -> Result<T, TransactionError> {
    loop {
        match request().await {
            Err(TransactionError::Concurrent) => transactions.settled(id).await?,
            done => return done,
        }
    }
}
