//! Groups' errors in Kafka's numbers.

use kafka_protocol::error::ResponseError;

use super::code::code;
use crate::error::BrokerError;
use crate::groups::GroupError;

/// The number that says best what happened.
pub(crate) fn group_code(error: &GroupError) -> ResponseError {
    match error {
        GroupError::InvalidGroup(_) => ResponseError::InvalidGroupId,
        GroupError::InvalidSessionTimeout { .. } => ResponseError::InvalidSessionTimeout,
        GroupError::MemberIdRequired(_) => ResponseError::MemberIdRequired,
        GroupError::UnknownMember => ResponseError::UnknownMemberId,
        GroupError::IllegalGeneration { .. } => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::FencedInstance => ResponseError::FencedInstanceId,
        GroupError::GroupFull { .. } => ResponseError::GroupMaxSizeReached,
        GroupError::TooLarge { .. } => ResponseError::MessageTooLarge,
        GroupError::TooManyGroups { .. } => ResponseError::PolicyViolation,
        GroupError::Unavailable => ResponseError::CoordinatorNotAvailable,
        GroupError::NotEmpty => ResponseError::NonEmptyGroup,
        GroupError::NotFound(_) => ResponseError::GroupIdNotFound,
        GroupError::Subscribed(_) => ResponseError::GroupSubscribedToTopic,
        GroupError::Broker(error) => match &**error {
            // The client looks for another coordinator, and finds this one again once it is back.
            BrokerError::Closed => ResponseError::NotCoordinator,
            BrokerError::Poisoned { .. } | BrokerError::Log { .. } | BrokerError::Storage(_) => {
                ResponseError::CoordinatorNotAvailable
            }
            error => code(error),
        },
    }
}

/// The number of what came out.
pub(crate) fn result_code<T>(result: &Result<T, GroupError>) -> i16 {
    result.as_ref().map_or_else(|error| group_code(error).code(), |_| 0)
}
