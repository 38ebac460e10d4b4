//! What may be done to a topology that runs: paused, resumed, killed, its dead letters replayed, a group's offsets reset, and
//! the level of its log set for a time.
//!
//! Invariant: who may act is decided before anything here is reached; see `access.rs`. What is done is logged.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use topo_connectors::dead_letters::{Fate, Letter, Letters, Replay};
use topo_core::Running;
use topo_core::log::{Log, LogError, TopicPartition};
use topo_core::metrics::TopologyStatus;

use super::Snapshots;
use super::api::Unknown;
use super::log::{Reset, ResetError, reset};
use super::refusal::{InBody, InPath, log_refuses, refuse};
use crate::logging::{self, LevelError};

type Source = State<Arc<dyn Snapshots>>;

/// The longest wait that a kill is given.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// The longest time for which the log's level is set.
const LONGEST_LEVEL: Duration = Duration::from_hours(24);
/// Letters that are replayed for one request; whoever wants more asks again.
const MOST_LETTERS: u64 = 10_000;
/// Letters that are named because they could not be replayed; the others are counted.
const NAMED: usize = 20;

/// As Storm's REST API answers what was done to a topology.
fn done(operation: &str, id: &str) -> Response {
    tracing::info!(operation, id, "done from the page");
    Json(json!({ "topologyOperation": operation, "topologyId": id, "status": "success" })).into_response()
}

/// Pauses or resumes a topology, unless it is ending.
fn steer(source: &dyn Snapshots, id: &str, operation: &str, act: impl FnOnce(&Running)) -> Response {
    let Some(running) = source.running(id) else { return Unknown::topology(id).into_response() };
    if running.snapshot().status == TopologyStatus::Killed {
        let sentence = format!("`{id}` is ending, and its spouts stay paused; run it again for what is left");
        return refuse(StatusCode::CONFLICT, sentence);
    }
    act(&running);
    done(operation, id)
}

/// `POST …/deactivate`: pauses the spouts; what is in flight goes on.
pub(super) async fn deactivate(State(source): Source, InPath(id): InPath<String>) -> Response {
    steer(&*source, &id, "deactivate", Running::deactivate)
}

/// `POST …/activate`: resumes the spouts.
pub(super) async fn activate(State(source): Source, InPath(id): InPath<String>) -> Response {
    steer(&*source, &id, "activate", Running::activate)
}

/// `POST …/kill/{wait}`: pauses the spouts, gives open trees so many seconds to complete, and stops. Asked again, it stops
/// when the first of the waits is over.
pub(super) async fn kill(State(source): Source, InPath((id, wait)): InPath<(String, String)>) -> Response {
    let seconds = wait.parse().ok().map(Duration::from_secs).filter(|wait| *wait <= LONGEST_WAIT);
    let Some(wait) = seconds else {
        return refuse(StatusCode::BAD_REQUEST, "a wait is a whole number of seconds, up to 86400");
    };
    if source.running(&id).is_none() {
        return Unknown::topology(&id).into_response();
    }
    if source.kill(&id, wait) {
        done("kill", &id)
    } else {
        refuse(StatusCode::CONFLICT, "this program ends its topology by itself, and is not told to from here")
    }
}

/// Which letters are fed in again.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplayAsked {
    /// The topic of dead letters.
    topic: String,
    /// This partition only.
    partition: Option<u32>,
    /// This letter only, which leaves alone how far the others are replayed.
    offset: Option<i64>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplayTold {
    replayed: u64,
    /// Letters that stay what they are.
    left: u64,
    /// Why, for the first of them.
    reasons: Vec<String>,
    /// Whether there are more: ask again.
    more: bool,
}

/// `POST /api/v1/replay`: feeds dead letters in again, one, or all that no replay has come to.
pub(super) async fn replay(State(source): Source, InBody(asked): InBody<ReplayAsked>) -> Response {
    if asked.offset.is_some() && asked.partition.is_none() {
        return refuse(StatusCode::BAD_REQUEST, "an offset belongs to a partition; say which");
    }
    let Some(log) = source.log() else { return log_refuses(&LogError::Closed) };
    match replay_letters(&*log, &asked).await {
        Ok(told) => {
            let ReplayTold { replayed, left, .. } = told;
            tracing::info!(topic = asked.topic, replayed, left, "dead letters were replayed from the page");
            Json(told).into_response()
        }
        Err(error) => log_refuses(&error),
    }
}

async fn replay_letters(log: &dyn Log, asked: &ReplayAsked) -> Result<ReplayTold, LogError> {
    let topic: Arc<str> = asked.topic.as_str().into();
    let info = log.topic(&topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
    let mut told = ReplayTold::default();
    let wanted = |number: &u32| asked.partition.is_none_or(|partition| partition == *number);
    let mut numbers = (0..info.partitions).filter(wanted).peekable();
    if numbers.peek().is_none() {
        let partition = asked.partition.unwrap_or_default();
        return Err(LogError::UnknownPartition(TopicPartition::new(topic, partition)));
    }
    for number in numbers {
        let at = TopicPartition::new(topic.clone(), number);
        let held = log.offsets(&at).await?;
        let room = MOST_LETTERS - told.replayed - told.left;
        let letters = match asked.offset {
            Some(offset) if !(held.log_start..held.high_watermark).contains(&offset) => {
                return Err(LogError::OffsetOutOfRange { at, asked: offset, held });
            }
            Some(offset) => Letters { from: Some(offset), end: offset + 1, most: 1 },
            None => Letters { from: None, end: held.high_watermark, most: room },
        };
        let replay = Replay { leaves_position: asked.offset.is_some(), ..Replay::default() };
        let mut reasons = Vec::new();
        let mut note = |letter: &Letter, fate: &Fate| {
            if let Fate::Left(why) = fate
                && reasons.len() < NAMED
            {
                reasons.push(format!("{at} at {}: {why}", letter.offset()));
            }
        };
        let replayed = replay.run(log, &at, letters, &mut note).await?;
        told.replayed += replayed.replayed;
        told.left += replayed.left;
        told.reasons.extend(reasons);
        told.reasons.truncate(NAMED);
        if asked.offset.is_none() && told.replayed + told.left >= MOST_LETTERS {
            told.more = true;
            break;
        }
    }
    Ok(told)
}

/// `POST /api/v1/group/{group}/reset`: has a group without members go on from elsewhere.
pub(super) async fn reset_group(
    State(source): Source,
    InPath(group): InPath<String>,
    InBody(asked): InBody<Reset>,
) -> Response {
    match reset(&*source, &group, &asked).await {
        Ok(moved) => {
            tracing::info!(group, ?asked, "a group's offsets were reset from the page");
            Json(moved).into_response()
        }
        Err(ResetError::Log(error)) => log_refuses(&error),
        Err(error @ ResetError::NoGroup(_)) => refuse(StatusCode::NOT_FOUND, error.to_string()),
        Err(error @ ResetError::HasMembers(_)) => refuse(StatusCode::CONFLICT, error.to_string()),
        Err(error @ ResetError::NoPlace) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// A level, and for how long.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Level {
    /// A level such as `debug`, or a filter such as `warn,topo_core=debug`.
    level: String,
    seconds: u64,
}

fn level_now() -> Response {
    Json(json!({ "level": logging::current() })).into_response()
}

/// `GET /api/v1/log-level`: what is logged; `null` where the program logs in a way of its own.
pub(super) async fn level() -> Response {
    level_now()
}

/// `POST /api/v1/log-level`: logs more, or less, for a time.
pub(super) async fn set_level(InBody(asked): InBody<Level>) -> Response {
    let Level { level, seconds } = asked;
    let time = Duration::from_secs(seconds);
    if time.is_zero() || time > LONGEST_LEVEL {
        return refuse(StatusCode::BAD_REQUEST, "a level is set for 1 to 86400 seconds");
    }
    let set = logging::set_for(&level, time);
    tracing::info!(level, seconds, is_set = set.is_ok(), "the log's level was set from the page");
    level_set(set)
}

/// `DELETE /api/v1/log-level`: logs as the environment asks again.
pub(super) async fn reset_level() -> Response {
    tracing::info!("the log's level is set back from the page");
    level_set(logging::reset())
}

fn level_set(set: Result<(), LevelError>) -> Response {
    match set {
        Ok(()) => level_now(),
        Err(error @ LevelError::NotUnderstood(_)) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error @ LevelError::NotOurs) => refuse(StatusCode::CONFLICT, error.to_string()),
    }
}
