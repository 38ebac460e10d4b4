//! LeaveGroup: members go, one by its id, or from version 3 on several, static ones by their names.

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{ApiKey, LeaveGroupRequest, LeaveGroupResponse};

use super::Handler;
use super::group_code::{group_code, result_code};
use super::join_group::arc;
use crate::groups::Leaving;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct LeaveGroup;

impl Handler for LeaveGroup {
    type Request = LeaveGroupRequest;
    type Response = LeaveGroupResponse;
    const KEY: ApiKey = ApiKey::LeaveGroup;

    fn handle(
        call: Call,
        request: LeaveGroupRequest,
    ) -> impl Future<Output = Reply<LeaveGroupResponse>> + Send + 'static {
        std::future::ready(leave(&call, request).into())
    }
}

fn leave(call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let one = || vec![MemberIdentity::default().with_member_id(request.member_id.clone())];
    let members = if call.version < 3 { one() } else { request.members };
    for member in &members {
        if let Some(reason) = &member.reason {
            let (reason, member) = (crate::error::shown(reason), member.member_id.as_str());
            tracing::debug!(group = %request.group_id.as_str(), member, reason, "a member leaves");
        }
    }
    let leaving = |member: &MemberIdentity| Leaving {
        member_id: arc(&member.member_id),
        instance_id: member.group_instance_id.as_ref().map(arc),
    };
    let leaving: Vec<Leaving> = members.iter().map(leaving).collect();
    let response = LeaveGroupResponse::default();
    let left = match call.server.broker.groups().leave(&request.group_id, &leaving) {
        Ok(left) => left,
        Err(error) => return response.with_error_code(group_code(&error).code()),
    };
    if call.version < 3 {
        return response.with_error_code(left.first().map_or(0, result_code));
    }
    let answers = members.into_iter().zip(left).map(|(member, left)| {
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(result_code(&left))
    });
    response.with_members(answers.collect())
}
