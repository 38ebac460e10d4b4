//! What producers ask of their transactional id, and what they and onlookers are answered.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use topo_protocol::TransactionResult;

use crate::topic::TopicPartition;

/// One instance of a producer: a later one has a larger epoch, or another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerInstance {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
}

impl fmt::Display for ProducerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "producer {} of epoch {}", self.producer_id, self.epoch)
    }
}

/// Where a transactional id stands, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionState {
    /// No transaction was begun since it was initialised.
    Empty,
    /// A transaction has partitions, and may take more.
    Ongoing,
    /// It is decided, durably, that the transaction is committed; its partitions are told.
    PrepareCommit,
    /// It is decided, durably, that the transaction is aborted; its partitions are told.
    PrepareAbort,
    /// The transaction is committed in all of its partitions.
    CompleteCommit,
    /// The transaction is aborted in all of its partitions.
    CompleteAbort,
    /// It has expired.
    Dead,
    /// The producer is fenced so that its transaction can be aborted. Here that is one step with [`Self::PrepareAbort`], so
    /// that nothing is ever seen in this state.
    PrepareEpochFence,
}

impl TransactionState {
    /// All of them, by Kafka's number.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// As Kafka writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state that Kafka writes so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// How the transaction is about to end, where that is decided and its partitions are not all told.
    pub(super) fn prepared(self) -> Option<TransactionResult> {
        match self {
            Self::PrepareCommit => Some(TransactionResult::Commit),
            Self::PrepareAbort => Some(TransactionResult::Abort),
            _ => None,
        }
    }

    /// Where it is decided that the transaction ends so.
    pub(super) fn prepare(result: TransactionResult) -> Self {
        match result {
            TransactionResult::Commit => Self::PrepareCommit,
            TransactionResult::Abort => Self::PrepareAbort,
        }
    }

    /// Where it has ended so.
    pub(super) fn complete(result: TransactionResult) -> Self {
        match result {
            TransactionResult::Commit => Self::CompleteCommit,
            TransactionResult::Abort => Self::CompleteAbort,
        }
    }
}

/// A transactional id, as an onlooker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    /// Where it stands.
    pub state: TransactionState,
    /// Who produces under it.
    pub producer: ProducerInstance,
    /// How long its transactions may last.
    pub timeout: Duration,
    /// When its transaction began, in milliseconds since 1970; `None` without one.
    pub started_ms: Option<i64>,
    /// The partitions of its transaction; offsets that it commits are in a partition of `__consumer_offsets`.
    pub partitions: BTreeSet<TopicPartition>,
}

/// A transactional id in a list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    /// The transactional id.
    pub transactional_id: Arc<str>,
    /// Who produces under it.
    pub producer_id: i64,
    /// Where it stands.
    pub state: TransactionState,
    /// When its transaction began, in milliseconds since 1970; `None` without one.
    pub started_ms: Option<i64>,
}

/// What a transaction is that ended so.
pub(super) fn done(result: TransactionResult) -> &'static str {
    match result {
        TransactionResult::Commit => "committed",
        TransactionResult::Abort => "aborted",
    }
}
