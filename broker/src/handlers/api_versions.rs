//! ApiVersions: what is spoken, and in which versions.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::Handler;
use crate::server::{APIS, Call, Reply, advertised};

/// The API.
pub(crate) struct ApiVersions;

impl Handler for ApiVersions {
    type Request = ApiVersionsRequest;
    type Response = ApiVersionsResponse;
    const KEY: ApiKey = ApiKey::ApiVersions;

    fn handle(
        _call: Call,
        _request: ApiVersionsRequest,
    ) -> impl Future<Output = Reply<ApiVersionsResponse>> + Send + 'static {
        // No finalized features: their epoch stays -1, by which clients know not to look for them.
        std::future::ready(ApiVersionsResponse::default().with_api_keys(keys()).into())
    }
}

/// The answer to a version that is not served, in version 0: error 35, and what is.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(keys())
}

fn keys() -> Vec<ApiVersion> {
    let entry = |api| {
        let versions = advertised(api)?;
        let entry = ApiVersion::default().with_api_key(api.key);
        Some(entry.with_min_version(versions.first).with_max_version(versions.last))
    };
    APIS.iter().filter_map(entry).collect()
}
