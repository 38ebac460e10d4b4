//! Transactions of the embedded log, on the broker's own producer.

use std::any::Any;
use std::slice;

use async_trait::async_trait;
use topo_broker::{Claim, TransactionError, TransactionalProducer};
use topo_core::log::{LogError, Membership, Record, TopicPartition, TransactionalConfig, TransactionalLog};

use super::error::{shared, there, unwritten};
use super::member::{Member, refusal};
use super::{EmbeddedLog, committed_at};

/// A holder of a transactional id of the embedded broker.
pub(super) struct Transactional {
    log: EmbeddedLog,
    producer: TransactionalProducer,
}

impl Transactional {
    /// Takes the id over.
    pub(super) async fn open(log: &EmbeddedLog, config: &TransactionalConfig) -> Result<Self, LogError> {
        let config =
            topo_broker::TransactionalConfig { transactional_id: config.id.clone(), timeout: config.timeout };
        let producer = log.broker.transactional(config).await.map_err(unfinished)?;
        Ok(Self { log: log.clone(), producer })
    }
}

#[async_trait]
impl TransactionalLog for Transactional {
    async fn include(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let partitions: Vec<_> = partitions.iter().map(there).collect();
        self.producer.add(&partitions).await.map_err(unfinished)
    }

    async fn append(&mut self, to: &TopicPartition, records: Vec<Record>) -> Result<(), LogError> {
        let (to, now_ms) = (there(to), self.log.clock.wall_ms());
        let batches = self.log.batches(&to, &records, now_ms).map_err(unwritten)?;
        if batches.is_empty() {
            return Ok(());
        }
        self.producer.add(slice::from_ref(&to)).await.map_err(unfinished)?;
        // The commit waits until it is durable.
        self.producer.start_append(&to, batches, now_ms).map(drop).map_err(unfinished)
    }

    async fn commit_offsets_noting(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
        note: &str,
    ) -> Result<(), LogError> {
        let claim = match member {
            None => Claim::nobody(),
            Some(member) => claim(member)?,
        };
        let offsets = committed_at(offsets, note, self.log.clock.wall_ms());
        self.producer.commit_offsets(group, &claim, &offsets).await.map_err(unfinished)
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        self.producer.commit().await.map_err(undecided)
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        self.producer.abort().await.map_err(unfinished)
    }
}

/// What a member of one of this log's groups says it is.
fn claim(member: &dyn Membership) -> Result<Claim, LogError> {
    let Some(member) = (member as &dyn Any).downcast_ref::<Member>() else {
        return Err(LogError::Invalid("the member is of another log's group; join this one's".into()));
    };
    member.claim().ok_or_else(|| LogError::CommitFailed("the group went on without this member".into()))
}

/// What a call but a commit failed with.
fn unfinished(error: TransactionError) -> LogError {
    match error {
        TransactionError::Fenced(_) | TransactionError::UnknownProducer(_) => {
            LogError::Fenced(error.to_string())
        }
        TransactionError::Group(error) => match refusal(error) {
            LogError::Fenced(sentence) => LogError::CommitFailed(sentence),
            error => error,
        },
        TransactionError::Broker(error) => shared(error),
        TransactionError::Unavailable => LogError::Unavailable(error.to_string()),
        error => LogError::Invalid(error.to_string()),
    }
}

/// What a commit failed with: where storage has, nobody knows yet what became of it.
fn undecided(error: TransactionError) -> LogError {
    match unfinished(error) {
        LogError::Storage(sentence) | LogError::Corrupt(sentence) => LogError::Unavailable(sentence),
        error => error,
    }
}
