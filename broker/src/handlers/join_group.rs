//! JoinGroup: a member's place in a group's next generation.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{ApiKey, JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::Handler;
use super::group_code::group_code;
use crate::groups::{GroupError, JoinRequest, Joined, JoinedMember};
use crate::server::{Call, Order, Reply};

/// The API.
pub(crate) struct JoinGroup;

impl Handler for JoinGroup {
    type Request = JoinGroupRequest;
    type Response = JoinGroupResponse;
    const KEY: ApiKey = ApiKey::JoinGroup;
    // So that the connection's end is seen while this waits for other members.
    const ORDER: Order = Order::Pipelined;

    async fn handle(call: Call, request: JoinGroupRequest) -> Reply<JoinGroupResponse> {
        let groups = call.server.broker.groups();
        let group = request.group_id.to_string();
        if let Some(reason) = &request.reason {
            let reason = crate::error::shown(reason);
            tracing::debug!(group, member = %request.member_id.as_str(), reason, "a member joins");
        }
        let member_id = request.member_id.clone();
        let joined = tokio::select! {
            joined = groups.join(&group, join(&call, request)) => joined,
            () = call.ending() => Err(GroupError::Unavailable),
        };
        match joined {
            Ok(joined) => answer(call.version, joined).into(),
            Err(error) => refusal(call.version, member_id, &error).into(),
        }
    }
}

fn join(call: &Call, request: JoinGroupRequest) -> JoinRequest {
    // Version 0 knows only the one.
    let rebalance = if call.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    let protocols = request.protocols.into_iter();
    JoinRequest {
        member_id: arc(&request.member_id),
        instance_id: request.group_instance_id.as_ref().map(arc),
        client_id: arc(&call.client_id),
        client_host: format!("/{}", call.peer.address.ip()).into(),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(rebalance),
        protocol_type: arc(&request.protocol_type),
        protocols: protocols.map(|protocol| (arc(&protocol.name), protocol.metadata)).collect(),
        needs_known_id: call.version >= 4,
        can_skip_assignment: call.version >= 9,
    }
}

/// Text of a message, for keeping.
pub(super) fn arc(text: &StrBytes) -> Arc<str> {
    text.as_str().into()
}

/// Text that was kept, in a message.
pub(super) fn text(text: &Arc<str>) -> StrBytes {
    super::text(&**text)
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn answer(version: i16, joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&member.member_id))
            .with_group_instance_id(member.instance_id.as_ref().map(text))
            .with_metadata(member.metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type((version >= 7).then(|| text(&joined.protocol_type)))
        .with_protocol_name(Some(text(&joined.protocol)))
        .with_leader(text(&joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(&joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}

fn refusal(version: i16, member_id: StrBytes, error: &GroupError) -> JoinGroupResponse {
    let member_id = match error {
        GroupError::MemberIdRequired(id) => text(id),
        _ => member_id,
    };
    JoinGroupResponse::default()
        .with_error_code(group_code(error).code())
        .with_generation_id(-1)
        .with_protocol_name((version < 7).then(StrBytes::default))
        .with_member_id(member_id)
}
