//! The routes of what is observed: the graph, components, trees and taps.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use topo_core::Running;
use topo_core::metrics::TopologySnapshot;

use super::Snapshots;
use super::api::Unknown;
use super::component::ComponentPage;
use super::graph::Graph;
use super::observer::Observer;
use super::routes::now_ms;
use super::tap::{self, Tap, Wish};
use super::trees::{Trees, Waterfall};

#[derive(Clone)]
struct Observed {
    source: Arc<dyn Snapshots>,
    observer: Arc<Observer>,
}

/// The routes, to be put behind the guard with all others.
pub(super) fn router(source: Arc<dyn Snapshots>, observer: Arc<Observer>) -> Router {
    Router::new()
        .route("/api/v1/topology/{id}/graph", get(graph))
        .route("/api/v1/topology/{id}/layout", get(layout))
        .route("/api/v1/topology/{id}/component/{name}", get(component))
        .route("/api/v1/topology/{id}/trees", get(trees))
        .route("/api/v1/topology/{id}/trees/{root}", get(tree))
        .route("/api/v1/topology/{id}/taps", post(switch_on))
        .route("/api/v1/topology/{id}/taps/{edge}", get(tapped).delete(switch_off))
        .with_state(Observed { source, observer })
}

impl Observed {
    fn snapshot(&self, id: &str) -> Result<TopologySnapshot, Response> {
        let found = self.source.snapshots().into_iter().find(|snapshot| *snapshot.id == *id);
        found.ok_or_else(|| missing(Unknown::topology(id)))
    }

    fn running(&self, id: &str) -> Result<Running, Response> {
        self.source.running(id).ok_or_else(|| missing(Unknown::topology(id)))
    }
}

fn missing(what: Unknown) -> Response {
    (StatusCode::NOT_FOUND, Json(what)).into_response()
}

async fn graph(State(observed): State<Observed>, Path(id): Path<String>) -> Result<Json<Graph>, Response> {
    Ok(Json(Graph::of(&observed.snapshot(&id)?, &observed.observer, now_ms())))
}

async fn layout(State(observed): State<Observed>, Path(id): Path<String>) -> Result<Response, Response> {
    Ok(Json(&*observed.observer.layouts(&observed.snapshot(&id)?)).into_response())
}

async fn component(
    State(observed): State<Observed>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Json<ComponentPage>, Response> {
    let snapshot = observed.snapshot(&id)?;
    ComponentPage::of(&snapshot, &name, &*observed.source, &observed.observer, now_ms())
        .map(Json)
        .ok_or_else(|| missing(Unknown::thing(format!("`{}` has no component `{name}`", snapshot.name))))
}

async fn trees(State(observed): State<Observed>, Path(id): Path<String>) -> Result<Json<Trees>, Response> {
    Ok(Json(Trees::of(&observed.running(&id)?)))
}

async fn tree(
    State(observed): State<Observed>,
    Path((id, root)): Path<(String, String)>,
) -> Result<Json<Waterfall>, Response> {
    let unknown = || missing(Unknown::thing(format!("nothing is remembered of a tree `{root}`")));
    Waterfall::of(&observed.running(&id)?, &root).map(Json).ok_or_else(unknown)
}

async fn tapped(
    State(observed): State<Observed>,
    Path((id, edge)): Path<(String, usize)>,
) -> Result<Json<Tap>, Response> {
    Tap::of(&observed.running(&id)?, edge)
        .map(Json)
        .ok_or_else(|| missing(Unknown::thing(tap::unknown(edge))))
}

async fn switch_on(
    State(observed): State<Observed>,
    Path(id): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Response, Response> {
    Ok(tap::switch_on(&observed.running(&id)?, &wish))
}

async fn switch_off(
    State(observed): State<Observed>,
    Path((id, edge)): Path<(String, usize)>,
) -> Result<Response, Response> {
    Ok(tap::switch_off(&observed.running(&id)?, edge))
}
