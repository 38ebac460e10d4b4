//! The routes: each takes one round of snapshots and renders it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::assets::{ASSETS, shell};
use super::errors::Errors;
use super::events::{Events, events};
use super::guard::{self, AllowedHosts};
use super::observer::Observer;
use super::state::{self, Asked};
use super::{Snapshots, api, exposition};

type Source = State<Arc<dyn Snapshots>>;

/// All routes behind the guard. The streams of events end once the sender of `stop` goes.
pub(super) fn router(
    snapshots: Arc<dyn Snapshots>,
    observer: Arc<Observer>,
    hosts: AllowedHosts,
    stop: watch::Receiver<()>,
) -> Router {
    let streams = Router::new().route("/api/v1/events", get(events)).with_state(Events::new(
        Arc::clone(&snapshots),
        Arc::clone(&observer),
        stop,
    ));
    let observing = super::observing::router(Arc::clone(&snapshots), observer);
    Router::new()
        .route("/", get(async || Html(shell())))
        .route("/assets/{*name}", get(asset))
        .route("/api/v1/topology/summary", get(summary))
        .route("/api/v1/topology/{id}", get(topology))
        .route("/api/v1/topology/{id}/errors", get(errors_of))
        .route("/api/state", get(states))
        .route("/api/state/{component}/{state}", get(state_of))
        .route("/metrics", get(metrics))
        .with_state(snapshots)
        .merge(streams)
        .merge(observing)
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(Arc::new(hosts), guard::admit))
}

async fn nothing() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is no such page; begin at /\n")
}

async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => ([(header::CONTENT_TYPE, asset.content_type)], asset.body).into_response(),
        None => nothing().await.into_response(),
    }
}

async fn summary(State(source): Source) -> Json<api::Summaries> {
    Json(api::Summaries::of(&source.snapshots()))
}

async fn topology(State(source): Source, Path(id): Path<String>) -> Response {
    match source.snapshots().iter().find(|snapshot| *snapshot.id == *id) {
        Some(snapshot) => Json(api::TopologyPage::of(snapshot, now_ms())).into_response(),
        None => (StatusCode::NOT_FOUND, Json(api::Unknown::topology(&id))).into_response(),
    }
}

async fn errors_of(State(source): Source, Path(id): Path<String>) -> Response {
    match source.snapshots().iter().find(|snapshot| *snapshot.id == *id) {
        Some(snapshot) => Json(Errors::of(snapshot, &source.causes(&id), now_ms())).into_response(),
        None => (StatusCode::NOT_FOUND, Json(api::Unknown::topology(&id))).into_response(),
    }
}

async fn states(State(source): Source) -> Json<state::States> {
    Json(state::States::of(&source.states()))
}

async fn state_of(
    State(source): Source,
    Path((component, state)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    state::answer(&source.states(), &component, &state, asked).await
}

async fn metrics(State(source): Source) -> Response {
    match exposition::render(&*source) {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; see the log\n")
                .into_response()
        }
    }
}

/// Milliseconds since 1970, to say how long ago an error was; 0 on a clock set before that.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
