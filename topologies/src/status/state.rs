//! Keyed states as JSON: which there are, and the value of a key.
//!
//! Invariant: an answer comes within a few seconds, however busy the task that has the key is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use topo_core::state::{QueryError, StateHub};

/// How long a task may take to come to an end with its batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer of `/api/state`.
#[derive(Serialize)]
pub(super) struct States {
    states: Vec<StateSummary>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateSummary {
    topology: Arc<str>,
    component: Arc<str>,
    state: Arc<str>,
    /// How many values it has.
    entries: u64,
    /// `null` where it is kept nowhere.
    changelog: Option<Arc<str>>,
}

impl States {
    pub(super) fn of(hubs: &[(Arc<str>, StateHub)]) -> Self {
        let all = hubs.iter().flat_map(|(id, hub)| hub.states().into_iter().map(move |info| (id, info)));
        let summary = |(id, info): (&Arc<str>, topo_core::state::StateInfo)| StateSummary {
            topology: Arc::clone(id),
            component: info.component,
            state: info.state,
            entries: info.len,
            changelog: info.changelog,
        };
        Self { states: all.map(summary).collect() }
    }
}

/// What is asked of a state.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// The key: JSON, or else text.
    key: String,
    /// The topology's id, where several run here.
    topology: Option<String>,
}

/// Answers what the value of a key is.
pub(super) async fn answer(
    hubs: &[(Arc<str>, StateHub)],
    component: &str,
    state: &str,
    asked: Asked,
) -> Response {
    let Asked { key, topology } = asked;
    let has = |hub: &StateHub| {
        hub.states().iter().any(|info| *info.component == *component && *info.state == *state)
    };
    let is_asked = |id: &str| topology.as_deref().is_none_or(|asked| asked == id);
    let Some((id, hub)) = hubs.iter().find(|(id, hub)| is_asked(id) && has(hub)) else {
        let sentence =
            format!("there is no state `{state}` of `{component}`; /api/state says which there are");
        return refuse(StatusCode::NOT_FOUND, sentence);
    };
    match tokio::time::timeout(PATIENCE, hub.get(state, &ways(&key))).await {
        Ok(Ok(value)) => match value.as_deref().map(rmp_serde::from_slice::<Shown>).transpose() {
            Ok(value) => Json(json!({
                "topology": id, "component": component, "state": state, "key": key,
                "found": value.is_some(), "value": value.map(|Shown(value)| value),
            }))
            .into_response(),
            Err(error) => {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("the value cannot be shown: {error}"))
            }
        },
        Ok(Err(error)) => refuse(status_of(&error), error.to_string()),
        Err(_) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            format!("the task that has the key is busy for {PATIENCE:?}; ask again"),
        ),
    }
}

/// The ways to understand a key: as the JSON that it is, and as text.
fn ways(key: &str) -> Vec<Vec<u8>> {
    let json = serde_json::from_str::<Value>(key).ok();
    let forms = json.into_iter().chain([Value::from(key)]);
    forms.filter_map(|form| rmp_serde::to_vec_named(&form).ok()).collect()
}

fn status_of(error: &QueryError) -> StatusCode {
    match error {
        QueryError::NoSuchState { .. } => StatusCode::NOT_FOUND,
        QueryError::NoSuchKey(_) => StatusCode::BAD_REQUEST,
        QueryError::Ended => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refuse(status: StatusCode, sentence: String) -> Response {
    (status, Json(json!({ "error": sentence }))).into_response()
}

/// A value as JSON: keys of maps as text, and bytes as text where they are that, else as numbers.
struct Shown(Value);

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShownVisitor).map(Self)
    }
}

struct ShownVisitor;

impl<'de> Visitor<'de> for ShownVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in MessagePack")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // JSON has no such number as infinity.
        Ok(serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::from))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(std::str::from_utf8(value).map_or_else(|_| value.into(), Value::from))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Shown(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((Shown(key), Shown(value))) = map.next_entry()? {
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            values.insert(key, value);
        }
        Ok(values.into())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}
