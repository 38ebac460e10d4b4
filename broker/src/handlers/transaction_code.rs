//! Transactions' errors in Kafka's numbers.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProducerId;

use super::code::code;
use super::group_code::group_code;
use crate::error::BrokerError;
use crate::transactions::{ProducerInstance, TransactionError};

/// The number that says best what happened. `knows_fenced` says whether the client's version has a number of its own for a
/// producer that was fenced.
pub(crate) fn transaction_code(error: &TransactionError, knows_fenced: bool) -> ResponseError {
    match error {
        TransactionError::InvalidId(_) => ResponseError::InvalidRequest,
        TransactionError::InvalidTimeout { .. } => ResponseError::InvalidTransactionTimeout,
        TransactionError::Concurrent => ResponseError::ConcurrentTransactions,
        TransactionError::Fenced(_) if knows_fenced => ResponseError::ProducerFenced,
        TransactionError::Fenced(_) => ResponseError::InvalidProducerEpoch,
        TransactionError::UnknownProducer(_) => ResponseError::InvalidProducerIdMapping,
        TransactionError::InvalidState { .. } | TransactionError::NotAdded(_) => {
            ResponseError::InvalidTxnState
        }
        TransactionError::TooManyPartitions { .. }
        | TransactionError::TooManyIds { .. }
        | TransactionError::TooLarge { .. } => ResponseError::PolicyViolation,
        TransactionError::NotFound(_) => ResponseError::TransactionalIdNotFound,
        TransactionError::Unavailable => ResponseError::CoordinatorNotAvailable,
        TransactionError::Group(error) => group_code(error),
        TransactionError::Broker(error) => match &**error {
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
pub(crate) fn result_code<T>(result: &Result<T, TransactionError>, knows_fenced: bool) -> i16 {
    result.as_ref().map_or_else(|error| transaction_code(error, knows_fenced).code(), |_| 0)
}

/// The instance that a request names.
pub(crate) fn instance(id: ProducerId, epoch: i16) -> ProducerInstance {
    ProducerInstance { producer_id: *id, epoch }
}
