//! Transactions of a cluster: one of librdkafka's transactional producers for each holder of an id.
//!
//! Invariant: at most one of librdkafka's calls is under way at a time, also where the one before was given up; it ends by
//! itself, on a thread that may be blocked.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Mutex, oneshot};
use topo_core::log::{LogError, Membership, Record, TopicPartition, TransactionalConfig, TransactionalLog};

use super::KafkaLog;
use super::appender::{Append, Sender, bytes, check, delivery_error};
use super::config::{BATCH_BYTES, batch_bytes};
use super::error::{About, log_error};
use super::place::Place;

/// What librdkafka says of an append once it is done.
type Delivered = oneshot::Receiver<Result<i64, KafkaError>>;

/// A holder of a transactional id of a cluster.
pub(super) struct Transactional {
    log: KafkaLog,
    /// `None` only while it is dropped.
    sender: Option<Arc<Sender>>,
    /// Held by the call that is under way.
    call: Arc<Mutex<()>>,
    /// Whether librdkafka was told to begin.
    is_open: bool,
    /// What was appended in this transaction and not heard of, with how large its topic's batches may be.
    under_way: VecDeque<(TopicPartition, usize, Delivered)>,
}

impl Transactional {
    /// Takes the id over.
    pub(super) async fn open(log: &KafkaLog, config: &TransactionalConfig) -> Result<Self, LogError> {
        if config.id.is_empty() || config.id.contains('\0') {
            let id = config.id.escape_default();
            return Err(LogError::Invalid(format!("`{id}` is no transactional id; use 1 to 32767 bytes")));
        }
        let shared = &log.0;
        let settings = shared.config.transactional(&shared.brokers, config);
        let created = Sender::create(&settings);
        let created = created.map_err(|error| log_error(&shared.brokers, &error, About::Id(&config.id)))?;
        let holder = Self {
            log: log.clone(),
            sender: Some(Arc::new(created)),
            call: Arc::default(),
            is_open: false,
            under_way: VecDeque::new(),
        };
        let timeout = shared.config.request_timeout;
        let initialised = holder.call(move |sender| sender.producer.init_transactions(timeout)).await?;
        initialised.map_err(|error| holder.failed(&error, About::Id(&config.id)))?;
        Ok(holder)
    }

    /// Has librdkafka do something on a thread that may be blocked, after what it does already.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Sender) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let turn = Arc::clone(&self.call).lock_owned().await;
        let sender = Arc::clone(self.sender()?);
        let called = tokio::task::spawn_blocking(move || {
            let done = call(&sender);
            // Where it is the last one, it takes leave of the brokers here.
            drop((sender, turn));
            done
        });
        called.await.map_err(|_| LogError::Closed)
    }

    fn sender(&self) -> Result<&Arc<Sender>, LogError> {
        self.sender.as_ref().ok_or(LogError::Closed)
    }

    async fn begin(&mut self) -> Result<(), LogError> {
        if !self.is_open {
            self.is_open = true;
            let begun = self.call(|sender| sender.producer.begin_transaction()).await?;
            begun.map_err(|error| self.failed(&error, About::Cluster))?;
        }
        Ok(())
    }

    async fn append_all(&mut self, to: &TopicPartition, records: &[Record]) -> Result<(), LogError> {
        let max = self.log.clients()?.topics.known(to).await?.max_message_bytes;
        check(to, records, max)?;
        check_sizes(to, records, max)?;
        self.look_after_deliveries()?;
        if records.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        let batch = batch_bytes(max);
        if batch >= BATCH_BYTES {
            return self.hand_over(to, records, max).await;
        }
        // A producer has one size for the batches of all topics: for this one there is never more than a batch under way.
        let mut rest = records;
        while !rest.is_empty() {
            let mut size = 0;
            let fits = |record: &&Record| {
                size += bytes(record);
                size <= batch
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.hand_over(to, now, max).await?;
            self.deliver().await?;
            rest = later;
        }
        Ok(())
    }

    /// Gives records to librdkafka, once it has room for them.
    async fn hand_over(
        &mut self,
        to: &TopicPartition,
        records: &[Record],
        max: usize,
    ) -> Result<(), LogError> {
        let (append, delivered) = Append::new(records.len());
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = self.sender()?.hand_over(to, record, &append).await {
                append.done(records.len() - index, Err(error.clone()));
                return Err(self.failed(&error, About::Partition(to)));
            }
        }
        self.under_way.push_back((to.clone(), max, delivered));
        Ok(())
    }

    /// Says what is known to have failed.
    fn look_after_deliveries(&mut self) -> Result<(), LogError> {
        while let Some((to, max, delivered)) = self.under_way.front_mut() {
            match delivered.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => break,
                Err(oneshot::error::TryRecvError::Closed) => return Err(LogError::Closed),
                Ok(Err(error)) => {
                    let (to, max) = (to.clone(), *max);
                    return Err(self.undelivered(&to, max, &error));
                }
                Ok(Ok(_)) => drop(self.under_way.pop_front()),
            }
        }
        Ok(())
    }

    /// Waits until everything that was appended is in the log.
    async fn deliver(&mut self) -> Result<(), LogError> {
        while let Some((to, max, delivered)) = self.under_way.pop_front() {
            let delivered = delivered.await.map_err(|_| LogError::Closed)?;
            delivered.map_err(|error| self.undelivered(&to, max, &error))?;
        }
        Ok(())
    }

    async fn commit_all(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
        note: &str,
    ) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, offset) in offsets {
            let mut one = list.add_partition(&at.topic, at.partition as i32);
            let added = one.set_offset(Offset::Offset(*offset));
            added.map_err(|_| LogError::Invalid(format!("{offset} is no offset to commit for {at}")))?;
            if !note.is_empty() {
                one.set_metadata(note);
            }
        }
        let claim = match member {
            Some(member) => claim(member)?,
            None => self.nobody(group).await?,
        };
        if offsets.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        let timeout = self.log.0.config.request_timeout;
        let sent =
            self.call(move |sender| sender.producer.send_offsets_to_transaction(&list, &claim, timeout));
        sent.await?.map_err(|error| self.failed(&error, About::Group(group)))
    }

    /// What is said of a group by who is no member of it.
    async fn nobody(&self, group: &str) -> Result<Arc<ConsumerGroupMetadata>, LogError> {
        let committer = self.log.clients()?.groups.committer(group)?;
        let told = super::client::ask(&committer, |committer| committer.group_metadata()).await?;
        told.map(Arc::new).ok_or_else(|| LogError::Invalid(format!("`{group}` is no group; choose a name")))
    }

    async fn commit_open(&mut self) -> Result<(), LogError> {
        if !self.is_open {
            return Ok(());
        }
        let timeout = self.log.0.config.request_timeout;
        loop {
            match self.call(move |sender| sender.producer.commit_transaction(timeout)).await? {
                Ok(()) => break,
                Err(error) if is_passing(&error) => tracing::info!(%error, "a commit is asked for again"),
                Err(error) if needs_abort(&error) => {
                    let failed = self.look_after_deliveries().err();
                    let failed = failed.unwrap_or_else(|| self.failed(&error, About::Cluster));
                    // Only the broker knows what it has done: where it aborts, it has not committed.
                    return Err(match self.abort_open().await {
                        Ok(()) => failed,
                        Err(LogError::Fenced(sentence)) => LogError::Fenced(sentence),
                        Err(_) => {
                            LogError::Unavailable(format!("whether it is committed is unknown: {failed}"))
                        }
                    });
                }
                Err(error) => {
                    return Err(match self.failed(&error, About::Cluster) {
                        LogError::Fenced(sentence) => LogError::Fenced(sentence),
                        error => {
                            LogError::Unavailable(format!("whether it is committed is unknown: {error}"))
                        }
                    });
                }
            }
        }
        self.close();
        Ok(())
    }

    async fn abort_open(&mut self) -> Result<(), LogError> {
        if !self.is_open {
            return Ok(());
        }
        let timeout = self.log.0.config.request_timeout;
        loop {
            match self.call(move |sender| sender.producer.abort_transaction(timeout)).await? {
                Ok(()) => break,
                Err(error) if is_passing(&error) => tracing::info!(%error, "an abort is asked for again"),
                // It was given up before it began.
                Err(error) if error.rdkafka_error_code() == Some(Code::State) => break,
                Err(error) => return Err(self.failed(&error, About::Cluster)),
            }
        }
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        self.is_open = false;
        self.under_way.clear();
    }

    /// What a call failed with.
    fn failed(&self, error: &KafkaError, about: About<'_>) -> LogError {
        let fatal = self.sender.as_ref().and_then(|sender| sender.producer.client().fatal_error());
        let codes = [error.rdkafka_error_code(), fatal.as_ref().map(|(code, _)| *code)];
        if codes.into_iter().flatten().any(is_fenced) {
            return LogError::Fenced(
                "another instance has the transactional id, or its transaction took longer than its timeout"
                    .into(),
            );
        }
        match (error.rdkafka_error_code(), about) {
            (
                Some(
                    Code::UnknownMemberId
                    | Code::IllegalGeneration
                    | Code::RebalanceInProgress
                    | Code::FencedInstanceId,
                ),
                About::Group(group),
            ) => LogError::CommitFailed(format!("group `{group}` went on without this member")),
            _ => log_error(&self.log.0.brokers, error, about),
        }
    }

    fn undelivered(&self, to: &TopicPartition, max: usize, error: &KafkaError) -> LogError {
        match self.failed(error, About::Partition(to)) {
            LogError::Fenced(sentence) => LogError::Fenced(sentence),
            // librdkafka drops what it still had once another append to the same transaction was refused.
            _ if is_purged(error) => {
                LogError::Unavailable(format!("an append to {to} was given up with its transaction"))
            }
            _ => delivery_error(&self.log.0.brokers, to, error, max),
        }
    }
}

#[async_trait]
impl TransactionalLog for Transactional {
    async fn append(&mut self, to: &TopicPartition, records: Vec<Record>) -> Result<(), LogError> {
        self.append_all(to, &records).await
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        self.deliver().await
    }

    async fn commit_offsets_noting(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
        note: &str,
    ) -> Result<(), LogError> {
        self.commit_all(group, member, offsets, note).await
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        self.commit_open().await
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        self.abort_open().await
    }
}

impl Drop for Transactional {
    // librdkafka does not abort by itself, and takes leave of its brokers; nobody has to wait for either.
    fn drop(&mut self) {
        let (sender, call, is_open) = (self.sender.take(), Arc::clone(&self.call), self.is_open);
        let timeout = self.log.0.config.request_timeout;
        let leave = move || {
            let turn = call.blocking_lock();
            // What is being committed cannot be aborted, which librdkafka says; what is fenced is aborted.
            if is_open
                && let Some(sender) = &sender
                && let Err(error) = sender.producer.abort_transaction(timeout)
            {
                tracing::debug!(%error, "a transaction is left to its timeout");
            }
            drop((turn, sender));
        };
        let _ = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(leave);
    }
}

/// What a member of one of this log's groups says it is.
fn claim(member: &dyn Membership) -> Result<Arc<ConsumerGroupMetadata>, LogError> {
    let Some(place) = (member as &dyn Any).downcast_ref::<Place>() else {
        return Err(LogError::Invalid("the member is of another log's group; join this one's".into()));
    };
    place.claim().ok_or_else(|| LogError::CommitFailed("the group went on without this member".into()))
}

/// Refuses what a broker would refuse, if not for being compressed: librdkafka does not count a batch that was refused for
/// its size, so that the next transaction would fail as well, for a gap in its numbers.
fn check_sizes(to: &TopicPartition, records: &[Record], max: usize) -> Result<(), LogError> {
    match records.iter().map(bytes).find(|bytes| *bytes > max) {
        Some(bytes) => Err(LogError::Invalid(format!(
            "a record of {bytes} bytes is too large for topic `{}`, which takes {max} in a transaction; raise its \
             max.message.bytes",
            to.topic
        ))),
        None => Ok(()),
    }
}

fn is_purged(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight))
}

/// Whether the same call is to be made again.
fn is_passing(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        KafkaError::Flush(code) => *code == Code::OperationTimedOut,
        _ => false,
    }
}

fn needs_abort(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort())
}

fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::InvalidProducerIdMapping
    )
}
