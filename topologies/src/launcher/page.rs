//! The page of a run, bound before anything is started so that an address in use starts nothing.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use topo_connectors::SourceProgress;
use topo_connectors::dead_letters::Causes;
use topo_core::Running;
use topo_core::log::Log;
use topo_core::metrics::TopologySnapshot;
use topo_core::state::StateHub;

use super::options::StatusAddr;
use crate::status::{Snapshots, StatusError, StatusServer};

/// The page, if there is one, and the topology it shows once that runs.
pub(super) struct Page {
    server: Option<StatusServer>,
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown(OnceLock<Subject>);

/// What is shown.
struct Subject {
    running: Running,
    progress: SourceProgress,
    log: Arc<dyn Log>,
}

impl Snapshots for Shown {
    fn snapshots(&self) -> Vec<TopologySnapshot> {
        self.0.get().map(|of| of.running.snapshot()).into_iter().collect()
    }

    fn causes(&self, _id: &str) -> Causes {
        self.0.get().map(|of| of.progress.causes()).unwrap_or_default()
    }

    fn running(&self, id: &str) -> Option<Running> {
        self.0.get().filter(|of| **of.running.id() == *id).map(|of| of.running.clone())
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.0.get().map(|of| Arc::clone(&of.log))
    }

    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        let states = |of: &Subject| (Arc::clone(of.running.id()), of.running.states().clone());
        self.0.get().map(states).into_iter().collect()
    }
}

impl Page {
    /// Listens where `status` says.
    ///
    /// # Errors
    /// Those of [`StatusServer::bind`].
    pub(super) fn bind(status: StatusAddr) -> Result<Self, StatusError> {
        let shown = Arc::new(Shown::default());
        let server = match status {
            StatusAddr::Off => None,
            StatusAddr::At(address) => Some(StatusServer::bind(address, Arc::clone(&shown) as _)?),
        };
        Ok(Self { server, shown })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(StatusServer::local_addr)
    }

    /// Shows `running`, what its log spouts come to, and its log, from now on.
    pub(super) fn show(&self, running: Running, progress: SourceProgress, log: Arc<dyn Log>) {
        // A run shows one topology.
        let _ = self.shown.0.set(Subject { running, progress, log });
    }

    /// Lets answers under way finish, and frees the address.
    pub(super) async fn close(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}
