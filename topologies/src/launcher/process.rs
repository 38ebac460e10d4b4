//! From an application to a process: options, logging, runtime, summary, exit code.
//!
//! Invariant: what a user can cause ends with one sentence on standard error and exit code 2; a reader that closes the
//! pipe ends the process with success.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use topo_broker::BrokerError;
use topo_connectors::gather::GatherError;
use topo_core::log::LogError;

use super::application::Application;
use super::options::RunOptions;
use super::{RunError, run};
use crate::logging::{self, BadFilter};

/// Why a process could not begin its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The environment asks for logging in words that mean nothing.
    #[error("the logging filter of {variable} is not understood: {reason}; a level such as `info` will do")]
    LogFilter {
        /// The environment variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system gave no threads.
    #[error("the system refuses to start the runtime: {0}")]
    Runtime(io::Error),
}

/// Why a process did not do what it was asked: one sentence, and how the process ends with it.
pub trait ExitReason: Display + From<StartError> {
    /// Whether the reader of standard output simply had enough.
    fn is_closed_pipe(&self) -> bool;

    /// Whether something failed that the user cannot put right by asking otherwise.
    fn is_underneath(&self) -> bool;
}

/// Why a process that runs an application did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFailure {
    /// It did not begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run ended in an error.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Records ran out of attempts.
    #[error(
        "{0} records ran out of attempts; they are in the dead letters, with the reason in their headers; `topo replay` feeds them in again"
    )]
    Exhausted(u64),
    /// Results of operators were given up.
    #[error("{0} results were given up; the page and the log say why")]
    GivenUp(u64),
    /// The run was told to stop before its input was done.
    #[error("stopped before all of the input was done; started again, it goes on from there")]
    CutShort,
    /// Standard output failed or was closed.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl ExitReason for StartError {
    fn is_closed_pipe(&self) -> bool {
        false
    }

    fn is_underneath(&self) -> bool {
        matches!(self, Self::Runtime(_))
    }
}

impl ExitReason for RunFailure {
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn is_underneath(&self) -> bool {
        match self {
            Self::Start(error) => error.is_underneath(),
            Self::Run(error) => error.is_underneath(),
            Self::Exhausted(_) | Self::GivenUp(_) | Self::CutShort | Self::Output(_) => true,
        }
    }
}

impl RunError {
    /// Whether it is for a reason that the user cannot put right by another setting.
    fn is_underneath(&self) -> bool {
        match self {
            Self::Log(error) | Self::Gather(GatherError::Log { source: error, .. }) => is_storage(error),
            Self::DataDirectory(error) => !matches!(error, BrokerError::DataDirectory(_)),
            Self::Gather(GatherError::LongLine { .. }) => false,
            Self::StoppedItself(_) | Self::Stuck(_) | Self::Signal(_) | Self::Gather(_) => true,
            _ => false,
        }
    }
}

/// Whether the log's storage failed.
fn is_storage(error: &LogError) -> bool {
    matches!(error, LogError::Corrupt(_) | LogError::Storage(_) | LogError::Closed)
}

/// The command line of a process that runs one application.
#[derive(Debug, Parser)]
#[command(after_help = logging::LOGGING_HELP)]
struct CommandLine {
    #[command(flatten)]
    options: RunOptions,
}

/// The whole `main` of a program that runs `application`: takes the options of `topo run` from the command line and the
/// environment, runs until it is told to stop or its input is done, prints the summary, and says how it ended.
///
/// Where the options are not understood, or help is asked for, the process ends here.
///
/// ```no_run
/// use std::process::ExitCode;
/// use topo::prelude::*;
///
/// fn app() -> Application {
///     Application::new("copy", |environment| {
///         let topology = Topology::new("copy");
///         let lines = topology.spout("lines", environment.log_spout("lines", |line| Ok(line.value.clone())));
///         let sink = environment.log_sink("copies", |line: &Option<_>| Record { value: line.clone(), ..Record::default() });
///         topology.rich_bolt("copies", sink).shuffle(&lines);
///         topology
///     })
///     .reads("lines")
///     .writes("copies")
/// }
///
/// fn main() -> ExitCode {
///     topo::main(app())
/// }
/// ```
pub fn main(application: Application) -> ExitCode {
    let command = CommandLine::command().about(format!("Runs topology `{}`.", application.name()));
    let given = CommandLine::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    process(report(application, given.options))
}

/// Runs `application` as [`run`](super::run) does, and prints its summary to standard output.
///
/// # Errors
/// [`RunFailure`]; also where a record ran out of attempts, or a run that should see its input done was cut short.
pub async fn report(application: Application, options: RunOptions) -> Result<(), RunFailure> {
    let until_idle = options.until_idle;
    let summary = run(application, options).await?;
    write!(io::stdout(), "{summary}").map_err(RunFailure::Output)?;
    if summary.exhausted > 0 {
        return Err(RunFailure::Exhausted(summary.exhausted));
    }
    if !summary.is_good() {
        return Err(RunFailure::GivenUp(summary.given_up));
    }
    if until_idle && !summary.idle { Err(RunFailure::CutShort) } else { Ok(()) }
}

/// Does `work` as a process does: sets up logging and the runtime, and where it fails says why, in one sentence on
/// standard error. The exit code is 0, or 2 for what the user can put right, or 1 for what failed underneath.
pub fn process<R: ExitReason>(work: impl Future<Output = Result<(), R>>) -> ExitCode {
    match start_and(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) if reason.is_closed_pipe() => ExitCode::SUCCESS,
        Err(reason) => {
            // Where standard error is closed, the exit code has to do.
            let _ = writeln!(io::stderr(), "error: {reason}");
            ExitCode::from(if reason.is_underneath() { 1 } else { 2 })
        }
    }
}

fn start_and<R: ExitReason>(work: impl Future<Output = Result<(), R>>) -> Result<(), R> {
    let bad = |BadFilter { variable, reason }| StartError::LogFilter { variable, reason };
    logging::start().map_err(bad)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Runtime)?;
    let ended = runtime.block_on(work);
    // A thread may still wait for standard input; nothing of its is wanted any more.
    runtime.shutdown_background();
    ended
}
