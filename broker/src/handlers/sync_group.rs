//! SyncGroup: a member's assignment; the leader brings all of them.

use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};

use super::Handler;
use super::group_code::group_code;
use super::join_group::{arc, text};
use crate::groups::{Claim, GroupError, SyncRequest};
use crate::server::{Call, Order, Reply};

/// The API.
pub(crate) struct SyncGroup;

impl Handler for SyncGroup {
    type Request = SyncGroupRequest;
    type Response = SyncGroupResponse;
    const KEY: ApiKey = ApiKey::SyncGroup;
    // So that the connection's end is seen while this waits for other members.
    const ORDER: Order = Order::Pipelined;

    async fn handle(call: Call, request: SyncGroupRequest) -> Reply<SyncGroupResponse> {
        let groups = call.server.broker.groups();
        let group = request.group_id.to_string();
        let assignments = request.assignments.into_iter();
        let sync = SyncRequest {
            claim: Claim {
                member_id: arc(&request.member_id),
                instance_id: request.group_instance_id.as_ref().map(arc),
                generation: request.generation_id,
            },
            protocol_type: request.protocol_type.as_ref().map(arc),
            protocol: request.protocol_name.as_ref().map(arc),
            assignments: assignments.map(|given| (arc(&given.member_id), given.assignment)).collect(),
        };
        let synced = tokio::select! {
            synced = groups.sync(&group, sync) => synced,
            () = call.ending() => Err(GroupError::Unavailable),
        };
        let response = SyncGroupResponse::default();
        let response = match synced {
            Ok(synced) if call.version >= 5 => response
                .with_protocol_type(Some(text(&synced.protocol_type)))
                .with_protocol_name(Some(text(&synced.protocol)))
                .with_assignment(synced.assignment),
            Ok(synced) => response.with_assignment(synced.assignment),
            Err(error) => response.with_error_code(group_code(&error).code()),
        };
        response.into()
    }
}
