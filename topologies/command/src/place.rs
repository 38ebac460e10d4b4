//! Where the log is that a verb works on: at a broker, or in a data directory that nobody has open.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo_connectors::Brokers;
use topo_connectors::kafka::{KafkaConfig, KafkaLog};
use topo_core::log::{Isolation, Log, LogError};
use topo_core::schedule::TokioScheduler;

use crate::data_dir;
use crate::failure::Failure;

/// Where the environment says that the log is.
const BROKER: &str = "TOPO_BROKER";
const DATA_DIR: &str = "TOPO_DATA_DIR";

/// What `TOPO_BROKER` may also say, for `topo run`: the log in the process itself.
const EMBEDDED: &str = "embedded";

/// Whoever waits for a command should not wait longer for a broker that is gone.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Said below the help of the verbs that work on a log.
pub(crate) const HELP: &str = "\
Where neither --broker nor --data-dir is given, here or by TOPO_BROKER or TOPO_DATA_DIR in the environment, the log is at \
127.0.0.1:9092 if a broker answers there, else in ./topo-data; standard error says which.";

/// Where the log is, as verbs take it.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The broker, or several of its cluster: HOST:PORT or kafka://HOST:PORT,… [env: TOPO_BROKER]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "data_dir")]
    broker: Option<Brokers>,
    /// In place of a broker a data directory, which no process may have open [env: TOPO_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What was asked for, on the command line or else in the environment.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Broker(Brokers),
    DataDir(PathBuf),
    Nothing,
}

/// A log that is open.
pub(crate) struct Opened {
    /// The log.
    pub(crate) log: Arc<dyn Log>,
    /// What it is underneath.
    pub(crate) kind: Kind,
}

/// What a log is underneath.
pub(crate) enum Kind {
    Embedded(Box<EmbeddedLog>),
    Kafka(KafkaLog),
}

impl Place {
    /// Opens the log. A data directory must be there: a mistyped name should not begin a second log.
    ///
    /// # Errors
    /// [`Failure::NoDataDir`] or [`Failure::NoLog`]; [`Failure::DataDir`] where it is in use or damaged;
    /// [`Failure::Log`] where the broker does not answer.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        self.open_as(false, Isolation::ReadCommitted).await
    }

    /// Opens the log to read it at an isolation.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) async fn open_at(&self, isolation: Isolation) -> Result<Opened, Failure> {
        self.open_as(false, isolation).await
    }

    /// Opens the log, and begins a data directory where there is neither that nor a broker.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) async fn create(&self) -> Result<Opened, Failure> {
        self.open_as(true, Isolation::ReadCommitted).await
    }

    async fn open_as(&self, create: bool, isolation: Isolation) -> Result<Opened, Failure> {
        match self.asked(|name| env::var(name).ok())? {
            Asked::Broker(brokers) => Ok(Opened::new(Kind::Kafka(connect(&brokers, isolation).await?))),
            Asked::DataDir(dir) if create || dir.is_dir() => open_dir(&dir, isolation),
            Asked::DataDir(dir) => Err(Failure::NoDataDir(dir)),
            Asked::Nothing => open_default(create, isolation).await,
        }
    }

    fn asked(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Asked, Failure> {
        if let Some(brokers) = &self.broker {
            return Ok(Asked::Broker(brokers.clone()));
        }
        if let Some(dir) = &self.data_dir {
            return Ok(Asked::DataDir(dir.clone()));
        }
        let said = |name| variable(name).filter(|value: &String| !value.is_empty());
        match (said(BROKER).filter(|value| value != EMBEDDED), said(DATA_DIR)) {
            (Some(_), Some(_)) => Err(Failure::TwoPlaces),
            (Some(text), None) => {
                let brokers = text.parse().map_err(|error| Failure::Variable { name: BROKER, error });
                brokers.map(Asked::Broker)
            }
            (None, Some(dir)) => Ok(Asked::DataDir(dir.into())),
            (None, None) => Ok(Asked::Nothing),
        }
    }
}

/// The broker on this machine if there is one, else the directory where `topo run` keeps its log.
async fn open_default(create: bool, isolation: Isolation) -> Result<Opened, Failure> {
    let brokers = Brokers::local();
    // Where standard error is closed, the verb does its work all the same.
    match connect(&brokers, isolation).await {
        Ok(log) => {
            let _ = writeln!(io::stderr(), "using the broker at {brokers}");
            return Ok(Opened::new(Kind::Kafka(log)));
        }
        Err(LogError::Unavailable(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = Path::new(data_dir::DEFAULT);
    if !create && !dir.is_dir() {
        return Err(Failure::NoLog { brokers, dir: dir.into() });
    }
    let opened = open_dir(dir, isolation)?;
    let _ = writeln!(io::stderr(), "no broker answers at {brokers}: using data directory {}", dir.display());
    Ok(opened)
}

async fn connect(brokers: &Brokers, isolation: Isolation) -> Result<KafkaLog, LogError> {
    let config = KafkaConfig { append_timeout: APPEND_TIMEOUT, isolation, ..KafkaConfig::default() };
    KafkaLog::connect(brokers, config).await
}

fn open_dir(dir: &Path, isolation: Isolation) -> Result<Opened, Failure> {
    let clock = Arc::new(TokioScheduler::current());
    let embedded = EmbeddedLog::open(dir, EmbeddedConfig { isolation, ..EmbeddedConfig::default() }, clock)?;
    tracing::debug!(data_dir = %dir.display(), "the data directory is open");
    Ok(Opened::new(Kind::Embedded(Box::new(embedded))))
}

impl Opened {
    fn new(kind: Kind) -> Self {
        let log: Arc<dyn Log> = match &kind {
            Kind::Embedded(log) => Arc::new((**log).clone()),
            Kind::Kafka(log) => Arc::new(log.clone()),
        };
        Self { log, kind }
    }

    /// Closes the log, however the verb ended; what it ended with comes before what closing says.
    ///
    /// # Errors
    /// The verb's, else those of closing.
    pub(crate) async fn close<T>(self, ended: Result<T, Failure>) -> Result<T, Failure> {
        let closed = match &self.kind {
            Kind::Embedded(log) => log.close().await,
            Kind::Kafka(_) => Ok(()),
        };
        let ended = ended?;
        closed?;
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        place: Place,
    }

    fn asked(line: &[&str], variables: &[(&str, &str)]) -> Result<Asked, String> {
        let line = Line::try_parse_from([&["verb"], line].concat()).map_err(|error| error.to_string())?;
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        line.place.asked(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_comes_before_the_environment() {
        let broker = |text: &str| Ok(Asked::Broker(text.parse().unwrap()));
        let dir = |text: &str| Ok(Asked::DataDir(text.into()));
        let both = [(BROKER, "b:1"), (DATA_DIR, "d")];
        assert_eq!(asked(&[], &[]), Ok(Asked::Nothing));
        assert_eq!(asked(&[], &[(BROKER, ""), (DATA_DIR, "")]), Ok(Asked::Nothing));
        assert_eq!(asked(&["--broker", "kafka://a:2"], &both), broker("a:2"));
        assert_eq!(asked(&["--data-dir", "e"], &both), dir("e"));
        assert_eq!(asked(&[], &both[..1]), broker("b:1"));
        assert_eq!(asked(&[], &both[1..]), dir("d"));
        assert_eq!(asked(&[], &[(BROKER, "embedded"), (DATA_DIR, "d")]), dir("d"));
    }

    #[test]
    fn two_places_and_no_address_are_refused() {
        assert!(asked(&["--broker", "a", "--data-dir", "d"], &[]).is_err());
        let said = asked(&[], &[(BROKER, "b"), (DATA_DIR, "d")]).unwrap_err();
        assert_eq!(said, "TOPO_BROKER and TOPO_DATA_DIR are both set; say which with --broker or --data-dir");
        let said = asked(&[], &[(BROKER, "http://b")]).unwrap_err();
        assert!(said.starts_with("TOPO_BROKER: `http://b` is no address of a broker"), "{said}");
    }
}
