//! Settings of a run, as the command line and the environment give them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use topo_connectors::{Brokers, StartAt};
use topo_core::{Config, Delivery};

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
    /// How many tasks a component has; repeat it, or write split=4,count=2, for several
    #[arg(long, env = "TOPO_TASKS", value_name = "COMPONENT=N", value_parser = tasks, value_delimiter = ',')]
    pub tasks: Vec<(String, usize)>,
    /// What becomes of a tuple whose tree does not complete
    #[arg(long, env = "TOPO_DELIVERY", value_enum, default_value_t, value_name = "MODE")]
    pub delivery: DeliveryMode,
    /// How long a tuple may wait for its batch to fill while its sender is busy, such as 5ms
    #[arg(long, env = "TOPO_MAX_BATCH_DELAY", value_parser = duration, default_value = "5ms", value_name = "D")]
    pub max_batch_delay: Duration,
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
        };
        Config { delivery, max_batch_delay: self.max_batch_delay, ..Config::default() }
    }
}

/// `COMPONENT=N`.
fn tasks(text: &str) -> Result<(String, usize), String> {
    let (component, count) = text.split_once('=').ok_or("COMPONENT=N, such as split=4")?;
    let count =
        count.parse().ok().filter(|count| *count > 0).ok_or("a whole number from 1 on after the =")?;
    Ok((component.to_owned(), count))
}

/// A number with a unit: `500us`, `5ms`, `2s`, `1m`, or `0`.
fn duration(text: &str) -> Result<Duration, String> {
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
    fn a_status_address_may_be_off() {
        assert_eq!("off".parse(), Ok(StatusAddr::Off));
        assert!("8080".parse::<StatusAddr>().is_err());
    }
}
