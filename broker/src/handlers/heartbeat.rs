//! Heartbeat: a member lives, and learns whether its group rebalances.

use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};

use super::Handler;
use super::group_code::result_code;
use super::join_group::arc;
use crate::groups::Claim;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct Heartbeat;

impl Handler for Heartbeat {
    type Request = HeartbeatRequest;
    type Response = HeartbeatResponse;
    const KEY: ApiKey = ApiKey::Heartbeat;

    fn handle(
        call: Call,
        request: HeartbeatRequest,
    ) -> impl Future<Output = Reply<HeartbeatResponse>> + Send + 'static {
        let claim = Claim {
            member_id: arc(&request.member_id),
            instance_id: request.group_instance_id.as_ref().map(arc),
            generation: request.generation_id,
        };
        let heard = call.server.broker.groups().heartbeat(&request.group_id, &claim);
        std::future::ready(HeartbeatResponse::default().with_error_code(result_code(&heard)).into())
    }
}
