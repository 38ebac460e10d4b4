//! The status server: a page, Storm's REST shapes and Prometheus metrics over what [`Snapshots`] gives.
//!
//! Invariant: the server only reads. It runs on a thread and runtime of its own, so neither a slow browser nor a bolt
//! that never yields can hold up the other, and it listens on loopback addresses only.
//!
//! | path | what it answers |
//! |---|---|
//! | `/` | the page, which renews itself every second |
//! | `/topologies` | the part of the page that is renewed |
//! | `/api/v1/topology/summary` | all topologies, as Storm's REST API says it |
//! | `/api/v1/topology/{id}` | one topology with its spouts and bolts, as Storm's REST API says it |
//! | `/metrics` | all numbers per task, in the OpenMetrics text format that Prometheus reads |

mod api;
mod exposition;
#[cfg(test)]
mod fixture;
mod guard;
mod page;
mod routes;
mod running;
mod server;
mod spell;
#[cfg(test)]
mod tests;

pub use server::{StatusError, StatusServer};

use topo_core::metrics::TopologySnapshot;

/// Where the status server takes its numbers from; called once per request.
pub trait Snapshots: Send + Sync + 'static {
    /// Every topology of this process, as it stands now. Must not wait for executors.
    fn snapshots(&self) -> Vec<TopologySnapshot>;
}
