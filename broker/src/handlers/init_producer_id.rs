//! InitProducerId: an id for an idempotent producer; for a transactional one the epoch that fences its earlier instances.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Handler;
use super::code::code;
use super::transaction_code::{instance, transaction_code};
use crate::server::{Call, Reply};
use crate::transactions::ProducerInstance;

/// The API.
pub(crate) struct InitProducerId;

/// The first version whose clients know a producer that was fenced.
const FENCED_FROM: i16 = 4;
/// The producer id, and the epoch, of who has none.
const NONE: (i64, i16) = (-1, -1);

impl Handler for InitProducerId {
    type Request = InitProducerIdRequest;
    type Response = InitProducerIdResponse;
    const KEY: ApiKey = ApiKey::InitProducerId;

    async fn handle(call: Call, request: InitProducerIdRequest) -> Reply<InitProducerIdResponse> {
        let given = match &request.transactional_id {
            Some(id) => init(&call, id, &request).await,
            None => {
                let id = call.server.broker.new_producer_id().await;
                id.map(|producer_id| ProducerInstance { producer_id, epoch: 0 }).map_err(|error| code(&error))
            }
        };
        let (error, (id, epoch)) = match given {
            Ok(producer) => (0, (producer.producer_id, producer.epoch)),
            Err(error) => (error.code(), NONE),
        };
        InitProducerIdResponse::default()
            .with_error_code(error)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch)
            .into()
    }
}

async fn init(
    call: &Call,
    id: &str,
    request: &InitProducerIdRequest,
) -> Result<ProducerInstance, ResponseError> {
    let expected = match (*request.producer_id, request.producer_epoch) {
        NONE => None,
        // One says nothing without the other.
        (0.., 0..) => Some(instance(request.producer_id, request.producer_epoch)),
        _ => return Err(ResponseError::InvalidRequest),
    };
    let timeout = Duration::from_millis(u64::try_from(request.transaction_timeout_ms).unwrap_or(0));
    let initialised = call.server.broker.transactions().init(id, timeout, expected).await;
    initialised.map_err(|error| transaction_code(&error, call.version >= FENCED_FROM))
}
