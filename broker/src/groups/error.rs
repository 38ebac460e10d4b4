//! What a group refuses, and why.

use std::sync::Arc;
use std::time::Duration;

use crate::error::BrokerError;

/// Why a group, or its coordinator, did not do what it was asked to. Each is one of Kafka's errors.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The group's name is empty or too long.
    #[error("`{0}` is no group; use a name of 1 to 32767 bytes")]
    InvalidGroup(String),
    /// The session timeout is outside of what the broker takes.
    #[error("a session timeout of {asked:?} is not accepted; choose from {min:?} to {max:?}")]
    InvalidSessionTimeout {
        /// What the member wanted.
        asked: Duration,
        /// `group.min.session.timeout.ms`.
        min: Duration,
        /// `group.max.session.timeout.ms`.
        max: Duration,
    },
    /// The member has an id now, and is to join again under it.
    #[error("join again as member `{0}`")]
    MemberIdRequired(Arc<str>),
    /// The group has no such member; it has to join.
    #[error("the group has no such member; it left, or was silent for longer than its timeout")]
    UnknownMember,
    /// The generation is over, or never was; the member has to join again.
    #[error("generation {asked} is not the group's, which is {current}")]
    IllegalGeneration {
        /// What the member said.
        asked: i32,
        /// The group's.
        current: i32,
    },
    /// The group is about to get a new generation; the member has to join it.
    #[error("the group rebalances; join again")]
    RebalanceInProgress,
    /// No protocol is left that every member has.
    #[error("the member has no protocol in common with the group's members")]
    InconsistentProtocol,
    /// Another member has taken over the `group.instance.id`.
    #[error("another member has joined with the same group.instance.id")]
    FencedInstance,
    /// The group has all the members it may have.
    #[error("the group is full: it takes {max} members")]
    GroupFull {
        /// `group.max.size`.
        max: usize,
    },
    /// What members say about themselves, or are assigned, takes too much memory.
    #[error("what the members of groups subscribe to and are assigned takes more than {max} bytes")]
    TooLarge {
        /// How much it may take.
        max: usize,
    },
    /// There are all the groups there may be.
    #[error("the broker keeps {max} groups and takes no more; delete some, or raise its limit")]
    TooManyGroups {
        /// The limit.
        max: usize,
    },
    /// The group was deleted meanwhile, or the broker closes.
    #[error("the group is not to be had now; try again")]
    Unavailable,
    /// The group has members, and can be neither deleted nor reset.
    #[error("the group has members; stop them first")]
    NotEmpty,
    /// There is no such group.
    #[error("there is no group `{0}`")]
    NotFound(String),
    /// Members of the group read the topic, whose offsets can therefore not be deleted.
    #[error("members of the group read topic `{0}`; stop them first")]
    Subscribed(Arc<str>),
    /// The log refused or failed.
    #[error(transparent)]
    Broker(Arc<BrokerError>),
}

impl From<BrokerError> for GroupError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(Arc::new(error))
    }
}
