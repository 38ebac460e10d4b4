//! DescribeGroups: where groups stand, and who is in them.

use std::collections::HashSet;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::Handler;
use super::group_code::group_code;
use super::join_group::text;
use crate::groups::{Groups, MemberDescription};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct DescribeGroups;

impl Handler for DescribeGroups {
    type Request = DescribeGroupsRequest;
    type Response = DescribeGroupsResponse;
    const KEY: ApiKey = ApiKey::DescribeGroups;

    fn handle(
        call: Call,
        request: DescribeGroupsRequest,
    ) -> impl Future<Output = Reply<DescribeGroupsResponse>> + Send + 'static {
        let groups = call.server.broker.groups();
        let mut seen = HashSet::new();
        let asked = request.groups.into_iter().filter(|group| seen.insert(group.clone()));
        let described = asked.map(|group| describe(&groups, group)).collect();
        std::future::ready(DescribeGroupsResponse::default().with_groups(described).into())
    }
}

fn describe(groups: &Groups, id: GroupId) -> DescribedGroup {
    let described = groups.describe(&id);
    let response = DescribedGroup::default().with_group_id(id);
    let group = match described {
        Ok(group) => group,
        Err(error) => return response.with_error_code(group_code(&error).code()),
    };
    response
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(text(&group.protocol_type))
        .with_protocol_data(text(&group.protocol))
        .with_members(group.members.into_iter().map(member).collect())
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(&member.member_id))
        .with_group_instance_id(member.instance_id.as_ref().map(text))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
