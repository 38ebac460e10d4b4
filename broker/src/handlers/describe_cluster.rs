//! DescribeCluster: the one node, and how the cluster is called.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::code::code;
use super::{Handler, NODE_ID, text};
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct DescribeCluster;

impl Handler for DescribeCluster {
    type Request = DescribeClusterRequest;
    type Response = DescribeClusterResponse;
    const KEY: ApiKey = ApiKey::DescribeCluster;

    async fn handle(call: Call, _request: DescribeClusterRequest) -> Reply<DescribeClusterResponse> {
        let response = DescribeClusterResponse::default().with_controller_id(BrokerId(NODE_ID));
        let node = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(NODE_ID))
            .with_host(text(call.peer.node.host.clone()))
            .with_port(call.peer.node.port.into());
        match call.server.broker.cluster_id().await {
            Ok(id) => response.with_cluster_id(text(&*id)).with_brokers(vec![node]).into(),
            Err(error) => {
                let refused = response.with_error_code(code(&error).code());
                refused.with_error_message(Some(text(error.to_string()))).into()
            }
        }
    }
}
