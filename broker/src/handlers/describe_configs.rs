//! DescribeConfigs: the settings of topics, and of the broker.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};

use super::code::code;
use super::{Handler, NODE_ID, text};
use crate::server::{Call, Reply, Shared};
use crate::topic::{ConfigEntry, ConfigKind};

/// The API.
pub(crate) struct DescribeConfigs;

/// What can be described.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value is from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
/// The first version that says of which kind a value is.
const KIND_FROM: i16 = 3;

impl Handler for DescribeConfigs {
    type Request = DescribeConfigsRequest;
    type Response = DescribeConfigsResponse;
    const KEY: ApiKey = ApiKey::DescribeConfigs;

    async fn handle(call: Call, request: DescribeConfigsRequest) -> Reply<DescribeConfigsResponse> {
        let describe = |resource: &DescribeConfigsResource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match entries(&call.server, resource) {
                Ok(entries) => {
                    let is_asked = |entry: &Described| match &resource.configuration_keys {
                        Some(keys) => keys.iter().any(|key| **key == *entry.entry.key),
                        None => true,
                    };
                    let asked = entries.into_iter().filter(is_asked);
                    let shown = asked.map(|entry| entry.show(call.version, request.include_synonyms));
                    result.with_configs(shown.collect())
                }
                Err((code, reason)) => {
                    result.with_error_code(code.code()).with_error_message(Some(text(reason)))
                }
            }
        };
        let results = request.resources.iter().map(describe).collect();
        DescribeConfigsResponse::default().with_results(results).into()
    }
}

/// A setting, and where its value is from.
struct Described {
    entry: ConfigEntry,
    source: i8,
    is_read_only: bool,
}

fn entries(
    server: &Shared,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, (ResponseError, String)> {
    match resource.resource_type {
        TOPIC => {
            let topic = server.broker.topic(&resource.resource_name);
            let topic = topic.map_err(|error| (code(&error), error.to_string()))?;
            let describe = |entry: ConfigEntry| {
                let is_own = topic.config_overrides().contains_key(entry.key);
                let source = if is_own { SOURCE_TOPIC } else { SOURCE_DEFAULT };
                Described { entry, source, is_read_only: false }
            };
            Ok(topic.config().entries().into_iter().map(describe).collect())
        }
        BROKER if resource.resource_name.is_empty() || *resource.resource_name == *NODE_ID.to_string() => {
            let describe = |entry| Described { entry, source: SOURCE_BROKER, is_read_only: true };
            Ok(broker_entries(server).into_iter().map(describe).collect())
        }
        BROKER => {
            let reason = format!("there is one broker, {NODE_ID}");
            Err((ResponseError::InvalidRequest, reason))
        }
        other => {
            let reason =
                format!("resources of type {other} have no settings here; topics and the broker have");
            Err((ResponseError::InvalidRequest, reason))
        }
    }
}

/// The broker's settings under Kafka's names.
fn broker_entries(server: &Shared) -> Vec<ConfigEntry> {
    let limits = &server.config.limits;
    let entry = |key, value: String, kind| ConfigEntry { key, value, kind };
    vec![
        entry("auto.create.topics.enable", server.config.auto_create_topics.to_string(), ConfigKind::Boolean),
        entry("broker.id", NODE_ID.to_string(), ConfigKind::Int),
        entry("connections.max.idle.ms", limits.idle.as_millis().to_string(), ConfigKind::Long),
        entry("default.replication.factor", "1".to_owned(), ConfigKind::Int),
        entry("fetch.max.bytes", limits.fetch_bytes.to_string(), ConfigKind::Int),
        entry("max.connections", limits.connections.to_string(), ConfigKind::Int),
        entry("max.connections.per.ip", limits.connections_per_address.to_string(), ConfigKind::Int),
        entry("num.partitions", server.config.default_partitions.to_string(), ConfigKind::Int),
        entry("socket.request.max.bytes", limits.request_bytes.to_string(), ConfigKind::Int),
    ]
}

impl Described {
    fn show(self, version: i16, with_synonyms: bool) -> DescribeConfigsResourceResult {
        let Self { entry, source, is_read_only } = self;
        let value = Some(text(entry.value));
        let shown = DescribeConfigsResourceResult::default()
            .with_name(text(entry.key))
            .with_value(value.clone())
            .with_read_only(is_read_only)
            .with_config_source(source);
        let shown = if with_synonyms {
            let synonym = DescribeConfigsSynonym::default().with_name(text(entry.key)).with_value(value);
            shown.with_synonyms(vec![synonym.with_source(source)])
        } else {
            shown
        };
        if version >= KIND_FROM { shown.with_config_type(entry.kind as i8) } else { shown }
    }
}
