//! One partition as its spout task reads it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use topo_core::log::{Consumed, FetchLimit, Fetched, Log, LogError, TopicPartition};
use topo_core::schedule::Moment;

use super::config::{LogSpoutConfig, StartAt};
use super::event_time::PartitionClock;
use super::setback::Setback;
use super::window::Window;
use crate::source_progress::{Resume, SourceProgress};

/// How long one fetch waits for records; the next one follows at once.
const POLL: Duration = Duration::from_millis(500);

/// Records fetched and records open.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) at: TopicPartition,
    /// `at` as it is shown.
    pub(super) name: Arc<str>,
    /// Emitted and not done.
    pub(super) window: Window,
    /// The times of what was emitted, where the spout tells event time.
    pub(super) clock: PartitionClock,
    /// Since when it is known that there is nothing more to read.
    quiet_since: Option<Moment>,
    /// Fetched and not emitted.
    pub(super) buffer: VecDeque<Consumed>,
    /// Where the next fetch begins.
    fetch_offset: i64,
    /// Whether a fetch is under way.
    fetching: bool,
    fetch_setback: Setback,
    /// Fetch again once no more than so many records are buffered: half of what the last fetch gave.
    refill_at: usize,
    /// What was committed last, or where a group without a committed offset begins.
    pub(super) committed: i64,
}

impl Partition {
    /// Finds out where to begin: where this process would go on, if nothing is committed since, else where the settings
    /// say.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) async fn open(
        log: &dyn Log,
        at: TopicPartition,
        config: &LogSpoutConfig,
        progress: &SourceProgress,
    ) -> Result<Self, LogError> {
        let held = log.offsets(&at).await?;
        let committed = log.committed(&config.group, &at).await?.unwrap_or(held.log_start);
        let offset = match progress.resume(&at) {
            Resume::At(offset) => offset,
            Resume::Committed => committed,
            Resume::Fresh => match config.start {
                StartAt::Committed => committed,
                StartAt::Start => held.log_start,
                StartAt::End => held.high_watermark,
            },
        };
        // What was committed may have been deleted since, or lie beyond a log that was put back from a backup.
        let begin = offset.clamp(held.log_start, held.high_watermark);
        if begin != offset {
            tracing::warn!(partition = %at, offset, begin, "the committed offset is not in the log");
        }
        progress.begun(&at, begin, begin == committed);
        Ok(Self {
            name: at.to_string().into(),
            at,
            window: Window::default(),
            clock: PartitionClock::default(),
            quiet_since: None,
            buffer: VecDeque::new(),
            fetch_offset: begin,
            fetching: false,
            fetch_setback: Setback::default(),
            refill_at: 0,
            committed,
        })
    }

    /// The offset to commit: every record below it is done.
    pub(super) fn frontier(&self) -> i64 {
        let waiting = || self.buffer.front().map(|record| record.offset);
        self.window.first().or_else(waiting).unwrap_or(self.fetch_offset)
    }

    /// The next record to be emitted: every record below it was.
    pub(super) fn position(&self) -> i64 {
        self.buffer.front().map_or(self.fetch_offset, |record| record.offset)
    }

    /// Whether the frontier is not what is committed. It may also lie below, where reading was told to begin there.
    pub(super) fn has_moved(&self) -> bool {
        self.frontier() != self.committed
    }

    /// Whether all that was fetched is done.
    pub(super) fn is_at_rest(&self) -> bool {
        self.window.first().is_none() && self.buffer.is_empty()
    }

    /// When it will have been quiet for `long`, if nothing comes and all that came is done.
    pub(super) fn idle_at(&self, long: Duration) -> Option<Moment> {
        self.quiet_since.filter(|_| self.is_at_rest()).map(|since| since.after(long))
    }

    /// Whether it has been quiet for `long`.
    pub(super) fn is_idle(&self, now: Moment, long: Duration) -> bool {
        self.idle_at(long).is_some_and(|at| at <= now)
    }

    pub(super) fn can_emit(&self, window: u64) -> bool {
        !self.buffer.is_empty() && self.window.span() < window
    }

    /// When a fetch is to be started; `None` while there is no need or one is under way.
    pub(super) fn fetch_due(&self, window: u64) -> Option<Moment> {
        let wanted = self.buffer.len() <= self.refill_at && self.window.span() < window;
        (wanted && !self.fetching).then_some(self.fetch_setback.until)
    }

    /// The next fetch.
    pub(super) fn fetch(
        &mut self,
        log: Arc<dyn Log>,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Fetched, LogError>> + Send + use<> {
        self.fetching = true;
        let (at, offset) = (self.at.clone(), self.fetch_offset);
        async move {
            log.fetch(&at, offset, FetchLimit { max_bytes, max_wait: POLL, ..FetchLimit::default() }).await
        }
    }

    /// Takes what a fetch gave. Where retention has deleted what was to be read next, reading goes on at the log's start.
    ///
    /// # Errors
    /// The log ends below what was read: nothing that is open here can be trusted.
    pub(super) fn take(
        &mut self,
        fetched: Result<Fetched, LogError>,
        config: &LogSpoutConfig,
        now: Moment,
    ) -> Result<(), LogError> {
        self.fetching = false;
        match fetched {
            Ok(fetched) => {
                self.fetch_setback.over();
                let is_quiet = fetched.records.is_empty() && fetched.next_offset >= fetched.high_watermark;
                self.quiet_since = is_quiet.then(|| self.quiet_since.unwrap_or(now));
                let asked = self.fetch_offset;
                self.refill_at = fetched.records.len() / 2;
                self.buffer.extend(fetched.records.into_iter().filter(|record| record.offset >= asked));
                self.fetch_offset = fetched.next_offset;
            }
            Err(LogError::OffsetOutOfRange { held, asked, .. }) if asked < held.log_start => {
                tracing::warn!(partition = %self.at, from = asked, to = held.log_start, "records were deleted unread");
                self.fetch_offset = held.log_start;
            }
            Err(error @ LogError::OffsetOutOfRange { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(partition = %self.at, %error, "a fetch failed and is made again");
                self.quiet_since = None;
                self.fetch_setback.again(config, now);
            }
        }
        Ok(())
    }
}
