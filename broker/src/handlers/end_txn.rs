//! EndTxn: the producer's transaction is committed or aborted.

use kafka_protocol::messages::{ApiKey, EndTxnRequest, EndTxnResponse};
use topo_protocol::TransactionResult;

use super::Handler;
use super::transaction_code::{instance, result_code};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct EndTxn;

/// The first version whose clients know a producer that was fenced.
const FENCED_FROM: i16 = 2;

impl Handler for EndTxn {
    type Request = EndTxnRequest;
    type Response = EndTxnResponse;
    const KEY: ApiKey = ApiKey::EndTxn;

    async fn handle(call: Call, request: EndTxnRequest) -> Reply<EndTxnResponse> {
        let result = if request.committed { TransactionResult::Commit } else { TransactionResult::Abort };
        let producer = instance(request.producer_id, request.producer_epoch);
        let ended = call.server.broker.transactions().end(&request.transactional_id, producer, result).await;
        EndTxnResponse::default().with_error_code(result_code(&ended, call.version >= FENCED_FROM)).into()
    }
}
