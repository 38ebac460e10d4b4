//! Writing to a log in transactions: records, and what a group goes on from, all of it or nothing.
//!
//! Kafka's transactional producer, as far as its user sees it: an id that one instance has at a time, and one transaction
//! open under it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{LogError, Membership, Record, TopicPartition};

/// Under which id transactions are written, and how long one may last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionalConfig {
    /// Kafka's `transactional.id`: the same one for whoever goes on with the same work, so that its predecessor is fenced.
    pub id: Arc<str>,
    /// Kafka's `transaction.timeout.ms`: a transaction that is open for longer is aborted by the log.
    pub timeout: Duration,
}

impl TransactionalConfig {
    /// Under that id; a transaction may last a minute, as in Kafka.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), timeout: Duration::from_mins(1) }
    }
}

/// A log that is written in transactions, one after the other.
///
/// A transaction begins with the first [`append`](TransactionalLog::append) or
/// [`commit_offsets`](TransactionalLog::commit_offsets) after the last one ended. Who reads what is committed
/// ([`Isolation::ReadCommitted`](super::Isolation)) sees all of it once it is committed, or nothing of it ever.
///
/// After an error, or a call that was given up at an await, the transaction can only be aborted, but for what
/// [`commit`](TransactionalLog::commit) says of itself. Where this is dropped, what is open is aborted as soon as the log hears
/// of it, and at the latest by the next holder of the id, or its timeout.
#[async_trait]
pub trait TransactionalLog: Send {
    /// Says which partitions the transaction is about to write: a log that notes them durably does so in one step then. Nobody
    /// has to say so, and it commits nobody to write them.
    ///
    /// # Errors
    /// As of [`append`](TransactionalLog::append).
    async fn include(&mut self, _partitions: &[TopicPartition]) -> Result<(), LogError> {
        Ok(())
    }

    /// Appends records to a partition as part of the transaction. They may not be durable before the commit is.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where another instance has the id, or the transaction took longer than its timeout; else as
    /// [`Log::append`](super::Log::append). What goes wrong later with these records is said by a later call of the same
    /// transaction.
    async fn append(&mut self, to: &TopicPartition, records: Vec<Record>) -> Result<(), LogError>;

    /// Waits until the log has taken what was appended, and says where it does not; it need not be durable. A log that says so
    /// with each append has nothing to wait for.
    ///
    /// # Errors
    /// As of [`append`](TransactionalLog::append).
    async fn flush(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    /// Commits, with the transaction, the offset of the next record that the group reads in each partition: as `member`, got
    /// from [`Log::join`](super::Log::join) of the same log, while the partitions are its own; as nobody, whoever has them.
    ///
    /// # Errors
    /// [`LogError::CommitFailed`] where the group does not take it from `member` any more; [`LogError::Fenced`] as from
    /// [`append`](TransactionalLog::append); or a storage or connection error.
    async fn commit_offsets(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), LogError> {
        self.commit_offsets_noting(group, member, offsets, "").await
    }

    /// As [`commit_offsets`](TransactionalLog::commit_offsets), with a note beside each offset, Kafka's offset metadata, that
    /// [`Log::noted`](super::Log::noted) gives back.
    ///
    /// # Errors
    /// As of [`commit_offsets`](TransactionalLog::commit_offsets).
    async fn commit_offsets_noting(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
        note: &str,
    ) -> Result<(), LogError>;

    /// Commits the transaction, if one is open: all of it is durable when this returns. Where an answer was lost the log is
    /// asked again, as long as it is away.
    ///
    /// # Errors
    /// After [`LogError::Unavailable`] and [`LogError::Closed`], as after giving this call up, it is not known whether it is
    /// committed: then this may be asked again; or the next holder of the id learns it from what the group has committed.
    /// The same holds for [`LogError::Fenced`], where another instance has the id, or the transaction took longer than its
    /// timeout: this one is done for good. After any other error nothing is committed, and
    /// [`abort`](TransactionalLog::abort) makes way for another attempt.
    async fn commit(&mut self) -> Result<(), LogError>;

    /// Aborts the transaction, if one is open: nothing of it is ever seen by who reads what is committed.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where it may be committed: only [`commit`](TransactionalLog::commit) finds that out.
    /// [`LogError::Fenced`] where another instance has the id, which has seen to the abort, or the transaction took longer than
    /// its timeout. After any other error this may be asked again, or the id be opened anew.
    async fn abort(&mut self) -> Result<(), LogError>;
}
