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

use super::refusal::refuse;

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
    /// Of the serialized keys and values as they were last flushed; `null` where they are kept nowhere.
    bytes: Option<u64>,
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
            bytes: info.bytes,
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

/// A tuple or a value in MessagePack as JSON; `null` where it cannot be read.
pub(super) fn shown(bytes: &[u8]) -> Value {
    rmp_serde::from_slice(bytes).map_or(Value::Null, |Shown(value)| value)
}

/// A value as JSON: keys of maps as text, and bytes as text where they are that, else as numbers.
pub(super) struct Shown(pub(super) Value);

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use topo_core::schedule::TokioScheduler;
    use topo_core::state::{MapState, State};
    use topo_core::{Bolt, Config, Emitter, Fail, Fault, Running, TaskContext, Topology};

    use super::*;
    use crate::status::StatusServer;
    use crate::status::tests::{get, get_json};
    use crate::testing::given;

    /// Keeps what it gets in a state of each kind.
    #[derive(Default)]
    struct Keep {
        counts: Option<State<u64, String>>,
        maps: Option<MapState<(String, u8), u64, f64>>,
    }

    impl Bolt for Keep {
        type In = u64;
        type Out = ();

        async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
            self.counts = Some(task.state("counts").await?);
            self.maps = Some(task.map_state("maps").await?);
            Ok(())
        }

        async fn execute(&mut self, number: u64, _: &mut Emitter<()>) -> Result<(), Fail> {
            self.counts.as_mut().unwrap().put(number, format!("<{number}>"))?;
            self.maps.as_mut().unwrap().put(&("a&b".to_owned(), 1), number, 0.5)?;
            Ok(())
        }
    }

    async fn running() -> Running {
        let topology = Topology::new("keep");
        let numbers = topology.spout("numbers", given([1_u64, 2]));
        topology.bolt("keep", Keep::default).global(&numbers);
        let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await.unwrap();
        running.finished().await;
        running
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn states_are_listed_and_asked_by_keys_in_json() {
        let running = running().await;
        let server = StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(running.clone())).unwrap();
        let at = server.local_addr();
        let listed = get_json(at, "/api/state");
        let counts = json!({
            "topology": running.id(), "component": "keep", "state": "counts", "entries": 2, "bytes": null, "changelog": null,
        });
        assert_eq!(listed["states"][0], counts);
        let answer = get_json(at, "/api/state/keep/counts?key=2");
        assert_eq!((&answer["found"], &answer["value"]), (&true.into(), &"<2>".into()));
        let answer = get_json(at, "/api/state/keep/counts?key=3");
        assert_eq!((&answer["found"], &answer["value"]), (&false.into(), &Value::Null));
        let answer = get_json(at, "/api/state/keep/maps?key=%5B%22a%26b%22%2C1%5D");
        assert_eq!(answer["value"], json!({ "1": 0.5, "2": 0.5 }));
        for (path, status, sentence) in [
            ("keep/none?key=1", 404, "there is no state `none` of `keep`"),
            ("numbers/counts?key=1", 404, "there is no state `counts` of `numbers`"),
            ("keep/counts?key=1&topology=other", 404, "there is no state"),
            ("keep/counts?key=to", 400, "state `counts` has keys of another type"),
            ("keep/counts", 400, "missing field `key`"),
        ] {
            let answer = get(at, &format!("/api/state/{path}"));
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
            assert!(answer.body.contains(sentence), "{path}: {}", answer.body);
        }
        running.kill(Duration::from_secs(10)).await.unwrap();
        assert_eq!(get(at, "/api/state/keep/counts?key=1").status, 503);
        server.shutdown().await;
    }

    #[test]
    fn every_value_in_message_pack_is_shown() {
        let mixed: (BTreeMap<u8, bool>, Option<u8>, f64, i64, Vec<f64>) =
            ([(7, true)].into(), None, f64::INFINITY, -1, vec![1.5]);
        let Shown(value) = rmp_serde::from_slice(&rmp_serde::to_vec(&mixed).unwrap()).unwrap();
        assert_eq!(value, json!([{ "7": true }, null, "inf", -1, [1.5]]));
        for (bytes, shown) in [(&b"text"[..], json!("text")), (b"\xff\x00", json!([255, 0]))] {
            let mut form = vec![0xc4, bytes.len() as u8];
            form.extend(bytes);
            let Shown(value) = rmp_serde::from_slice(&form).unwrap();
            assert_eq!(value, shown);
        }
    }
}
