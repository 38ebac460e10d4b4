//! A call to the log that failed and is made again.
//!
//! The spout keeps what it has open meanwhile: to start over would emit all of it a second time.

use topo_core::schedule::Moment;

use super::config::LogSpoutConfig;

/// How often in a row one kind of call has failed, and when it is made again.
#[derive(Debug, Default)]
pub(super) struct Setback {
    failures: u32,
    /// Not before this.
    pub(super) until: Moment,
}

impl Setback {
    /// The call succeeded.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// The call failed; the next one waits as a record's next attempt would.
    pub(super) fn again(&mut self, config: &LogSpoutConfig, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.until = config.due(self.failures.saturating_add(1), now, 0);
    }
}
