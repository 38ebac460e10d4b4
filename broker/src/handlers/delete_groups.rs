//! DeleteGroups: groups without members, and all that they committed.

use std::collections::HashSet;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{ApiKey, DeleteGroupsRequest, DeleteGroupsResponse};

use super::Handler;
use super::group_code::result_code;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct DeleteGroups;

impl Handler for DeleteGroups {
    type Request = DeleteGroupsRequest;
    type Response = DeleteGroupsResponse;
    const KEY: ApiKey = ApiKey::DeleteGroups;

    async fn handle(call: Call, request: DeleteGroupsRequest) -> Reply<DeleteGroupsResponse> {
        let groups = call.server.broker.groups();
        let mut seen = HashSet::new();
        let mut results = Vec::new();
        for group in request.groups_names.into_iter().filter(|group| seen.insert(group.clone())) {
            let code = result_code(&groups.delete(&group).await);
            results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(code));
        }
        DeleteGroupsResponse::default().with_results(results).into()
    }
}
