//! The status server: a page, Storm's REST shapes and Prometheus metrics over what [`Snapshots`] gives.
//!
//! Invariant: the server only reads. It runs on a thread and runtime of its own, so neither a slow browser nor a bolt
//! that never yields can hold up the other, and it listens on loopback addresses only.
//!
//! | path | what it answers |
//! |---|---|
//! | `/` | the page, with a view for each thing one may want to know |
//! | `/assets/…` | what the page loads |
//! | `/api/v1/events?view=NAME` | what a view of the page shows, every second, as server-sent events |
//! | `/api/v1/topology/summary` | all topologies, as Storm's REST API says it |
//! | `/api/v1/topology/{id}` | one topology with its spouts and bolts, as Storm's REST API says it |
//! | `/api/v1/topology/{id}/errors` | what went wrong in one topology: dead letters by cause, and each task's newest error |
//! | `/api/v1/topology/{id}/graph` | the bottleneck in a sentence, and the load of nodes and edges in the last ten seconds |
//! | `/api/v1/topology/{id}/layout` | where the graph's nodes and edges are drawn |
//! | `/api/v1/topology/{id}/component/{name}` | one component with its tasks, rates, settings and errors |
//! | `/api/v1/topology/{id}/trees` | the trees that are open, by age, and those that failed, were tried again, or were traced |
//! | `/api/v1/topology/{id}/trees/{root}` | the hops of one tree |
//! | `/api/v1/topology/{id}/taps/{edge}` | the last tuples of an edge whose tap is on |
//! | `/api/state` | the keyed states of all topologies, with how many values each has |
//! | `/api/state/{component}/{state}?key=K` | the value of a key, which is JSON or else text |
//! | `/metrics` | all numbers per task, in the OpenMetrics text format that Prometheus reads |
//!
//! A view is a template and a plain JavaScript module of its name in `assets/views`, embedded by `assets.rs`, and what it is
//! told once a second by `views.rs`. `assets/app.js` is the frame: it says what a module offers.

mod api;
mod assets;
mod component;
mod errors;
mod events;
mod exposition;
#[cfg(test)]
mod fixture;
mod graph;
mod guard;
mod history;
mod layout;
mod observer;
mod observing;
#[cfg(test)]
mod observing_tests;
mod progress;
mod routes;
mod running;
mod server;
mod spell;
mod state;
mod tap;
#[cfg(test)]
mod tests;
mod trees;
mod verdict;
mod views;

pub use server::{StatusError, StatusServer};

use std::sync::Arc;

use topo_connectors::dead_letters::Causes;
use topo_core::Running;
use topo_core::log::Log;
use topo_core::metrics::TopologySnapshot;
use topo_core::state::StateHub;

/// Where the status server takes its numbers from; called once per request.
pub trait Snapshots: Send + Sync + 'static {
    /// Every topology of this process, as it stands now. Must not wait for executors.
    fn snapshots(&self) -> Vec<TopologySnapshot>;

    /// What the dead letters of the topology of that id died of; none where nobody counts them.
    fn causes(&self, id: &str) -> Causes {
        let _ = id;
        Causes::default()
    }

    /// The topology of that id, to be asked for more than its numbers; none where only those are known.
    fn running(&self, id: &str) -> Option<Running> {
        let _ = id;
        None
    }

    /// The log that the topologies live on.
    fn log(&self) -> Option<Arc<dyn Log>> {
        None
    }

    /// The keyed states of the topologies that run here, by the topology's id.
    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        Vec::new()
    }
}
