//! InitProducerId: an id for an idempotent producer.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Handler;
use super::code::code;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct InitProducerId;

impl Handler for InitProducerId {
    type Request = InitProducerIdRequest;
    type Response = InitProducerIdResponse;
    const KEY: ApiKey = ApiKey::InitProducerId;

    async fn handle(call: Call, request: InitProducerIdRequest) -> Reply<InitProducerIdResponse> {
        let refused =
            InitProducerIdResponse::default().with_producer_id(ProducerId(-1)).with_producer_epoch(-1);
        if request.transactional_id.is_some() {
            // Transactions are not served; this ends the producer instead of letting it try again for ever.
            return refused.with_error_code(ResponseError::UnsupportedVersion.code()).into();
        }
        match call.server.broker.new_producer_id().await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).into(),
            Err(error) => refused.with_error_code(code(&error).code()).into(),
        }
    }
}
