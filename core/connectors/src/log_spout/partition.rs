//! One partition as its spout task reads it.

use std::collections::VecDeque;
use std::time::Duration;

use topo_core::log::{Consumed, Fetched, Log, LogError, TopicPartition};

use super::config::{LogSpoutConfig, StartAt};
use super::window::Window;

/// How long one fetch waits for records; the next one follows at once.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// Records fetched and records open.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) at: TopicPartition,
    /// Emitted and not done.
    pub(super) window: Window,
    /// Fetched and not emitted.
    pub(super) buffer: VecDeque<Consumed>,
    /// Where the next fetch begins.
    pub(super) fetch_offset: i64,
    /// What was committed last.
    pub(super) committed: i64,
}

impl Partition {
    /// Finds out where to begin.
    pub(super) async fn open(
        log: &dyn Log,
        at: TopicPartition,
        config: &LogSpoutConfig,
    ) -> Result<Self, LogError> {
        let held = log.offsets(&at).await?;
        let committed = log.committed(&config.group, &at).await?;
        let offset = match config.start {
            StartAt::Committed => committed.unwrap_or(held.log_start),
            StartAt::Start => held.log_start,
            StartAt::End => held.high_watermark,
        };
        // What was committed may have been deleted since, or lie beyond a log that was put back from a backup.
        let begin = offset.clamp(held.log_start, held.high_watermark);
        if begin != offset {
            tracing::warn!(partition = %at, offset, begin, "the committed offset is not in the log");
        }
        let window = Window::new(begin);
        Ok(Self { at, window, buffer: VecDeque::new(), fetch_offset: begin, committed: begin })
    }

    /// Takes what a fetch gave. Where retention has deleted what was to be read next, reading goes on at the log's start.
    pub(super) fn take(&mut self, fetched: Result<Fetched, LogError>) -> Result<(), LogError> {
        match fetched {
            Ok(fetched) => {
                self.fetch_offset = fetched.next_offset;
                self.buffer.extend(fetched.records);
                Ok(())
            }
            Err(LogError::OffsetOutOfRange { held, asked, .. }) if asked < held.log_start => {
                tracing::warn!(partition = %self.at, from = asked, to = held.log_start, "records were deleted unread");
                self.fetch_offset = held.log_start;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn can_emit(&self, window: u64) -> bool {
        !self.buffer.is_empty() && self.window.span() < window
    }

    pub(super) fn wants_records(&self, window: u64) -> bool {
        self.buffer.is_empty() && self.window.span() < window
    }
}
