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
use crate::topic::{Setting, SettingKind};

/// The API.
pub(crate) struct DescribeConfigs;

/// What can be described.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value is from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
/// The first version that says of which kind a value is, and what it is for.
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
                        Some(keys) => keys.iter().any(|key| **key == *entry.name),
                        None => true,
                    };
                    let asked = entries.into_iter().filter(is_asked);
                    let shown = asked.map(|entry| entry.show(&call, &request));
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
    name: &'static str,
    value: String,
    /// By Kafka's numbers.
    kind: i8,
    source: i8,
    is_read_only: bool,
    /// What the value would be without the topic's own.
    default: Option<String>,
    doc: Option<&'static str>,
}

/// Kafka's numbers of kinds of values.
const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const DOUBLE: i8 = 6;
const LIST: i8 = 7;

fn entries(
    server: &Shared,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, (ResponseError, String)> {
    match resource.resource_type {
        TOPIC => {
            let settings = server.broker.describe_config(&resource.resource_name);
            let settings = settings.map_err(|error| (code(&error), error.to_string()))?;
            Ok(settings.into_iter().map(Described::from).collect())
        }
        BROKER if resource.resource_name.is_empty() || *resource.resource_name == *NODE_ID.to_string() => {
            Ok(broker_settings(server))
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

impl From<Setting> for Described {
    fn from(setting: Setting) -> Self {
        Self {
            name: setting.name,
            value: setting.value,
            kind: match setting.kind {
                SettingKind::String => STRING,
                SettingKind::Int => INT,
                SettingKind::Long => LONG,
                SettingKind::Double => DOUBLE,
                SettingKind::List => LIST,
            },
            source: if setting.is_set { SOURCE_TOPIC } else { SOURCE_DEFAULT },
            is_read_only: false,
            default: Some(setting.default),
            doc: Some(setting.doc),
        }
    }
}

/// The broker's settings under Kafka's names.
fn broker_settings(server: &Shared) -> Vec<Described> {
    let limits = &server.config.limits;
    let setting = |name, value: String, kind| Described {
        name,
        value,
        kind,
        source: SOURCE_BROKER,
        is_read_only: true,
        default: None,
        doc: None,
    };
    vec![
        setting("auto.create.topics.enable", server.config.auto_create_topics.to_string(), BOOLEAN),
        setting("broker.id", NODE_ID.to_string(), INT),
        setting("connections.max.idle.ms", limits.idle.as_millis().to_string(), LONG),
        setting("default.replication.factor", "1".to_owned(), INT),
        setting("fetch.max.bytes", limits.fetch_bytes.to_string(), INT),
        setting("max.connections", limits.connections.to_string(), INT),
        setting("max.connections.per.ip", limits.connections_per_address.to_string(), INT),
        setting("num.partitions", server.config.default_partitions.to_string(), INT),
        setting("socket.request.max.bytes", limits.request_bytes.to_string(), INT),
    ]
}

impl Described {
    fn show(self, call: &Call, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
        let value = Some(text(self.value));
        let mut shown = DescribeConfigsResourceResult::default()
            .with_name(text(self.name))
            .with_value(value.clone())
            .with_read_only(self.is_read_only)
            .with_config_source(self.source);
        if request.include_synonyms {
            let synonym = |value, source| {
                DescribeConfigsSynonym::default()
                    .with_name(text(self.name))
                    .with_value(value)
                    .with_source(source)
            };
            shown.synonyms.push(synonym(value, self.source));
            if let (SOURCE_TOPIC, Some(default)) = (self.source, self.default) {
                shown.synonyms.push(synonym(Some(text(default)), SOURCE_DEFAULT));
            }
        }
        if call.version >= KIND_FROM {
            shown.config_type = self.kind;
            shown.documentation = self.doc.filter(|_| request.include_documentation).map(text);
        }
        shown
    }
}
