//! Why a command did not do what it was asked.

use std::io;
use std::path::PathBuf;

use topo::launcher::{ExitReason, PortError, RunFailure, StartError};
use topo::ready_made::telecom::GenerateError;
use topo_broker::{BrokerError, GroupError};
use topo_connectors::{Brokers, NoBrokers};
use topo_core::log::LogError;

use crate::new::NewError;
use crate::page::PageError;
use crate::query::QueryError;
use crate::run::RunTargetError;

/// One clear sentence, and the exit code that goes with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data directory is in use, written by a newer version, or damaged.
    #[error(transparent)]
    DataDir(#[from] BrokerError),
    /// The groups of a data directory refused or failed.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// There is no log where one should be.
    #[error(
        "there is no data directory {}; name another with --data-dir DIR, or begin one with \
         `topo topic create TOPIC`",
        .0.display()
    )]
    NoDataDir(PathBuf),
    /// There is no log where one is looked for first.
    #[error(
        "no broker answers at {brokers}, and there is no data directory {}; start one with `topo broker`, or name \
         another with --broker HOST:PORT or --data-dir DIR",
        .dir.display()
    )]
    NoLog {
        /// Where a broker was looked for.
        brokers: Brokers,
        /// Where a data directory was looked for.
        dir: PathBuf,
    },
    /// The environment names two logs.
    #[error("TOPO_BROKER and TOPO_DATA_DIR are both set; say which with --broker or --data-dir")]
    TwoPlaces,
    /// The environment names no log.
    #[error("{name}: {error}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        error: NoBrokers,
    },
    /// A group that others read for.
    #[error("group `{0}` has members, which go on from where they are; stop them first")]
    HasMembers(String),
    /// What nobody else has open is to be watched.
    #[error(
        "nothing moves in a data directory that no process has open; --watch takes a broker, as with --broker HOST:PORT"
    )]
    NothingMoves,
    /// A group that was never heard of.
    #[error("there is no group `{0}`; `topo group list` prints those there are")]
    NoGroup(String),
    /// Where a group begins cannot be said by an offset.
    #[error("a group goes on from where it has committed; with -g, -o is `start` or `end`")]
    GroupOffset,
    /// The broker does not listen.
    #[error(transparent)]
    Port(#[from] PortError),
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
    /// Letters would go where they lie.
    #[error("letters of `{0}` cannot be replayed into `{0}` itself; name another topic with --to TOPIC")]
    ReplayIntoItself(String),
    /// The log refused or failed in the middle of a replay.
    #[error("{source}; {replayed} letters were replayed, and of the others some may be and will be again")]
    ReplayInterrupted {
        /// How many letters are done.
        replayed: u64,
        /// What the log said.
        source: LogError,
    },
    /// Some letters stay what they are.
    #[error(
        "{0} letters could not be replayed, for the reasons above; they stay where they are, and -o OFFSET comes back to them"
    )]
    Unreplayed(u64),
    /// Events were not generated whole.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The truth of what was generated has no place.
    #[error("{} cannot be written: {source}; the events are in the log, and the same command writes their truth again", .path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard input failed.
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    /// Standard output failed or was closed.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    /// The command did not begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A run did not end well.
    #[error(transparent)]
    Run(#[from] RunFailure),
    /// There is nothing to be run.
    #[error(transparent)]
    RunTarget(#[from] RunTargetError),
    /// A crate was not created.
    #[error(transparent)]
    New(#[from] NewError),
    /// No topology told what was asked.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The files of the runs on this machine cannot be looked at.
    #[error("the topologies that run here cannot be looked for: {0}")]
    Runs(io::Error),
    /// What is live needs a terminal.
    #[error("standard output is no terminal; --json prints the same line by line")]
    NoTerminal,
    /// No state told what was asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A topology did not start or did not end as asked.
    #[error("{0}")]
    Topology(String),
    /// The system gave no thread, or no figures.
    #[error("the system refuses: {0}")]
    System(io::Error),
}

impl ExitReason for Failure {
    fn is_closed_pipe(&self) -> bool {
        match self {
            Failure::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Failure::Run(failure) => failure.is_closed_pipe(),
            _ => false,
        }
    }

    fn is_underneath(&self) -> bool {
        match self {
            Failure::Interrupted { source: LogError::Unavailable(_), .. }
            | Failure::Generate(GenerateError::Log { source: LogError::Unavailable(_), .. })
            | Failure::ReplayInterrupted { source: LogError::Unavailable(_), .. } => true,
            Failure::Log(source)
            | Failure::Interrupted { source, .. }
            | Failure::Generate(GenerateError::Log { source, .. })
            | Failure::ReplayInterrupted { source, .. } => {
                matches!(source, LogError::Corrupt(_) | LogError::Storage(_) | LogError::Closed)
            }
            Failure::DataDir(error) => !matches!(error, BrokerError::DataDirectory(_)),
            Failure::Start(error) => error.is_underneath(),
            Failure::Run(failure) => failure.is_underneath(),
            Failure::New(error) => matches!(error, NewError::Write { .. }),
            Failure::Unreplayed(_) | Failure::Input(_) | Failure::Output(_) | Failure::System(_) => true,
            _ => false,
        }
    }
}
