//! Event time: when what a tuple tells of happened, and how far that is known to be complete.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A value and when it happened: what a stream in event time carries.
///
/// Dereferences to the value. A bolt reads such a stream by taking `Timed<T>`, and feeds one by emitting it.
///
/// ```
/// let word = topo_core::Timed { at: 1_700_000_000_000, value: "stream".to_owned() };
/// assert_eq!(word.len(), 6);
/// assert_eq!(word.with(6).at, 1_700_000_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timed<T> {
    /// Milliseconds since 1970; negative before.
    pub at: i64,
    /// The value.
    pub value: T,
}

impl<T> Timed<T> {
    /// Another value of the same time.
    pub fn with<U>(&self, value: U) -> Timed<U> {
        Timed { at: self.at, value }
    }
}

impl<T> Deref for Timed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A bound on event time, in milliseconds since 1970: whatever is earlier has come (Akidau et al., "The Dataflow Model",
/// VLDB 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known.
    pub const MIN: Self = Self(i64::MIN);
    /// The end of time: nothing more will come.
    pub const MAX: Self = Self(i64::MAX);
}

impl Default for Watermark {
    fn default() -> Self {
        Self::MIN
    }
}

/// How far a source, or a task, has come in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTime {
    /// Nothing earlier will come, but for what comes too late.
    pub at: Watermark,
    /// Whether nobody should wait for it to come further: it has nothing to say for now.
    pub idle: bool,
}

impl EventTime {
    /// It has come as far as `at`, and goes on.
    pub const fn at(at: Watermark) -> Self {
        Self { at, idle: false }
    }

    /// It has come as far as `at`, and nobody should wait for more.
    pub const fn idle(at: Watermark) -> Self {
        Self { at, idle: true }
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("none"),
            Self::MAX => f.write_str("the end of time"),
            Self(ms) => write!(f, "{ms} ms"),
        }
    }
}
