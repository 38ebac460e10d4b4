//! FindCoordinator: who looks after a group or a transactional id; it is always this broker.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Handler, NODE_ID};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct FindCoordinator;

/// Groups, and transactional ids.
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

impl Handler for FindCoordinator {
    type Request = FindCoordinatorRequest;
    type Response = FindCoordinatorResponse;
    const KEY: ApiKey = ApiKey::FindCoordinator;

    fn handle(
        call: Call,
        request: FindCoordinatorRequest,
    ) -> impl Future<Output = Reply<FindCoordinatorResponse>> + Send + 'static {
        std::future::ready(find(&call, request).into())
    }
}

fn find(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let node = &call.peer.node;
    let host = StrBytes::from_string(node.host.clone());
    let known = KEY_TYPES.contains(&request.key_type);
    let error = if known { 0 } else { ResponseError::InvalidRequest.code() };
    let response = FindCoordinatorResponse::default();
    if call.version < 4 {
        let response = response.with_error_code(error);
        if !known {
            return response.with_node_id(BrokerId(-1)).with_port(-1);
        }
        return response.with_node_id(BrokerId(NODE_ID)).with_host(host).with_port(node.port.into());
    }
    let coordinator = |key| {
        let coordinator = Coordinator::default().with_key(key).with_error_code(error);
        if !known {
            return coordinator.with_node_id(BrokerId(-1)).with_port(-1);
        }
        coordinator.with_node_id(BrokerId(NODE_ID)).with_host(host.clone()).with_port(node.port.into())
    };
    response.with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}
