//! Settings of a run, as the command line and the environment give them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use topo_broker::{BrokerConfig, Durability, ListenAddress};
use topo_connectors::{Brokers, StartAt};
use topo_core::{Config, Delivery, MicroTransactions, StateBackend};

use crate::embedded::EmbeddedConfig;
use crate::status::Secret;

/// How long records may stay unsynced where an interval is asked for and none is given.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where the page listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusAddr {
    /// There is no page.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl FromStr for StatusAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| "an address such as 127.0.0.1:8080, or `off`".to_owned()),
        }
    }
}

impl fmt::Display for StatusAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Where Kafka clients reach the embedded log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddr {
    /// Nowhere.
    Off,
    /// At this address.
    At(ListenAddress),
}

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// In this process, in its data directory.
    Embedded,
    /// At a broker, in place of that.
    Kafka(Brokers),
}

impl FromStr for LogPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "embedded" => Ok(Self::Embedded),
            _ => text
                .parse()
                .map(Self::Kafka)
                .map_err(|_| "`embedded`, or a broker's address such as kafka://127.0.0.1:9092".to_owned()),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|expected| format!("{expected}, or `off`")),
        }
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum From {
    /// Where the last run durably was
    #[default]
    Committed,
    /// At the start of what the log holds
    Start,
    /// At what is appended from now on
    End,
}

impl std::convert::From<From> for StartAt {
    fn from(from: From) -> Self {
        match from {
            From::Committed => Self::Committed,
            From::Start => Self::Start,
            From::End => Self::End,
        }
    }
}

/// What becomes of a tuple whose tree does not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DeliveryMode {
    /// Trees are not tracked; what is lost is lost
    AtMostOnce,
    /// What fails is replayed
    #[default]
    AtLeastOnce,
    /// Outputs, changes of state and offsets are committed together, in batches; what fails is taken back first
    ExactlyOnce,
}

/// Where the values of keyed state live while the topology runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StatePlace {
    /// In memory
    #[default]
    Memory,
    /// On disk, in folder `state` of the data directory, for states larger than memory; windows that are open stay in memory
    /// besides
    Disk,
}

/// Settings of a run; each is also read from the environment.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Feed this file's lines, or standard input's where it is -, to the topology's input topic
    #[arg(long, env = "TOPO_INPUT", value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// End once all that is in the input topic after feeding is done, or where there is no such topic, once no spout has
    /// anything to emit; and print a summary
    #[arg(long, env = "TOPO_UNTIL_IDLE")]
    pub until_idle: bool,
    /// The data directory; one process at a time may have it open
    #[arg(long, env = "TOPO_DATA_DIR", default_value = "topo-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where the topics are: `embedded`, in the data directory, or at a broker, kafka://HOST:PORT
    #[arg(long, env = "TOPO_BROKER", default_value = "embedded", value_name = "WHERE")]
    pub broker: LogPlace,
    /// Where the status page listens, or `off`
    #[arg(long, env = "TOPO_STATUS", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub status: StatusAddr,
    /// What everybody who asks the page must show; beyond this machine it asks for one, and for a certificate
    #[arg(long, env = "TOPO_STATUS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub status_token: Option<Secret>,
    /// The page's certificate, in PEM, with those that lead to its root behind it: the page then speaks HTTPS
    #[arg(long, env = "TOPO_STATUS_CERT", value_name = "FILE", requires = "status_key")]
    pub status_cert: Option<PathBuf>,
    /// The private key of the page's certificate, in PEM
    #[arg(long, env = "TOPO_STATUS_KEY", value_name = "FILE", requires = "status_cert")]
    pub status_key: Option<PathBuf>,
    /// A name under which the page is addressed, as its certificate has it, beside its address; repeat it for several
    #[arg(long, env = "TOPO_STATUS_NAME", value_name = "NAME", value_delimiter = ',')]
    pub status_name: Vec<String>,
    /// Where Kafka clients reach the log: an IP address or localhost, and a port; or `off`
    #[arg(long, env = "TOPO_LISTEN", default_value = "localhost:9092", value_name = "ADDR")]
    pub listen: ListenAddr,
    /// Listen on addresses that other machines reach, though nobody who connects there is asked who they are
    #[arg(long)]
    pub insecure_bind: bool,
    /// When records are synced to disk, in topics without a flush.ms of their own: `fsync`, before they are acknowledged;
    /// `interval` or `interval:D`, within a time such as 200ms (1s unless given); `os`, when the system pleases. With the
    /// last two a power loss takes back what was not synced; a killed process loses nothing
    #[arg(
        long, env = "TOPO_DURABILITY", default_value = "fsync", value_parser = durability,
        value_name = "fsync|interval[:D]|os"
    )]
    pub durability: Durability,
    /// How many tasks a component has; repeat it, or write split=4,count=2, for several
    #[arg(long, env = "TOPO_TASKS", value_name = "COMPONENT=N", value_parser = tasks, value_delimiter = ',')]
    pub tasks: Vec<(String, usize)>,
    /// What becomes of a tuple whose tree does not complete
    #[arg(long, env = "TOPO_DELIVERY", value_enum, default_value_t, value_name = "MODE")]
    pub delivery: DeliveryMode,
    /// How long a micro-transaction of `--delivery exactly-once` gathers input before it is committed, such as 100ms
    #[arg(long, env = "TOPO_BATCH_INTERVAL", value_parser = duration, default_value = "100ms", value_name = "D")]
    pub batch_interval: Duration,
    /// How long a tuple may wait for its batch to fill while its sender is busy, such as 5ms
    #[arg(long, env = "TOPO_MAX_BATCH_DELAY", value_parser = duration, default_value = "5ms", value_name = "D")]
    pub max_batch_delay: Duration,
    /// Where keyed state lives while the topology runs; either way it is kept in topics, and restored from them
    #[arg(long, env = "TOPO_STATE", value_enum, default_value_t, value_name = "WHERE")]
    pub state: StatePlace,
    /// Where reading begins
    #[arg(long, env = "TOPO_FROM", value_enum, default_value_t, value_name = "WHERE")]
    pub from: From,
}

impl RunOptions {
    /// The runtime's settings.
    pub fn config(&self) -> Config {
        let delivery = match self.delivery {
            DeliveryMode::AtMostOnce => Delivery::AtMostOnce,
            DeliveryMode::AtLeastOnce => Delivery::AtLeastOnce,
            DeliveryMode::ExactlyOnce => Delivery::ExactlyOnce,
        };
        let transactions =
            MicroTransactions { interval: self.batch_interval, ..MicroTransactions::default() };
        Config { delivery, max_batch_delay: self.max_batch_delay, transactions, ..Config::default() }
    }

    /// Where values of keyed state live. At a broker, too, the files are in the data directory of this machine.
    pub(super) fn state_backend(&self) -> StateBackend {
        match self.state {
            StatePlace::Memory => StateBackend::Memory,
            StatePlace::Disk => StateBackend::disk(self.data_dir.join("state")),
        }
    }

    /// The embedded log's settings.
    pub fn embedded(&self) -> EmbeddedConfig {
        let mut broker = BrokerConfig::default();
        broker.topic_defaults.durability = self.durability;
        EmbeddedConfig { broker, ..EmbeddedConfig::default() }
    }
}

/// `COMPONENT=N`.
fn tasks(text: &str) -> Result<(String, usize), String> {
    let (component, count) = text.split_once('=').ok_or("COMPONENT=N, such as split=4")?;
    let count =
        count.parse().ok().filter(|count| *count > 0).ok_or("a whole number from 1 on after the =")?;
    Ok((component.to_owned(), count))
}

/// `fsync`, `interval`, `interval:D` or `os`.
fn durability(text: &str) -> Result<Durability, String> {
    match (text, text.split_once(':')) {
        ("fsync", _) => Ok(Durability::Fsync),
        ("interval", _) => Ok(Durability::Interval(INTERVAL)),
        ("os", _) => Ok(Durability::Os),
        (_, Some(("interval", every))) => match duration(every)? {
            Duration::ZERO => Err("an interval of nothing is `fsync`".to_owned()),
            every => Ok(Durability::Interval(every)),
        },
        _ => Err("`fsync`, `interval`, `interval:D` such as interval:200ms, or `os`".to_owned()),
    }
}

/// A number with a unit: `500us`, `5ms`, `2s`, `1m`, or `0`.
///
/// # Errors
/// A sentence that says how to write one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write one such as 500us, 5ms, 2s or 1m");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "" if number == 0 => Ok(Duration::ZERO),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "ms", "-1s", "1h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_durability_has_a_name_and_an_interval_may_have_a_length() {
        let interval = |millis| Ok(Durability::Interval(Duration::from_millis(millis)));
        assert_eq!((durability("fsync"), durability("os")), (Ok(Durability::Fsync), Ok(Durability::Os)));
        assert_eq!((durability("interval"), durability("interval:200ms")), (interval(1_000), interval(200)));
        for wrong in ["", "sync", "interval:", "interval:0", "interval:0ms", "interval:5", "os:1s"] {
            assert!(durability(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tasks_are_a_name_and_a_count() {
        assert_eq!(tasks("split=4"), Ok(("split".to_owned(), 4)));
        for wrong in ["split", "split=", "split=0", "split=x"] {
            assert!(tasks(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_log_is_embedded_or_at_a_broker() {
        assert_eq!("embedded".parse(), Ok(LogPlace::Embedded));
        let kafka =
            |text: &str| text.parse::<Brokers>().map(LogPlace::Kafka).map_err(|error| error.to_string());
        assert_eq!("kafka://a:1".parse(), kafka("a:1"));
        assert_eq!("a".parse(), kafka("a:9092"));
        assert!("http://a".parse::<LogPlace>().is_err());
    }

    #[test]
    fn an_address_may_be_off() {
        assert_eq!("off".parse(), Ok(StatusAddr::Off));
        assert_eq!("off".parse(), Ok(ListenAddr::Off));
        assert_eq!("localhost:9092".parse(), Ok(ListenAddr::At(ListenAddress::localhost(9092))));
        assert!("9092".parse::<ListenAddr>().unwrap_err().ends_with("or `off`"));
        assert!("8080".parse::<StatusAddr>().is_err());
    }
}
