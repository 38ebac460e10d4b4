//! How a [`LogSpout`](super::LogSpout) reads, retries and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use topo_core::Backoff;
use topo_core::log::LogError;
use topo_core::schedule::Moment;

/// Where a group that has committed nothing, or that is told to, begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// At the committed offset; at the start of what the log holds where there is none.
    #[default]
    Committed,
    /// At the start of what the log holds.
    Start,
    /// At what is appended from now on.
    End,
}

/// Settings of a log spout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpoutConfig {
    /// The topic that is read.
    pub topic: Arc<str>,
    /// The group that offsets are committed for.
    pub group: Arc<str>,
    /// Where to begin.
    pub start: StartAt,
    /// How often a record is tried; at least 1. After the last attempt it goes to the dead letters.
    pub attempts: u32,
    /// How long a failed record waits before its second attempt; doubled for each later one, with jitter, up to
    /// `longest_backoff`.
    pub backoff: Duration,
    /// The longest wait between two attempts.
    pub longest_backoff: Duration,
    /// The topic for records that are given up; created when it is needed.
    pub dead_letters: Arc<str>,
    /// Topics for records that are given up after a failure of certain components, by the component's name.
    pub dead_letters_of: BTreeMap<Arc<str>, Arc<str>>,
    /// How often the frontier is committed while records flow.
    pub commit_interval: Duration,
    /// How many offsets may lie between the oldest record that is not done and the newest. Beyond that, the spout waits
    /// for the oldest.
    pub window: u64,
    /// Bytes per fetch.
    pub fetch_bytes: usize,
    /// How long what is open may take to complete when the group takes partitions back; the others wait as long.
    pub release_wait: Duration,
}

impl LogSpoutConfig {
    /// Reads `topic` for `group`, with dead letters in `topic.dead-letter`.
    pub fn new(topic: &str, group: &str) -> Self {
        Self {
            topic: topic.into(),
            group: group.into(),
            start: StartAt::default(),
            attempts: 5,
            backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(30),
            dead_letters: format!("{topic}.dead-letter").into(),
            dead_letters_of: BTreeMap::new(),
            commit_interval: Duration::from_millis(500),
            window: 1 << 20,
            fetch_bytes: 1 << 20,
            release_wait: Duration::from_secs(2),
        }
    }

    /// The topic for records that `component` failed.
    pub(super) fn dead_letters_for(&self, component: &str) -> &Arc<str> {
        self.dead_letters_of.get(component).unwrap_or(&self.dead_letters)
    }

    /// Whether every topic for dead letters can be one. To find out when the first letter is written would be too late: the
    /// spout could only write it again and again.
    pub(super) fn check(&self) -> Result<(), LogError> {
        for letters in self.dead_letters_of.values().chain([&self.dead_letters]) {
            if !is_topic_name(letters) {
                let name = letters.escape_debug();
                return Err(LogError::Invalid(format!(
                    "dead letters cannot go to `{name}`: a topic's name is 1 to 249 letters, digits, dots, underscores \
                     and hyphens"
                )));
            }
            if *letters == self.topic {
                return Err(LogError::Invalid(format!(
                    "dead letters of topic `{letters}` cannot go to `{letters}` itself, where they would be read again \
                     for ever; name another topic"
                )));
            }
        }
        Ok(())
    }

    /// When attempt number `attempt`, from 2, is due after a failure at `now`. `salt` keeps what failed together apart.
    pub(super) fn due(&self, attempt: u32, now: Moment, salt: u64) -> Moment {
        Backoff { first: self.backoff, longest: self.longest_backoff }.due(attempt, now, salt)
    }
}

/// Kafka's rule for names of topics.
fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_go_where_their_component_says_and_never_where_they_came_from() {
        let mut config = LogSpoutConfig::new("access", "access-log");
        assert_eq!(config.check().map_err(|error| error.to_string()), Ok(()));
        config.dead_letters_of.insert("parse".into(), "access.unparsed".into());
        let topics = ["parse", "store"].map(|component| &**config.dead_letters_for(component));
        assert_eq!(topics, ["access.unparsed", "access.dead-letter"]);
        for (name, beginning) in [
            ("access", "dead letters of topic `access` cannot go to `access` itself"),
            ("a b", "dead letters cannot go to `a b`: "),
            ("", "dead letters cannot go to ``: "),
            ("..", "dead letters cannot go to `..`: "),
        ] {
            config.dead_letters_of.insert("parse".into(), name.into());
            let refused = config.check().unwrap_err().to_string();
            assert!(refused.starts_with(beginning), "{refused}");
        }
        let long = LogSpoutConfig::new(&"x".repeat(245), "g").check().unwrap_err().to_string();
        assert!(long.contains("1 to 249 letters"), "{long}");
    }
}
