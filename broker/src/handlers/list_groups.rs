//! ListGroups: which groups there are, of the states asked for.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ApiKey, GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::Handler;
use super::group_code::group_code;
use super::join_group::text;
use crate::groups::GroupListing;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct ListGroups;

impl Handler for ListGroups {
    type Request = ListGroupsRequest;
    type Response = ListGroupsResponse;
    const KEY: ApiKey = ApiKey::ListGroups;

    fn handle(
        call: Call,
        request: ListGroupsRequest,
    ) -> impl Future<Output = Reply<ListGroupsResponse>> + Send + 'static {
        let response = ListGroupsResponse::default();
        let wanted = |group: &GroupListing| {
            let mut states = request.states_filter.iter();
            request.states_filter.is_empty()
                || states.any(|state| state.eq_ignore_ascii_case(group.state.name()))
        };
        let listed = |group: GroupListing| {
            let listed = ListedGroup::default()
                .with_group_id(GroupId(text(&group.group)))
                .with_protocol_type(text(&group.protocol_type));
            if call.version < 4 {
                return listed;
            }
            listed.with_group_state(StrBytes::from_static_str(group.state.name()))
        };
        let response = match call.server.broker.groups().list() {
            Ok(groups) => response.with_groups(groups.into_iter().filter(wanted).map(listed).collect()),
            Err(error) => response.with_error_code(group_code(&error).code()),
        };
        std::future::ready(response.into())
    }
}
