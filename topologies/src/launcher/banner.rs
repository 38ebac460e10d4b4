//! What a run says as it starts: what runs, where its page is, where its data lies and how durable it is.

use std::fmt;
use std::net::SocketAddr;

use super::application::Application;
use super::options::{LogPlace, RunOptions};

/// The banner.
pub(super) struct Banner<'a> {
    pub(super) application: &'a Application,
    pub(super) options: &'a RunOptions,
    pub(super) page: Option<SocketAddr>,
    pub(super) id: &'a str,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topics: Vec<&str> = Vec::new();
        topics.extend(self.application.input_topic().map(|topic| &**topic));
        topics.extend(self.application.output_topics().iter().map(|topic| &**topic));
        writeln!(f, "  topology  {}", self.id)?;
        match self.page {
            Some(address) => writeln!(f, "  page      http://{address}")?,
            None => writeln!(f, "  page      off")?,
        }
        let topics = topics.join(", ");
        match &self.options.broker {
            LogPlace::Embedded => {
                writeln!(f, "  data      {} (topics {topics})", self.options.data_dir.display())?;
                writeln!(
                    f,
                    "  durable   records are synced to disk before they are acknowledged, unless a topic's flush.ms says otherwise"
                )
            }
            LogPlace::Kafka(brokers) => {
                writeln!(f, "  data      kafka://{brokers} (topics {topics})")?;
                writeln!(
                    f,
                    "  durable   as the broker's topics are: every replica in sync acknowledges a record"
                )
            }
        }
    }
}
