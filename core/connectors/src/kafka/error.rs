//! What librdkafka says, in the words of [`Log`](topo_core::log::Log).

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use topo_core::log::{LogError, TopicPartition};

use crate::brokers::Brokers;

/// What a call was about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    Cluster,
    Topic(&'a str),
    Partition(&'a TopicPartition),
    Group(&'a str),
    /// A transactional id.
    Id(&'a str),
}

impl About<'_> {
    fn topic(self) -> Option<String> {
        match self {
            Self::Topic(topic) => Some(topic.to_owned()),
            Self::Partition(at) => Some(at.topic.to_string()),
            Self::Cluster | Self::Group(_) | Self::Id(_) => None,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Cluster => "the cluster".to_owned(),
            Self::Topic(topic) => format!("topic `{topic}`"),
            Self::Partition(at) => format!("partition {at}"),
            Self::Group(group) => format!("group `{group}`"),
            Self::Id(id) => format!("transactional id `{id}`"),
        }
    }
}

/// Nobody is there.
pub(super) fn no_answer(brokers: &Brokers) -> LogError {
    LogError::Unavailable(format!(
        "no broker answers at {brokers}; start one with `topo broker`, or check --broker"
    ))
}

/// librdkafka's code for an error.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// What became of a call about `about`.
pub(super) fn log_error(brokers: &Brokers, error: &KafkaError, about: About<'_>) -> LogError {
    match code(error) {
        Some(code) => by_code(brokers, code, about),
        None => LogError::Storage(format!("{}: {error}", about.name())),
    }
}

/// The same by the code alone.
pub(super) fn by_code(brokers: &Brokers, code: Code, about: About<'_>) -> LogError {
    let name = about.name();
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => match about.topic() {
            Some(topic) => LogError::UnknownTopic(topic.into()),
            None => LogError::Storage(format!("{name}: {code}")),
        },
        Code::UnknownPartition => match about {
            About::Partition(at) => LogError::UnknownPartition(at.clone()),
            _ => LogError::Storage(format!("{name}: {code}")),
        },
        Code::TopicAlreadyExists => LogError::TopicExists(about.topic().unwrap_or_default().into()),
        Code::InvalidTopic => LogError::Invalid(format!(
            "{name} cannot be: a name is 1 to 249 letters, digits, `.`, `_` and `-`"
        )),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => LogError::Invalid(format!(
            "a record is larger than {name} takes; raise the topic's max.message.bytes"
        )),
        Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::InvalidArgument
        | Code::InvalidGroupId
        | Code::InvalidTransactionTimeout
        | Code::OffsetMetadataTooLarge => {
            LogError::Invalid(format!("{name} is refused by the broker: {code}"))
        }
        Code::GroupIdNotFound => LogError::Invalid(format!("there is no {name}")),
        Code::NonEmptyGroup => LogError::Invalid(format!("{name} has members; stop them first")),
        Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress => LogError::Invalid(
            format!("{name} has members of its own, which commit for it; stop them, or use another group"),
        ),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            LogError::Invalid(format!("the broker does not allow this for {name}: {code}"))
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            LogError::Invalid(format!("the broker at {brokers} cannot do this for {name}: {code}"))
        }
        Code::InvalidMessage | Code::BadMessage | Code::BadCompression => {
            LogError::Corrupt(format!("{name} holds damaged records: {code}"))
        }
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::WaitingForCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::LeaderNotAvailable
        | Code::BrokerNotAvailable => no_answer(brokers),
        Code::BrokerDestroy | Code::DestroyBroker => LogError::Closed,
        code => LogError::Storage(format!("{name}: the broker says {code}")),
    }
}

/// An append was given up: what the broker did with it is not known.
pub(super) fn append_error(brokers: &Brokers, code: Code, at: &TopicPartition) -> LogError {
    match code {
        Code::MessageTimedOut | Code::PurgeInflight | Code::PurgeQueue | Code::RequestTimedOut => {
            LogError::Unavailable(format!(
                "an append to {at} was not acknowledged in time by the broker at {brokers}; it may or may not be in the log"
            ))
        }
        code => by_code(brokers, code, About::Partition(at)),
    }
}
