//! How far a transaction is: what may be asked of it next.
//!
//! Invariant: a call counts as failed until it is known that it did not, so that one that is given up leaves a transaction
//! that is not committed by mistake.

use async_trait::async_trait;

use super::{LogError, Membership, Record, TopicPartition, TransactionalLog};

/// A transactional log that is asked only what may be asked of it next: the order of its calls is seen to here, so that `T`
/// need not look at what was asked before.
#[derive(Debug)]
pub struct InStages<T> {
    log: T,
    stage: TransactionStage,
}

impl<T> InStages<T> {
    /// Nothing is open.
    pub fn new(log: T) -> Self {
        Self { log, stage: TransactionStage::default() }
    }
}

#[async_trait]
impl<T: TransactionalLog> TransactionalLog for InStages<T> {
    async fn include(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.stage.write()?;
        let included = self.log.include(partitions).await;
        self.stage.done(included)
    }

    async fn append(&mut self, to: &TopicPartition, records: Vec<Record>) -> Result<(), LogError> {
        self.stage.write()?;
        let appended = self.log.append(to, records).await;
        self.stage.done(appended)
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        self.stage.write()?;
        let flushed = self.log.flush().await;
        self.stage.done(flushed)
    }

    async fn commit_offsets_noting(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
        note: &str,
    ) -> Result<(), LogError> {
        self.stage.write()?;
        let committed = self.log.commit_offsets_noting(group, member, offsets, note).await;
        self.stage.done(committed)
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        self.stage.commit()?;
        let committed = self.log.commit().await;
        self.stage.done(committed)
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        self.stage.abort()?;
        let aborted = self.log.abort().await;
        self.stage.done(aborted)
    }
}

/// How far a transaction is: every call is begun, and [`done`](TransactionStage::done) is told what became of it. [`InStages`]
/// does so for whole logs.
///
/// ```
/// use topo_core::log::{LogError, TransactionStage};
///
/// let mut stage = TransactionStage::default();
/// stage.write()?;
/// assert!(stage.done(Err::<(), _>(LogError::Storage("the disk is gone".into()))).is_err());
/// assert!(stage.commit().is_err(), "something is missing");
/// stage.abort()?;
/// stage.done(Ok(()))?;
/// stage.commit()?;
/// assert!(stage.done(Err::<(), _>(LogError::Unavailable("nobody answers".into()))).is_err());
/// assert!(stage.abort().is_err(), "it may be committed");
/// # Ok::<_, LogError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionStage {
    /// Everything went well so far, or none is open.
    #[default]
    Whole,
    /// Something failed, or was given up: it can only be aborted.
    Broken,
    /// It may be committed, or not: that is to be asked again.
    Undecided,
}

impl TransactionStage {
    /// Begins an append, or a commit of offsets.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where the transaction is to be ended first.
    pub fn write(&mut self) -> Result<(), LogError> {
        self.check_whole()?;
        *self = Self::Broken;
        Ok(())
    }

    /// Begins a commit, perhaps once more.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where something is missing in the transaction.
    pub fn commit(&mut self) -> Result<(), LogError> {
        if *self != Self::Undecided {
            self.check_whole()?;
        }
        *self = Self::Undecided;
        Ok(())
    }

    /// Begins an abort.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where the transaction may be committed.
    pub fn abort(&mut self) -> Result<(), LogError> {
        if *self == Self::Undecided {
            return Err(undecided());
        }
        *self = Self::Broken;
        Ok(())
    }

    /// Notes what became of the call that was begun last, and returns that.
    ///
    /// # Errors
    /// What `result` is.
    pub fn done<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        *self = match (&result, *self) {
            (Ok(_), _) => Self::Whole,
            (Err(LogError::Unavailable(_) | LogError::Closed), Self::Undecided) => Self::Undecided,
            (Err(_), _) => Self::Broken,
        };
        result
    }

    fn check_whole(self) -> Result<(), LogError> {
        match self {
            Self::Whole => Ok(()),
            Self::Broken => Err(LogError::Invalid(
                "something of the transaction has failed or was given up; abort it, and write all of it again".into(),
            )),
            Self::Undecided => Err(undecided()),
        }
    }
}

fn undecided() -> LogError {
    LogError::Invalid("the transaction may be committed, or not; ask for its commit again".into())
}
