//! The page of a run, bound before anything is started so that an address in use starts nothing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use topo_connectors::SourceProgress;
use topo_connectors::dead_letters::Causes;
use topo_core::Running;
use topo_core::log::Log;
use topo_core::metrics::TopologySnapshot;
use topo_core::state::StateHub;

use super::options::{RunOptions, StatusAddr};
use super::run_file::RunFile;
use crate::status::{LogGroups, Snapshots, StatusConfig, StatusError, StatusServer, TlsFiles};

/// The page, if there is one, and the topology it shows once that runs.
pub(super) struct Page {
    server: Option<StatusServer>,
    shown: Arc<Shown>,
    /// Where it is told that the topology is to be killed.
    killed: watch::Receiver<Option<Duration>>,
    run_file: Option<RunFile>,
}

struct Shown {
    subject: OnceLock<Subject>,
    kill: watch::Sender<Option<Duration>>,
}

/// What is shown.
pub(super) struct Subject {
    pub(super) running: Running,
    pub(super) progress: SourceProgress,
    pub(super) log: Arc<dyn Log>,
    pub(super) groups: Arc<dyn LogGroups>,
    pub(super) dead_letter_topics: Vec<Arc<str>>,
}

impl Snapshots for Shown {
    fn snapshots(&self) -> Vec<TopologySnapshot> {
        self.subject.get().map(|of| of.running.snapshot()).into_iter().collect()
    }

    fn causes(&self, _id: &str) -> Causes {
        self.subject.get().map(|of| of.progress.causes()).unwrap_or_default()
    }

    fn running(&self, id: &str) -> Option<Running> {
        self.subject.get().filter(|of| **of.running.id() == *id).map(|of| of.running.clone())
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        self.subject.get().map(|of| Arc::clone(&of.log))
    }

    fn log_groups(&self) -> Option<Arc<dyn LogGroups>> {
        self.subject.get().map(|of| Arc::clone(&of.groups))
    }

    fn dead_letter_topics(&self) -> Vec<Arc<str>> {
        self.subject.get().map(|of| of.dead_letter_topics.clone()).unwrap_or_default()
    }

    fn kill(&self, id: &str, wait: Duration) -> bool {
        self.running(id).is_some() && self.kill.send(Some(wait)).is_ok()
    }

    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        let states = |of: &Subject| (Arc::clone(of.running.id()), of.running.states().clone());
        self.subject.get().map(states).into_iter().collect()
    }
}

impl Page {
    /// Listens where `options` say.
    ///
    /// # Errors
    /// Those of [`StatusServer::bind_with`].
    pub(super) fn bind(options: &RunOptions) -> Result<Self, StatusError> {
        let (kill, killed) = watch::channel(None);
        let shown = Arc::new(Shown { subject: OnceLock::new(), kill });
        let server = match options.status {
            StatusAddr::Off => None,
            StatusAddr::At(addr) => {
                let files = options.status_cert.clone().zip(options.status_key.clone());
                let config = StatusConfig {
                    addr,
                    names: options.status_name.clone(),
                    token: options.status_token.clone(),
                    tls: files.map(|(certificate, key)| TlsFiles { certificate, key }),
                    insecure: options.insecure_bind,
                };
                Some(StatusServer::bind_with(&config, Arc::clone(&shown) as _)?)
            }
        };
        Ok(Self { server, shown, killed, run_file: None })
    }

    /// Where a browser finds it.
    pub(super) fn url(&self) -> Option<String> {
        self.server.as_ref().map(StatusServer::url)
    }

    /// Shows `subject` from now on, and tells the commands on this machine where.
    pub(super) fn show(&mut self, subject: Subject) {
        if let Some(server) = &self.server {
            self.run_file = RunFile::write(&subject.running, server)
                .inspect_err(|error| tracing::warn!(%error, "`topo list` will not find this topology"))
                .ok();
        }
        // A run shows one topology.
        let _ = self.shown.subject.set(subject);
    }

    /// Completes once the topology is to be killed from the page; gives how long open trees have to complete.
    pub(super) async fn told_to_kill(&self) -> Duration {
        let mut killed = self.killed.clone();
        match killed.wait_for(Option::is_some).await.map(|wait| *wait) {
            Ok(Some(wait)) => wait,
            // The sender lives as long as the page.
            _ => std::future::pending().await,
        }
    }

    /// Lets answers under way finish, and frees the address.
    pub(super) async fn close(self) {
        drop(self.run_file);
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}
