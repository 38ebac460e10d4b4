//! Why a command did not do what it was asked.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use topo::launcher::RunError;
use topo_broker::BrokerError;
use topo_connectors::gather::GatherError;
use topo_core::log::LogError;

/// One clear sentence, and the exit code that goes with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data directory is in use, written by a newer version, or damaged.
    #[error(transparent)]
    DataDir(#[from] BrokerError),
    /// There is no log where one should be.
    #[error(
        "there is no data directory {}; name another with --data-dir DIR, or begin one with \
         `topo topic create TOPIC`",
        .0.display()
    )]
    NoDataDir(PathBuf),
    /// The topic has fewer partitions.
    #[error("topic `{topic}` has no partition {partition}; it has {partitions}, numbered from 0")]
    NoPartition {
        /// The topic asked.
        topic: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// An offset was given for several partitions at once.
    #[error(
        "an offset belongs to one partition, and topic `{topic}` has {partitions}; say which with -p PARTITION"
    )]
    WhichPartition {
        /// The topic asked.
        topic: String,
        /// How many partitions it has.
        partitions: u32,
    },
    /// A line that no log would take.
    #[error("line {line} is longer than {most} bytes; the {acknowledged} lines before it are in the log")]
    LongLine {
        /// Its number, from 1.
        line: u64,
        /// How long a line may be.
        most: usize,
        /// How many lines were acknowledged.
        acknowledged: u64,
    },
    /// Some lines were acknowledged before the log refused or failed.
    #[error("{source}; the first {acknowledged} lines are in the log, of the rest some may be")]
    Interrupted {
        /// How many lines were acknowledged.
        acknowledged: u64,
        /// What the log said.
        source: LogError,
    },
    /// The environment asks for logging in words that mean nothing.
    #[error("the logging filter of {variable} is not understood: {reason}; a level such as `info` will do")]
    LogFilter {
        /// The environment variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Standard input failed.
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    /// Standard output failed or was closed.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    /// A run ended in an error.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Records ran out of attempts.
    #[error(
        "{0} records ran out of attempts; they are in the topic's dead letters, with the reason in their headers"
    )]
    Exhausted(u64),
    /// A run was told to stop before its input was done.
    #[error("stopped before all of the input was done; started again, it goes on from there")]
    CutShort,
    /// A topology did not start or did not end as asked.
    #[error("{0}")]
    Topology(String),
    /// The system gave no threads.
    #[error("the system refuses to start the runtime: {0}")]
    System(io::Error),
}

impl Failure {
    /// Whether the reader of standard output simply had enough.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 2 for what the user can put right, 1 for what failed underneath.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let underneath = match self {
            Failure::Log(source) | Failure::Interrupted { source, .. } => is_storage(source),
            Failure::DataDir(error) => !matches!(error, BrokerError::DataDirectory(_)),
            Failure::Run(error) => is_underneath(error),
            Failure::Exhausted(_) | Failure::CutShort => true,
            Failure::Input(_) | Failure::Output(_) | Failure::System(_) => true,
            _ => false,
        };
        ExitCode::from(if underneath { 1 } else { 2 })
    }
}

/// Whether the log's storage failed.
fn is_storage(error: &LogError) -> bool {
    matches!(error, LogError::Corrupt(_) | LogError::Storage(_) | LogError::Closed)
}

/// Whether a run failed for a reason that the user cannot put right by another setting.
fn is_underneath(error: &RunError) -> bool {
    match error {
        RunError::Log(error) => is_storage(error),
        RunError::DataDirectory(error) => !matches!(error, BrokerError::DataDirectory(_)),
        RunError::Gather(GatherError::Log { source, .. }) => is_storage(source),
        RunError::Gather(GatherError::LongLine { .. }) => false,
        RunError::Stuck(_) | RunError::Signal(_) | RunError::Gather(_) => true,
        _ => false,
    }
}
