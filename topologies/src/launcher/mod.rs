//! From an application to a process that runs it: log, topics, topology, page, port, input, banner, summary.

mod application;
mod banner;
mod late_log;
mod open_log;
mod options;
mod page;
mod port;
mod process;
mod restore;
mod run_file;
mod signals;
mod summary;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{try_join, try_join_all};
use topo_broker::BrokerError;
use topo_connectors::gather::{FileLines, Gather, GatherError, SocketLines, StreamLines};
use topo_connectors::{Brokers, SourceProgress};
use topo_core::log::{Log, LogError, TopicPartition};
use topo_core::metrics::{ComponentKind, TaskSnapshot};
use topo_core::schedule::TokioScheduler;
use topo_core::state::StateError;
use topo_core::{BuildError, Config, LaunchError, Running, StateSettings, StuckError, Topology};

pub use crate::logging::LOGGING_HELP;
pub use application::{Application, Environment, LogDecoder, LogEncoder};
pub use options::{DeliveryMode, ListenAddr, LogPlace, RunOptions, StatePlace, StatusAddr, duration};
pub use port::{PortError, bind_port};
pub use process::{ExitReason, RunFailure, StartError, main, process, report};
pub use run_file::{Run as KnownRun, runs};
pub use signals::Signals;
pub use summary::Summary;
pub use topo_broker::Durability;
pub use topo_connectors::{EventTimeConfig, LogSpoutConfig, record_time, timed};

use self::banner::Banner;
use self::late_log::LateLog;
use self::open_log::OpenLog;
use self::page::{Page, Subject};
use self::port::{Port, Served};
use crate::status::{LogGroups, StatusError};

/// How often the log is asked what other members of the group have committed.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long open trees have to complete when the process is told to stop.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// Why a topology did not run, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    DataDirectory(#[from] BrokerError),
    /// The topics are at a broker, which this program cannot reach.
    #[error(
        "this program is built without the Kafka client, so it cannot reach the broker at {0}; switch on feature `kafka` of \
         crate `topo`, as in `topo = {{ …, features = [\"kafka\"] }}`"
    )]
    NoKafka(Brokers),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A setting does not fit the topology.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The topology did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The page did not start.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The Kafka port did not open.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The input cannot be opened.
    #[error("{path} cannot be read: {source}")]
    Input {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The input ended early.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// `--input` was given to an application that reads no topic.
    #[error("`{0}` takes no --input: it reads no topic")]
    NoInput(Arc<str>),
    /// The input topic is read by no spout, so that it can never be done.
    #[error(
        "no log spout reads `{0}`, the topic that the application's input goes to; run it without --until-idle"
    )]
    Unread(Arc<str>),
    /// State cannot live where it should.
    #[error(transparent)]
    State(StateError),
    /// The topology cannot go on.
    #[error("{0}; what is not committed is processed again by whoever runs the topology next")]
    StoppedItself(Arc<str>),
    /// A component's code does not return.
    #[error(transparent)]
    Stuck(#[from] StuckError),
    /// The process cannot listen for signals.
    #[error("signals cannot be received: {0}")]
    Signal(io::Error),
}

/// Runs `application` until it is told to stop, or until all of its input is done where `options` say so.
///
/// Prints a banner to standard error. Needs a tokio runtime with timers and I/O. Told to stop, by SIGINT or SIGTERM, it
/// drains; told again, it stops at once.
///
/// # Errors
/// [`RunError`], each a sentence for the user. What can be known to be wrong before anything is started, is.
pub async fn run(mut application: Application, options: RunOptions) -> Result<Summary, RunError> {
    let input = options.input.as_deref().map(open_input).transpose()?;
    if options.state == StatePlace::Disk && !cfg!(feature = "fjall") {
        return Err(RunError::State(StateError::NoDisk));
    }
    let mut signals = Signals::listen().map_err(RunError::Signal)?;
    let page = Page::bind(&options)?;
    let port = Port::bind(&options)?;
    let (log, progress) = (Arc::new(LateLog::default()), SourceProgress::default());
    let environment = Environment::new(Arc::clone(&log) as _, progress.clone(), &application, &options);
    let topology = topology(&mut application, &options, &environment)?;
    if input.is_some() && application.input_topic().is_none() {
        return Err(RunError::NoInput(Arc::clone(application.name())));
    }
    let scheduler = Arc::new(TokioScheduler::current());
    let open = OpenLog::open(&options, &scheduler).await?;
    log.open(open.log());
    let served = port.serve(open.broker());
    let groups = open.groups();
    let run = Run { application, options, log, groups, scheduler, progress };
    let ran = run.on_open_log(topology, input, page, &served, &mut signals).await;
    served.close().await;
    let closed = open.close().await;
    let summary = ran?;
    closed?;
    Ok(summary)
}

/// The application's topology with the tasks that `options` give it, found to be sound.
fn topology(
    application: &mut Application,
    options: &RunOptions,
    environment: &Environment,
) -> Result<Topology, BuildError> {
    let topology = application.topology(environment);
    for (component, tasks) in &options.tasks {
        topology.set_tasks(component, *tasks)?;
    }
    topology.check()?;
    topology.check_delivery(options.config().delivery)?;
    application.check_dead_letters(&topology)?;
    Ok(topology)
}

/// A run whose log is open.
struct Run {
    application: Application,
    options: RunOptions,
    log: Arc<dyn Log>,
    groups: Arc<dyn LogGroups>,
    scheduler: Arc<TokioScheduler>,
    progress: SourceProgress,
}

impl Run {
    async fn on_open_log(
        self,
        topology: Topology,
        input: Option<Input>,
        mut page: Page,
        port: &Served,
        signals: &mut Signals,
    ) -> Result<Summary, RunError> {
        self.application.create_topics(&*self.log).await?;
        let started = Instant::now();
        let running = topology.launch(Arc::clone(&self.scheduler) as _, self.config()).await?;
        page.show(Subject {
            running: running.clone(),
            progress: self.progress.clone(),
            log: Arc::clone(&self.log),
            groups: Arc::clone(&self.groups),
            dead_letter_topics: self.application.dead_letter_topics(),
        });
        self.say_what_runs(running.id(), page.url().as_deref(), port.addresses());
        let mut kill_at = None;
        let ended = tokio::select! {
            ended = self.until_over(&running, input) => ended,
            why = running.stopped_itself() => Err(RunError::StoppedItself(why)),
            () = signals.told_to_stop() => Ok(Ended::Stopped),
            at = page.told_to_kill(None) => {
                kill_at = Some(at);
                Ok(Ended::Stopped)
            }
        };
        let end = kill_at.unwrap_or_else(|| Instant::now() + STOP_WAIT);
        let stopped = stop(&running, end, &page, signals).await;
        let elapsed = started.elapsed();
        page.close().await;
        let ended = ended?;
        stopped?;
        Ok(Summary::new(&running.snapshot(), &self.progress, elapsed, ended == Ended::Idle))
    }

    /// The runtime's settings, with state kept in the run's log.
    fn config(&self) -> Config {
        let state = StateSettings {
            log: Some(Arc::clone(&self.log)),
            backend: self.options.state_backend(),
            on_restore: Some(restore::watch()),
            ..StateSettings::default()
        };
        Config { state, ..self.options.config() }
    }

    /// Says on standard error what runs where.
    fn say_what_runs(&self, id: &str, page: Option<&str>, port: &[SocketAddr]) {
        let banner = Banner { application: &self.application, options: &self.options, page, port, id };
        // Where standard error is closed, the topology runs all the same.
        let _ = write!(io::stderr(), "{banner}");
    }

    /// Feeds the input, then waits until all is done where that is asked for, and for the end of time; else for ever.
    async fn until_over(&self, running: &Running, input: Option<Input>) -> Result<Ended, RunError> {
        let topic = self.application.input_topic();
        let mut fed = input.zip(topic);
        let sockets = try_join_all(self.application.sockets().iter().map(async |(address, topic)| {
            let socket = SocketLines::new(address);
            let mut socket = if self.options.until_idle { socket.once() } else { socket };
            socket.gather(&*self.log, topic).await
        }));
        let feeding = async {
            if let Some((input, topic)) = &mut fed {
                let lines = input.gather(&*self.log, topic).await?;
                tracing::info!(lines, %topic, "the input is in the log");
            }
            Ok(())
        };
        try_join(sockets, feeding).await?;
        if !self.options.until_idle {
            std::future::pending::<()>().await;
        }
        match topic {
            Some(topic) => self.until_done(topic).await?,
            None => running.idle().await,
        }
        let is_over = end_time(running).await;
        if let Some((input, topic)) = &mut fed {
            input.ended(&*self.log, topic).await?;
        }
        Ok(if is_over { Ended::Idle } else { Ended::Stopped })
    }

    /// Waits until all that `topic` holds now is done and committed, here or by other members of the group.
    async fn until_done(&self, topic: &Arc<str>) -> Result<(), RunError> {
        let ends = self.ends(topic).await?;
        while tokio::time::timeout(ASK_EVERY, self.progress.reached(&ends)).await.is_err() {
            let mut is_done = true;
            for (at, end) in &ends {
                let begin = self.log.offsets(at).await?.log_start;
                let committed = self.log.committed(self.application.name(), at).await?.unwrap_or(begin);
                is_done &= committed >= *end
                    || self.progress.reached(&[(at.clone(), *end)]).now_or_never().is_some();
            }
            if is_done {
                break;
            }
        }
        Ok(())
    }

    /// One past the last record of each partition of the input topic.
    async fn ends(&self, topic: &Arc<str>) -> Result<Vec<(TopicPartition, i64)>, RunError> {
        if !self.progress.reads(topic) {
            return Err(RunError::Unread(Arc::clone(topic)));
        }
        let mut ends = Vec::new();
        for number in 0..self.log.topic(topic).await?.map_or(0, |info| info.partitions) {
            let at = TopicPartition::new(Arc::clone(topic), number);
            let end = self.log.offsets(&at).await?.high_watermark;
            ends.push((at, end));
        }
        Ok(ends)
    }
}

/// Brings event time to its end, so that windows emit what they have, and waits until that is durable. Gives up where
/// nothing moves any more: a bolt may hold an input for good. `false` where results are left undone by that.
async fn end_time(running: &Running) -> bool {
    let mut ended = pin!(running.end_time());
    let mut done = 0;
    while tokio::time::timeout(STOP_WAIT, &mut ended).await.is_err() {
        let numbers = running.snapshot();
        let of = |task: &TaskSnapshot| task.executed + task.acked + task.failed + task.trees_failed;
        let now = numbers.components.iter().map(|one| one.total(of)).sum::<u64>();
        if now == std::mem::replace(&mut done, now) {
            let bolts = numbers.components.iter().filter(|one| one.kind == ComponentKind::Bolt);
            return bolts.map(|bolt| bolt.total(|task| task.pending)).sum::<u64>() == 0;
        }
    }
    true
}

/// Drains until `end`, or until a sooner one that the page is given meanwhile; unless told to stop once more.
async fn stop(
    running: &Running,
    mut end: Instant,
    page: &Page,
    signals: &mut Signals,
) -> Result<(), StuckError> {
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        tokio::select! {
            stopped = running.kill(wait) => return stopped,
            sooner = page.told_to_kill(Some(end)) => end = sooner,
            () = signals.told_to_stop() => return running.kill(Duration::ZERO).await,
        }
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All that was in the log when feeding ended is done.
    Idle,
    /// Told to stop.
    Stopped,
}

/// Lines to be fed.
type Input = Box<dyn Gather>;

fn open_input(path: &Path) -> Result<Input, RunError> {
    if path == Path::new("-") {
        return Ok(Box::new(StreamLines::new(io::stdin())));
    }
    let failed = |source| RunError::Input { path: path.display().to_string(), source };
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_file() || metadata.is_dir() {
        return Ok(Box::new(FileLines::open(path).map_err(failed)?));
    }
    // A pipe or a device gives its lines once, to whoever opens it.
    Ok(Box::new(StreamLines::new(File::open(path).map_err(failed)?)))
}
