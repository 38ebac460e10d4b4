//! The routes of what is observed: the graph, components, trees and taps.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json};
use topo_core::Running;
use topo_core::metrics::TopologySnapshot;

use super::Snapshots;
use super::api::Unknown;
use super::component::ComponentPage;
use super::graph::Graph;
use super::observer::Observer;
use super::refusal::{InBody, InPath};
use super::routes::{Route, now_ms};
use super::tap::{self, Tap, Wish};
use super::trees::{Trees, Waterfall};

type Source = State<Arc<dyn Snapshots>>;
type Memory = Extension<Arc<Observer>>;

/// The routes, as `openapi.json` describes them.
pub(super) fn api() -> Vec<Route> {
    let read = |path, handler| Route { method: Method::GET, path, handler };
    vec![
        read("/api/v1/topology/{id}/graph", get(graph)),
        read("/api/v1/topology/{id}/layout", get(layout)),
        read("/api/v1/topology/{id}/component/{name}", get(component)),
        read("/api/v1/topology/{id}/trees", get(trees)),
        read("/api/v1/topology/{id}/trees/{root}", get(tree)),
        read("/api/v1/topology/{id}/taps/{edge}", get(tapped)),
        Route { method: Method::POST, path: "/api/v1/topology/{id}/taps", handler: post(switch_on) },
        Route {
            method: Method::DELETE,
            path: "/api/v1/topology/{id}/taps/{edge}",
            handler: delete(switch_off),
        },
    ]
}

fn snapshot(source: &dyn Snapshots, id: &str) -> Result<TopologySnapshot, Unknown> {
    let found = source.snapshots().into_iter().find(|snapshot| *snapshot.id == *id);
    found.ok_or_else(|| Unknown::topology(id))
}

fn running(source: &dyn Snapshots, id: &str) -> Result<Running, Unknown> {
    source.running(id).ok_or_else(|| Unknown::topology(id))
}

async fn graph(
    State(source): Source,
    Extension(observer): Memory,
    InPath(id): InPath<String>,
) -> Result<Json<Graph>, Unknown> {
    Ok(Json(Graph::of(&snapshot(&*source, &id)?, &observer, now_ms())))
}

async fn layout(
    State(source): Source,
    Extension(observer): Memory,
    InPath(id): InPath<String>,
) -> Result<Response, Unknown> {
    let snapshot = snapshot(&*source, &id)?;
    // It may take a while, and others are told meanwhile.
    let layouts = tokio::task::spawn_blocking(move || observer.layouts(&snapshot)).await;
    Ok(layouts.map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |at| Json(at.get()).into_response(),
    ))
}

async fn component(
    State(source): Source,
    Extension(observer): Memory,
    InPath((id, name)): InPath<(String, String)>,
) -> Result<Json<ComponentPage>, Unknown> {
    let snapshot = snapshot(&*source, &id)?;
    ComponentPage::of(&snapshot, &name, &*source, &observer, now_ms())
        .map(Json)
        .ok_or_else(|| Unknown::thing(format!("`{}` has no component `{name}`", snapshot.name)))
}

async fn trees(State(source): Source, InPath(id): InPath<String>) -> Result<Json<Trees>, Unknown> {
    Ok(Json(Trees::of(&running(&*source, &id)?)))
}

async fn tree(
    State(source): Source,
    InPath((id, root)): InPath<(String, String)>,
) -> Result<Json<Waterfall>, Unknown> {
    let unknown = || Unknown::thing(format!("nothing is remembered of a tree `{root}`"));
    Waterfall::of(&running(&*source, &id)?, &root).map(Json).ok_or_else(unknown)
}

async fn tapped(
    State(source): Source,
    InPath((id, edge)): InPath<(String, usize)>,
) -> Result<Json<Tap>, Unknown> {
    Tap::of(&running(&*source, &id)?, edge).map(Json).ok_or_else(|| Unknown::thing(tap::unknown(edge)))
}

async fn switch_on(
    State(source): Source,
    InPath(id): InPath<String>,
    InBody(wish): InBody<Wish>,
) -> Result<Response, Unknown> {
    Ok(tap::switch_on(&running(&*source, &id)?, &wish))
}

async fn switch_off(
    State(source): Source,
    InPath((id, edge)): InPath<(String, usize)>,
) -> Result<Response, Unknown> {
    Ok(tap::switch_off(&running(&*source, &id)?, edge))
}
