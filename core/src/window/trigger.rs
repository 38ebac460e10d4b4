//! When a window gives results before it is complete.

use std::time::Duration;

use super::windows::{WindowError, millis};

/// When windows give results besides when they are complete, which they do as the watermark passes their end, or as the
/// last of their count comes. Early results hold what has come so far, and a complete one follows.
///
/// ```
/// use std::time::Duration;
/// use topo_core::window::Trigger;
///
/// let dashboards = Trigger::watermark().early_every(Duration::from_secs(1)).early_count(1_000);
/// # let _ = dashboards;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trigger {
    count: Option<u64>,
    every: Option<Duration>,
}

impl Trigger {
    /// Only complete windows.
    pub fn watermark() -> Self {
        Self::default()
    }

    /// A result early after each `n` records of a window, too. In sliding windows each record then costs a count in every
    /// window that covers it.
    #[must_use]
    pub fn early_count(self, n: u64) -> Self {
        Self { count: Some(n), ..self }
    }

    /// A result early of each window that has changed, at this interval of processing time, too. In sliding windows that
    /// is one of every window that covers what has changed.
    #[must_use]
    pub fn early_every(self, interval: Duration) -> Self {
        Self { every: Some(interval), ..self }
    }

    /// The count, and the interval in milliseconds.
    pub(super) fn checked(&self) -> Result<(Option<u64>, Option<i64>), WindowError> {
        if self.count == Some(0) {
            return Err(WindowError::Records("a trigger's count"));
        }
        Ok((self.count, self.every.map(|every| millis("a trigger's interval", every)).transpose()?))
    }
}
