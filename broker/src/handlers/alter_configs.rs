//! AlterConfigs: all settings of topics at once; those that are not named go back to their defaults.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterableConfig;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse, ApiKey};

use super::incremental_alter_configs::{Named, Refusal, alter};
use super::{Handler, text};
use crate::broker::ConfigChange;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct AlterConfigs;

impl Handler for AlterConfigs {
    type Request = AlterConfigsRequest;
    type Response = AlterConfigsResponse;
    const KEY: ApiKey = ApiKey::AlterConfigs;

    async fn handle(call: Call, request: AlterConfigsRequest) -> Reply<AlterConfigsResponse> {
        let mut seen = HashSet::new();
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let is_first = seen.insert((resource.resource_type, resource.resource_name.clone()));
            let named = Named { kind: resource.resource_type, name: &resource.resource_name, is_first };
            let altered = alter(&call, named, change(&resource.configs), request.validate_only).await;
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
                .with_error_message(None);
            responses.push(match altered {
                Ok(()) => response,
                Err((code, reason)) => {
                    response.with_error_code(code.code()).with_error_message(Some(text(reason)))
                }
            });
        }
        AlterConfigsResponse::default().with_responses(responses).into()
    }
}

fn change(configs: &[AlterableConfig]) -> Result<ConfigChange, Refusal> {
    let mut all = BTreeMap::new();
    for config in configs {
        let name = &config.name;
        let Some(value) = &config.value else {
            return Err((ResponseError::InvalidConfig, format!("`{name}` has no value")));
        };
        if all.insert(name.to_string(), value.to_string()).is_some() {
            return Err((ResponseError::InvalidRequest, format!("`{name}` is set more than once")));
        }
    }
    Ok(ConfigChange::All(all))
}
