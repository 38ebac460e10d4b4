//! The routes: all that can be asked, and who answers.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use axum::{Extension, Json, Router};
use tokio::sync::watch;

use super::access::{self, Access, LOGIN};
use super::assets::{ASSETS, OPEN_API, shell};
use super::errors::Errors;
use super::events::{Events, events};
use super::log::{Browse, Full, browse, full};
use super::observer::Observer;
use super::refusal::{InPath, InQuery, log_refuses, refuse};
use super::state::{self, Asked};
use super::{Snapshots, actions, api, exposition, observing};

type Source = State<Arc<dyn Snapshots>>;

/// Bytes of a request's body that are read.
const BODY_BYTES: usize = 64 << 10;

/// A route of the API, as `openapi.json` describes it.
pub(super) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "the description is held to it by a test"))]
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) handler: MethodRouter<Arc<dyn Snapshots>>,
}

/// All that the API answers, but for the stream of events.
pub(super) fn api() -> Vec<Route> {
    let route = |method: Method, path, handler| Route { method, path, handler };
    let read = |path, handler| route(Method::GET, path, handler);
    let post = |path, handler| route(Method::POST, path, handler);
    let mut routes = vec![
        read("/api/v1/topology/summary", get(summary)),
        read("/api/v1/topology/{id}", get(topology)),
        read("/api/v1/topology/{id}/errors", get(errors_of)),
        post("/api/v1/topology/{id}/activate", on(MethodFilter::POST, actions::activate)),
        post("/api/v1/topology/{id}/deactivate", on(MethodFilter::POST, actions::deactivate)),
        post("/api/v1/topology/{id}/kill/{wait}", on(MethodFilter::POST, actions::kill)),
        read("/api/v1/topic/{topic}/messages", get(messages)),
        read("/api/v1/topic/{topic}/message", get(message)),
        post("/api/v1/replay", on(MethodFilter::POST, actions::replay)),
        post("/api/v1/group/{group}/reset", on(MethodFilter::POST, actions::reset_group)),
        read("/api/v1/log-level", get(actions::level)),
        post("/api/v1/log-level", on(MethodFilter::POST, actions::set_level)),
        route(Method::DELETE, "/api/v1/log-level", on(MethodFilter::DELETE, actions::reset_level)),
        post(LOGIN, on(MethodFilter::POST, access::log_in)),
        read("/api/v1/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPEN_API))),
        read("/api/state", get(states)),
        read("/api/state/{component}/{state}", get(state_of)),
        read("/metrics", get(metrics)),
    ];
    routes.extend(observing::api());
    routes
}

/// Where the stream of events is.
pub(super) const EVENTS: &str = "/api/v1/events";

/// All routes behind the guard. The streams of events end once the sender of `stop` goes.
pub(super) fn router(
    snapshots: Arc<dyn Snapshots>,
    observer: Arc<Observer>,
    access: Access,
    stop: watch::Receiver<()>,
) -> Router {
    let telling = Events::new(Arc::clone(&snapshots), Arc::clone(&observer), stop);
    let streams = Router::new().route(EVENTS, get(events)).with_state(telling);
    let access = Arc::new(access);
    let routes =
        api().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    routes
        .route("/", get(page))
        .route("/assets/{*name}", get(asset))
        .with_state(snapshots)
        .merge(streams)
        .fallback(nothing)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(Extension(observer))
        .layer(Extension(Arc::clone(&access)))
        .layer(middleware::from_fn_with_state(access, access::admit))
}

async fn nothing() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is no such page; begin at /\n")
}

async fn page(Extension(access): Extension<Arc<Access>>) -> Html<String> {
    Html(shell(access.page_token()))
}

async fn asset(InPath(name): InPath<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => ([(header::CONTENT_TYPE, asset.content_type)], asset.body).into_response(),
        None => nothing().await.into_response(),
    }
}

async fn summary(State(source): Source) -> Json<api::Summaries> {
    Json(api::Summaries::of(&source.snapshots()))
}

async fn topology(State(source): Source, InPath(id): InPath<String>) -> Response {
    match source.snapshots().iter().find(|snapshot| *snapshot.id == *id) {
        Some(snapshot) => Json(api::TopologyPage::of(snapshot, now_ms())).into_response(),
        None => api::Unknown::topology(&id).into_response(),
    }
}

async fn errors_of(State(source): Source, InPath(id): InPath<String>) -> Response {
    match source.snapshots().iter().find(|snapshot| *snapshot.id == *id) {
        Some(snapshot) => Json(Errors::of(snapshot, &source.causes(&id), now_ms())).into_response(),
        None => api::Unknown::topology(&id).into_response(),
    }
}

async fn messages(
    State(source): Source,
    InPath(topic): InPath<String>,
    InQuery(asked): InQuery<Browse>,
) -> Response {
    let Some(log) = source.log() else { return no_log() };
    match browse(&*log, &topic, &asked).await {
        Ok(browsed) => Json(browsed).into_response(),
        Err(error) => log_refuses(&error),
    }
}

async fn message(
    State(source): Source,
    InPath(topic): InPath<String>,
    InQuery(asked): InQuery<Full>,
) -> Response {
    let Some(log) = source.log() else { return no_log() };
    match full(&*log, &topic, &asked).await {
        Ok(Some(message)) => Json(message).into_response(),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "there is no message at that offset"),
        Err(error) => log_refuses(&error),
    }
}

fn no_log() -> Response {
    refuse(StatusCode::NOT_FOUND, "no log is known here")
}

async fn states(State(source): Source) -> Json<state::States> {
    Json(state::States::of(&source.states()))
}

async fn state_of(
    State(source): Source,
    InPath((component, state)): InPath<(String, String)>,
    InQuery(asked): InQuery<Asked>,
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
