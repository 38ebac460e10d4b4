//! IncrementalAlterConfigs: single settings of topics.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{ApiKey, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::code::code;
use super::{Handler, text};
use crate::broker::ConfigChange;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct IncrementalAlterConfigs;

/// Resources whose settings can be changed.
const TOPIC: i8 = 2;
/// What can be done to a setting. Adding to a list, and taking from it, needs settings that are lists.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A refusal, and why.
pub(super) type Refusal = (ResponseError, String);

impl Handler for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;
    type Response = IncrementalAlterConfigsResponse;
    const KEY: ApiKey = ApiKey::IncrementalAlterConfigs;

    async fn handle(
        call: Call,
        request: IncrementalAlterConfigsRequest,
    ) -> Reply<IncrementalAlterConfigsResponse> {
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
        IncrementalAlterConfigsResponse::default().with_responses(responses).into()
    }
}

/// A resource as requests name it.
pub(super) struct Named<'a> {
    pub(super) kind: i8,
    pub(super) name: &'a str,
    /// Whether it was not named before in the same request.
    pub(super) is_first: bool,
}

/// Changes a topic's settings, or only checks whether they could be.
pub(super) async fn alter(
    call: &Call,
    resource: Named<'_>,
    change: Result<ConfigChange, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let invalid = |reason: &str| Err((ResponseError::InvalidRequest, reason.to_owned()));
    if !resource.is_first {
        return invalid("the resource is named more than once");
    }
    if resource.kind != TOPIC {
        return invalid(
            "only the settings of topics change while the broker runs; restart it to change its own",
        );
    }
    let (broker, change) = (&call.server.broker, change?);
    let altered = if validate_only {
        broker.check_config(resource.name, &change)
    } else {
        broker.alter_config(resource.name, change).await.map(drop)
    };
    altered.map_err(|error| (code(&error), error.to_string()))
}

fn change(configs: &[AlterableConfig]) -> Result<ConfigChange, Refusal> {
    let mut changes = BTreeMap::new();
    for config in configs {
        let name = &config.name;
        let value = match (config.config_operation, &config.value) {
            (SET, Some(value)) => Some(value.to_string()),
            (SET, None) => {
                return Err((ResponseError::InvalidConfig, format!("`{name}` has no value")));
            }
            (DELETE, _) => None,
            _ => {
                let reason = format!("`{name}` is no list; it can be set, or taken back to its default");
                return Err((ResponseError::InvalidConfig, reason));
            }
        };
        if changes.insert(name.to_string(), value).is_some() {
            return Err((ResponseError::InvalidRequest, format!("`{name}` is changed more than once")));
        }
    }
    Ok(ConfigChange::Incremental(changes))
}
