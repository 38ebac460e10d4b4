//! What a run says as it starts: what runs, where its page and its Kafka port are, where its data lies and how durable it is.

use std::fmt;
use std::net::SocketAddr;

use topo_broker::Durability;

use super::application::Application;
use super::options::{LogPlace, RunOptions, StatusAddr};

/// The banner.
pub(super) struct Banner<'a> {
    pub(super) application: &'a Application,
    pub(super) options: &'a RunOptions,
    pub(super) page: Option<&'a str>,
    pub(super) port: &'a [SocketAddr],
    pub(super) id: &'a str,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topics: Vec<&str> = Vec::new();
        topics.extend(self.application.input_topic().map(|topic| &**topic));
        topics.extend(self.application.output_topics().iter().map(|topic| &**topic));
        writeln!(f, "  topology  {}", self.id)?;
        match self.page {
            Some(url) => writeln!(f, "  page      {url}")?,
            None => writeln!(f, "  page      off")?,
        }
        if let (StatusAddr::At(address), None) = (self.options.status, &self.options.status_token)
            && !address.ip().to_canonical().is_loopback()
        {
            writeln!(f, "            open to other machines: whoever reaches it may stop the topology")?;
        }
        let topics = topics.join(", ");
        match &self.options.broker {
            LogPlace::Embedded => self.embedded(f, &topics),
            LogPlace::Kafka(brokers) => {
                writeln!(f, "  kafka     {brokers}, a broker of its own")?;
                writeln!(f, "  data      kafka://{brokers} (topics {topics})")?;
                writeln!(
                    f,
                    "  durable   as the broker's topics are: every replica in sync acknowledges a record"
                )
            }
        }
    }
}

impl Banner<'_> {
    /// What is said of a log in this process.
    fn embedded(&self, f: &mut fmt::Formatter<'_>, topics: &str) -> fmt::Result {
        let port: Vec<String> = self.port.iter().map(SocketAddr::to_string).collect();
        writeln!(f, "  kafka     {}", if port.is_empty() { "off".to_owned() } else { port.join(", ") })?;
        if self.port.iter().any(|address| !address.ip().is_loopback()) {
            writeln!(
                f,
                "            open to other machines: nobody is asked who they are, and nothing is encrypted"
            )?;
        }
        writeln!(f, "  data      {} (topics {topics})", self.options.data_dir.display())?;
        let durability = self.options.durability;
        let unless = "unless a topic's flush.ms says otherwise";
        match durability {
            Durability::Fsync => writeln!(f, "  durable   {}, {unless}", durability.promise()),
            Durability::Interval(_) | Durability::Os => writeln!(
                f,
                "  durable   {}, {unless}; a power loss takes back what was not synced",
                durability.promise()
            ),
        }
    }
}
