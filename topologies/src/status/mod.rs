//! The status server: a page, Storm's REST shapes and Prometheus metrics over what [`Snapshots`] gives.
//!
//! Invariant: it runs on a thread and runtime of its own, so neither a slow browser nor a bolt that never yields can hold up
//! the other. What it changes is asked for by a POST or DELETE that shows a token; see `access.rs` for who is let in.
//!
//! | path | what it answers |
//! |---|---|
//! | `/` | the page, with a view for each thing one may want to know |
//! | `/assets/…` | what the page loads |
//! | `/api/v1/events?view=NAME` | what a view of the page shows, every second, as server-sent events |
//! | `/api/v1/openapi.json` | what else there is: topologies in the shapes of Storm's REST API, messages, and what may be done |
//! | `/metrics` | all numbers per task, in the OpenMetrics text format that Prometheus reads |
//!
//! A view is a template and a plain JavaScript module of its name in `assets/views`, embedded by `assets.rs`, and what it is
//! told once a second by `views.rs`. `assets/app.js` is the frame: it says what a module offers.

mod access;
#[cfg(test)]
mod access_tests;
mod actions;
#[cfg(test)]
mod actions_tests;
mod api;
mod assets;
mod component;
mod errors;
mod events;
mod exposition;
#[cfg(test)]
mod fixture;
mod graph;
mod history;
mod hosts;
mod layout;
mod log;
mod observer;
mod observing;
#[cfg(test)]
mod observing_tests;
mod progress;
mod refusal;
mod routes;
mod running;
mod secret;
mod server;
mod spell;
mod state;
mod tap;
#[cfg(test)]
mod tests;
mod tls;
mod trees;
mod verdict;
mod views;

pub use log::{GroupStanding, LogGroups};
pub use secret::{NoSecret, Secret};
pub use server::{StatusConfig, StatusError, StatusServer};
pub use tls::TlsFiles;

use std::sync::Arc;
use std::time::Duration;

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

    /// That log's groups, and how large it is.
    fn log_groups(&self) -> Option<Arc<dyn LogGroups>> {
        None
    }

    /// The topics that dead letters go to, beside those that are named `….dead-letter`.
    fn dead_letter_topics(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Has the topology of that id killed, with so much time for open trees to complete. Returns at once; `false` where this
    /// is not done here.
    fn kill(&self, id: &str, wait: Duration) -> bool {
        let _ = (id, wait);
        false
    }

    /// The keyed states of the topologies that run here, by the topology's id.
    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        Vec::new()
    }
}
