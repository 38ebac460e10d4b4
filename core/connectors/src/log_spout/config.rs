//! How a [`LogSpout`](super::LogSpout) reads, retries and commits.

use std::sync::Arc;
use std::time::Duration;

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
    /// The topic for records that are given up.
    pub dead_letters: Arc<str>,
    /// How often the frontier is committed while records flow.
    pub commit_interval: Duration,
    /// How many offsets may lie between the oldest record that is not done and the newest. Beyond that, the spout waits
    /// for the oldest.
    pub window: u64,
    /// Bytes per fetch.
    pub fetch_bytes: usize,
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
            commit_interval: Duration::from_millis(500),
            window: 1 << 20,
            fetch_bytes: 1 << 20,
        }
    }

    /// The wait before attempt number `attempt`, from 2: between half and all of what doubling gives. `jitter` is 0 to 1.
    pub(super) fn wait_before(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled =
            self.backoff.saturating_mul(1u32.checked_shl(attempt.saturating_sub(2)).unwrap_or(u32::MAX));
        doubled.min(self.longest_backoff).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_takes_off_at_most_half() {
        let config = LogSpoutConfig::new("lines", "word-count");
        assert_eq!(config.wait_before(2, 1.0), Duration::from_millis(100));
        assert_eq!(config.wait_before(4, 1.0), Duration::from_millis(400));
        assert_eq!(config.wait_before(4, 0.0), Duration::from_millis(200));
        assert_eq!(config.wait_before(200, 1.0), config.longest_backoff);
    }
}
