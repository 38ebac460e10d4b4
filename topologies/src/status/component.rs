//! One component as JSON: what Storm's API tells of it, its settings, its errors, and how its numbers move.

use std::sync::Arc;

use serde::Serialize;
use topo_core::metrics::{ComponentKind, TopologySnapshot};

use super::Snapshots;
use super::api::{BoltStats, SpoutStats};
use super::graph::{Graph, Moving};
use super::observer::Observer;

/// The answer of `/api/v1/topology/{id}/component/{name}`, and what the view `component` is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComponentPage {
    id: Arc<str>,
    name: Arc<str>,
    topology_id: Arc<str>,
    topology_name: Arc<str>,
    component_type: &'static str,
    executors: usize,
    tasks: usize,
    stats: Stats,
    moving: Option<Moving>,
    settings: Vec<Setting>,
    /// Places, among the topology's edges, of those that lead here and of those that lead away.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    errors: Vec<TaskError>,
    graph: Graph,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Stats {
    Spout(Box<SpoutStats>),
    Bolt(Box<BoltStats>),
}

#[derive(Serialize)]
struct Setting {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskError {
    task: u32,
    error: Arc<str>,
    time_ms: i64,
}

impl ComponentPage {
    /// The component `name` of `snapshot`'s topology; `None` where it has none.
    pub(super) fn of(
        snapshot: &TopologySnapshot,
        name: &str,
        source: &dyn Snapshots,
        observer: &Observer,
        now_ms: i64,
    ) -> Option<Self> {
        let component = snapshot.components.iter().find(|component| *component.name == *name)?;
        let is_spout = component.kind == ComponentKind::Spout;
        let stats = if is_spout {
            Stats::Spout(Box::new(SpoutStats::of(component, now_ms)))
        } else {
            Stats::Bolt(Box::new(BoltStats::of(component, now_ms)))
        };
        let running = source.running(&snapshot.id);
        let settings = running.as_ref().and_then(|running| running.settings(name)).unwrap_or_default();
        let edges = |is: &dyn Fn(&topo_core::metrics::EdgeSnapshot) -> bool| {
            (0..snapshot.edges.len()).filter(|at| is(&snapshot.edges[*at])).collect()
        };
        let mut errors: Vec<TaskError> = (component.tasks.iter())
            .filter_map(|task| {
                let error = task.last_error.as_ref()?;
                Some(TaskError { task: task.task, error: Arc::clone(&error.message), time_ms: error.at_ms })
            })
            .collect();
        errors.sort_by_key(|error| std::cmp::Reverse(error.time_ms));
        Some(Self {
            id: Arc::clone(&component.name),
            name: Arc::clone(&component.name),
            topology_id: Arc::clone(&snapshot.id),
            topology_name: Arc::clone(&snapshot.name),
            component_type: if is_spout { "spout" } else { "bolt" },
            executors: component.tasks.len(),
            tasks: component.tasks.len(),
            stats,
            moving: observer.with(snapshot, |history| Moving::of_one(snapshot, history, name)),
            settings: settings
                .iter()
                .map(|one| Setting { name: one.name, value: one.value.clone() })
                .collect(),
            inputs: edges(&|edge| *edge.to == *name),
            outputs: edges(&|edge| *edge.from == *name),
            errors,
            graph: Graph::of(snapshot, observer, now_ms),
        })
    }
}
