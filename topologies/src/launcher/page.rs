//! The page of a run, bound before anything is started so that an address in use starts nothing.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use topo_connectors::SourceProgress;
use topo_connectors::dead_letters::Causes;
use topo_core::Running;
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
struct Shown(OnceLock<(Running, SourceProgress)>);

impl Snapshots for Shown {
    fn snapshots(&self) -> Vec<TopologySnapshot> {
        self.0.get().map(|(running, _)| running.snapshot()).into_iter().collect()
    }

    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        self.0
            .get()
            .map(|(running, _)| (Arc::clone(running.id()), running.states().clone()))
            .into_iter()
            .collect()
    }

    fn causes(&self, _id: &str) -> Causes {
        self.0.get().map(|(_, progress)| progress.causes()).unwrap_or_default()
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

    /// Shows `running`, and what its log spouts come to, from now on.
    pub(super) fn show(&self, running: Running, progress: SourceProgress) {
        // A run shows one topology.
        let _ = self.shown.0.set((running, progress));
    }

    /// Lets answers under way finish, and frees the address.
    pub(super) async fn close(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}
