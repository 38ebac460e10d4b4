//! The page of a run, bound before anything is started so that an address in use starts nothing.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
    /// Until when the topology has to complete what is open, once it is to be killed.
    killed: watch::Receiver<Option<Instant>>,
    run_file: Option<RunFile>,
}

struct Shown {
    subject: OnceLock<Subject>,
    kill: watch::Sender<Option<Instant>>,
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
        if self.running(id).is_none() {
            return false;
        }
        let at = Instant::now() + wait;
        // Of several the soonest counts: whoever asks again does so because the first wait is too long.
        self.kill.send_if_modified(|end| {
            let is_sooner = end.is_none_or(|end| at < end);
            if is_sooner {
                *end = Some(at);
            }
            is_sooner
        });
        true
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

    /// Completes once the topology is to be killed from the page, sooner than at `end` where that is given; gives until when
    /// open trees have to complete.
    pub(super) async fn told_to_kill(&self, end: Option<Instant>) -> Instant {
        let mut killed = self.killed.clone();
        let is_sooner = |at: &Option<Instant>| at.is_some_and(|at| end.is_none_or(|end| at < end));
        match killed.wait_for(is_sooner).await.map(|at| *at) {
            Ok(Some(at)) => at,
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::sync::Notify;
    use topo_core::schedule::TokioScheduler;
    use topo_core::{Bolt, Config, Emitter, Fail, StuckError, Topology};

    use super::super::signals::Signals;
    use super::super::stop;
    use super::*;
    use crate::embedded::{EmbeddedConfig, EmbeddedLog};
    use crate::testing::given;

    const HOUR: Duration = Duration::from_hours(1);

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: RunOptions,
    }

    /// Says that it has begun, and comes to no end.
    struct Stuck(Arc<Notify>);

    impl Bolt for Stuck {
        type In = u64;
        type Out = ();

        async fn execute(&mut self, _: u64, _: &mut Emitter<()>) -> Result<(), Fail> {
            self.0.notify_one();
            std::future::pending().await
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_several_kills_the_soonest_counts() {
        let dir = tempfile::tempdir().unwrap();
        let scheduler = Arc::new(TokioScheduler::current());
        let log =
            EmbeddedLog::open(dir.path(), EmbeddedConfig::default(), Arc::clone(&scheduler) as _).unwrap();
        let topology = Topology::new("stuck");
        let numbers = topology.spout("numbers", given([1_u64]));
        let begun = Arc::new(Notify::new());
        let at_bolt = Arc::clone(&begun);
        topology.bolt("stuck", move || Stuck(Arc::clone(&at_bolt))).shuffle(&numbers);
        let config = Config { execute_timeout: None, ..Config::default() };
        let running = topology.launch(scheduler, config).await.unwrap();
        begun.notified().await;

        let mut page = Page::bind(&Line::parse_from(["run", "--status", "off"]).options).unwrap();
        let (log, id) = (Arc::new(log), Arc::clone(running.id()));
        page.show(Subject {
            running: running.clone(),
            progress: SourceProgress::default(),
            log: Arc::clone(&log) as _,
            groups: log,
            dead_letter_topics: Vec::new(),
        });
        let shown = Arc::clone(&page.shown);
        assert!(!shown.kill("another", HOUR));
        assert!(shown.kill(&id, HOUR));
        let end = page.told_to_kill(None).await;
        assert!(shown.kill(&id, 2 * HOUR));
        assert_eq!(page.told_to_kill(None).await, end, "nothing is put off");

        let mut signals = Signals::listen().unwrap();
        let stopping = stop(&running, end, &page, &mut signals);
        let hurrying = async { shown.kill(&id, Duration::ZERO) };
        let (stopped, is_told) = tokio::join!(stopping, hurrying);
        // Without the second kill it would wait for an hour.
        assert!(is_told && matches!(stopped, Err(StuckError { stuck: 1, .. })), "{stopped:?}");
    }
}
