//! Taps as JSON: the last tuples of an edge, while somebody looks.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use topo_core::Running;
use topo_core::tap::{TapFilter, TapView, Tapped};

use super::api::Unknown;
use super::refusal::refuse;
use super::state;

/// How long a tap stays on after it was asked last.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a filter's text may be.
const MOST_FILTER: usize = 256;

/// What is asked for: `POST /api/v1/topology/{id}/taps`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// The edge, by its place in the topology's `edges`.
    edge: usize,
    /// Only tuples whose JSON holds this text, in capitals or not; all where it is empty.
    #[serde(default)]
    filter: String,
}

/// What a tap has seen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tap {
    edge: usize,
    on: bool,
    seen: u64,
    looked: u64,
    matched: u64,
    /// The newest first.
    tuples: Vec<Tuple>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tuple {
    number: u64,
    ago_ms: f64,
    /// The tree's root where it has one, and whether its hops are recorded.
    root: Option<String>,
    traced: bool,
    value: Value,
    value_kept: bool,
}

/// Switches a tap on.
pub(super) fn switch_on(running: &Running, wish: &Wish) -> Response {
    if wish.filter.len() > MOST_FILTER {
        let sentence = format!("a filter has at most {MOST_FILTER} bytes");
        return refuse(StatusCode::BAD_REQUEST, sentence);
    }
    match running.tap(wish.edge, filter(&wish.filter), PATIENCE) {
        true => Json(Tap::of(running, wish.edge)).into_response(),
        false => missing(wish.edge),
    }
}

/// Switches a tap off.
pub(super) fn switch_off(running: &Running, edge: usize) -> Response {
    if running.tapped(edge, Duration::ZERO).is_none() {
        return missing(edge);
    }
    running.untap(edge);
    Json(Tap::of(running, edge)).into_response()
}

fn missing(edge: usize) -> Response {
    Unknown::thing(unknown(edge)).into_response()
}

/// Says that there is no such edge.
pub(super) fn unknown(edge: usize) -> String {
    format!("there is no edge {edge}; the topology's `edges` are counted from 0")
}

/// Lets through what holds `text` when it is written as JSON.
fn filter(text: &str) -> Option<TapFilter> {
    if text.is_empty() {
        return None;
    }
    let text = text.to_lowercase();
    Some(Arc::new(move |value: &[u8]| state::shown(value).to_string().to_lowercase().contains(&text)))
}

impl Tap {
    /// What the tap of `edge` has seen; it stays on because it was asked. `None` where there is no such edge.
    pub(super) fn of(running: &Running, edge: usize) -> Option<Self> {
        let TapView { on, seen, looked, matched, tuples } = running.tapped(edge, PATIENCE)?;
        let now = running.now();
        let one = |tapped: &Tapped| Tuple {
            number: tapped.number,
            ago_ms: now.since(tapped.at).as_nanos() as f64 / 1e6,
            root: (tapped.root != topo_core::ledger::RootId::UNTRACKED)
                .then(|| format!("{:016x}", tapped.root.as_u64())),
            traced: tapped.root.traced(),
            value: state::shown(&tapped.value),
            value_kept: !tapped.value.is_empty(),
        };
        Some(Self { edge, on, seen, looked, matched, tuples: tuples.iter().rev().map(one).collect() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_looks_at_the_tuple_as_json_whatever_its_case() {
        let tuple = rmp_serde::to_vec_named(&json!({ "word": "Größe", "count": 17 })).unwrap();
        for (text, passes) in [("grÖSSe", false), ("GRÖßE", true), ("\"count\":17", true), ("18", false)] {
            assert_eq!(filter(text).unwrap()(&tuple), passes, "{text}");
        }
        assert!(filter("").is_none());
        assert!(!filter("x").unwrap()(&[0xc1, 0xff]), "what cannot be read passes no filter");
    }
}
