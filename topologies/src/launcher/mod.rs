//! From an application to a process that runs it: log, topics, topology, page, input, banner, summary.

mod application;
mod banner;
mod options;
mod summary;

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topo_broker::BrokerError;
use topo_connectors::SourceProgress;
use topo_connectors::gather::{GatherError, gather_lines};
use topo_core::log::{Log, LogError, TopicPartition};
use topo_core::schedule::{Scheduler, TokioScheduler};
use topo_core::{BuildError, LaunchError, Running, StuckError, Topology};

pub use application::{Application, Environment, LogDecoder, LogEncoder};
pub use options::{RunOptions, StatusAddr};
pub use summary::Summary;

use self::banner::Banner;
use crate::embedded::{EmbeddedConfig, EmbeddedLog};
use crate::status::{StatusError, StatusServer};

/// How long open trees have to complete when the process is told to stop.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// Why a topology did not run, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    DataDirectory(#[from] BrokerError),
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
    /// A component's code does not return.
    #[error(transparent)]
    Stuck(#[from] StuckError),
    /// The process cannot listen for signals.
    #[error("signals cannot be received: {0}")]
    Signal(io::Error),
}

/// Runs `application` until it is told to stop, or until all of its input is done where `options` say so.
///
/// Prints a banner to standard error. Needs a tokio runtime with timers and I/O.
///
/// # Errors
/// [`RunError`], each a sentence for the user.
pub async fn run(application: Application, options: RunOptions) -> Result<Summary, RunError> {
    let input = options.input.as_deref().map(open_input).transpose()?;
    if input.is_some() && application.input_topic().is_none() {
        return Err(RunError::NoInput(Arc::clone(application.name())));
    }
    let scheduler = Arc::new(TokioScheduler::current());
    let embedded =
        EmbeddedLog::open(&options.data_dir, EmbeddedConfig::default(), Arc::clone(&scheduler) as _)?;
    let log: Arc<dyn Log> = Arc::new(embedded.clone());
    let ran = run_on(log, scheduler, &application, &options, input).await;
    let closed = embedded.close().await;
    let summary = ran?;
    closed?;
    Ok(summary)
}

async fn run_on(
    log: Arc<dyn Log>,
    scheduler: Arc<dyn Scheduler>,
    application: &Application,
    options: &RunOptions,
    input: Option<Box<dyn Read + Send>>,
) -> Result<Summary, RunError> {
    application.create_topics(&*log).await?;
    let progress = SourceProgress::default();
    let environment = Environment::new(Arc::clone(&log), progress.clone(), application, options);
    let topology: Topology = application.topology(&environment);
    for (component, tasks) in &options.tasks {
        topology.set_tasks(component, *tasks)?;
    }
    let started = Instant::now();
    let running = topology.launch(scheduler, options.config()).await?;
    let served = serve(application, options, &running);
    let ended = match served {
        Ok(_) => until_over(&log, application, options, input, &progress).await,
        Err(ref _refused) => Ok(Ended::Stopped),
    };
    let elapsed = started.elapsed();
    let stopped = running.kill(STOP_WAIT).await;
    if let Some(server) = served? {
        server.shutdown().await;
    }
    let ended = ended?;
    stopped?;
    Ok(Summary::new(&running.snapshot(), &progress, elapsed, ended == Ended::Idle))
}

/// Starts the page, and says on standard error what runs where.
fn serve(
    application: &Application,
    options: &RunOptions,
    running: &Running,
) -> Result<Option<StatusServer>, StatusError> {
    let server = match options.status {
        StatusAddr::Off => None,
        StatusAddr::At(address) => Some(StatusServer::bind(address, Arc::new(running.clone()))?),
    };
    let page = server.as_ref().map(StatusServer::local_addr);
    let banner = Banner { application, options, page, id: running.id() };
    // Where standard error is closed, the topology runs all the same.
    let _ = write!(io::stderr(), "{banner}");
    Ok(server)
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All that was in the log when feeding ended is done.
    Idle,
    /// Told to stop.
    Stopped,
}

async fn until_over(
    log: &Arc<dyn Log>,
    application: &Application,
    options: &RunOptions,
    input: Option<Box<dyn Read + Send>>,
    progress: &SourceProgress,
) -> Result<Ended, RunError> {
    let work = async {
        if let (Some(input), Some(topic)) = (input, application.input_topic()) {
            let lines = gather_lines(&**log, topic, input).await?;
            tracing::info!(lines, %topic, "the input is in the log");
        }
        if !options.until_idle {
            std::future::pending::<()>().await;
        }
        progress.reached(&ends(&**log, application).await?).await;
        Ok(Ended::Idle)
    };
    until_signal(work).await
}

/// One past the last record of each partition that the application reads.
async fn ends(log: &dyn Log, application: &Application) -> Result<Vec<(TopicPartition, i64)>, LogError> {
    let mut ends = Vec::new();
    let Some(topic) = application.input_topic() else { return Ok(ends) };
    let partitions = log.topic(topic).await?.map_or(0, |info| info.partitions);
    for number in 0..partitions {
        let at = TopicPartition::new(Arc::clone(topic), number);
        let end = log.offsets(&at).await?.high_watermark;
        ends.push((at, end));
    }
    Ok(ends)
}

/// Runs `work` until it ends or the process is told to stop, by SIGINT or SIGTERM.
async fn until_signal(work: impl Future<Output = Result<Ended, RunError>>) -> Result<Ended, RunError> {
    let mut work = pin!(work);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(RunError::Signal)?;
    #[cfg(unix)]
    let terminated = async move { terminate.recv().await };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<Option<()>>();
    tokio::select! {
        ended = &mut work => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| Ended::Stopped).map_err(RunError::Signal),
        _ = terminated => Ok(Ended::Stopped),
    }
}

fn open_input(path: &Path) -> Result<Box<dyn Read + Send>, RunError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let failed = |source| RunError::Input { path: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::other("it is a directory; name a file, or - for standard input")));
    }
    Ok(Box::new(file))
}
