//! The stretch of time that a window covers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// From `start` to just before `end`, in milliseconds of event time since 1970 (negative before).
///
/// A window by time is where its assigner put it; a session reaches from its first record to one gap behind its last; a
/// window by count from its smallest time to just behind its largest. The global window is [`Window::ALL`].
///
/// ```
/// use topo_core::window::Window;
///
/// let minute = Window { start: -60_000, end: 0 };
/// assert!(minute.contains(-1) && !minute.contains(0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first millisecond that belongs to it.
    pub start: i64,
    /// The first millisecond that no longer does.
    pub end: i64,
}

impl Window {
    /// All of time: the global window.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// Whether a record of time `at` belongs to it.
    #[inline]
    pub fn contains(&self, at: i64) -> bool {
        self.start <= at && at < self.end
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}
