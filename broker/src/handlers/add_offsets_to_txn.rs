//! AddOffsetsToTxn: a group whose offsets the producer is about to commit with its transaction.

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey};

use super::Handler;
use super::transaction_code::{instance, result_code};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct AddOffsetsToTxn;

/// The first version whose clients know a producer that was fenced.
const FENCED_FROM: i16 = 2;

impl Handler for AddOffsetsToTxn {
    type Request = AddOffsetsToTxnRequest;
    type Response = AddOffsetsToTxnResponse;
    const KEY: ApiKey = ApiKey::AddOffsetsToTxn;

    async fn handle(call: Call, request: AddOffsetsToTxnRequest) -> Reply<AddOffsetsToTxnResponse> {
        let producer = instance(request.producer_id, request.producer_epoch);
        let transactions = call.server.broker.transactions();
        let added = transactions.add_offsets(&request.transactional_id, producer, &request.group_id).await;
        let code = result_code(&added, call.version >= FENCED_FROM);
        AddOffsetsToTxnResponse::default().with_error_code(code).into()
    }
}
