//! Why a tuple was not processed, from the bolt that says so to the spout that hears it.

use std::fmt;
use std::sync::Arc;

/// What a bolt answers instead of `Ok`: replay the tuple's root, or give it up at once.
///
/// Any standard error becomes [`Fail::Retry`] through `?`.
///
/// ```
/// use topo_core::Fail;
/// fn parse(line: &str) -> Result<u32, Fail> {
///     line.parse().map_err(Fail::reject)
/// }
/// assert!(matches!(parse("x"), Err(Fail::Reject(_))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fail {
    /// The root is failed and its spout may replay it.
    Retry(Arc<str>),
    /// Replaying cannot help: the root goes to the dead letters at once.
    Reject(Arc<str>),
}

impl Fail {
    /// A failure that a replay may cure.
    pub fn retry(reason: impl fmt::Display) -> Self {
        Self::Retry(reason.to_string().into())
    }

    /// A failure that no replay can cure.
    pub fn reject(reason: impl fmt::Display) -> Self {
        Self::Reject(reason.to_string().into())
    }

    /// The reason as its author gave it.
    pub fn reason(&self) -> &Arc<str> {
        match self {
            Self::Retry(reason) | Self::Reject(reason) => reason,
        }
    }
}

// `Fail` itself is deliberately no `std::error::Error`: that is what lets `?` turn every error into one.
impl<E: std::error::Error> From<E> for Fail {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

/// How a root came to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailKind {
    /// A bolt asked for a replay, panicked, or dropped an input unacknowledged.
    Retry,
    /// A bolt refused the tuple for good.
    Reject,
}

/// A failed root as its spout sees it: the reason, where it arose, and on which attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether a replay may help.
    pub kind: FailKind,
    /// The reason, in the failing component's words.
    pub reason: Arc<str>,
    /// The component that failed the tuple.
    pub component: Arc<str>,
    /// The attempt that failed, counted from 1.
    pub attempt: u32,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (in {}, attempt {})", self.reason, self.component, self.attempt)
    }
}
