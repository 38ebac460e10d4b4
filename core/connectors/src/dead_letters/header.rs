//! The headers of a dead letter.

use std::fmt;

use topo_core::FailKind;
use topo_core::log::Header;

/// The reason, in the failing component's words.
pub(crate) const REASON: &str = "topo.reason";
/// A [`LetterKind`].
pub(crate) const KIND: &str = "topo.kind";
/// The component that failed the record.
pub(crate) const COMPONENT: &str = "topo.component";
/// The attempt that failed, from 1.
pub(crate) const ATTEMPT: &str = "topo.attempt";
/// When it was given up, in milliseconds since 1970.
pub(crate) const TIME_MS: &str = "topo.time-ms";
/// The topic that it was read from.
pub(crate) const TOPIC: &str = "topo.topic";
/// The partition that it was read from.
pub(crate) const PARTITION: &str = "topo.partition";
/// Its offset there.
pub(crate) const OFFSET: &str = "topo.offset";
/// How long its value is, where that was too large to be kept.
pub(crate) const VALUE_BYTES: &str = "topo.value-bytes";

/// Whether a header is the record's own, and not one that topo added.
pub(crate) fn is_own(header: &Header) -> bool {
    !header.key.starts_with("topo.")
}

/// How a record came to be a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LetterKind {
    /// A component refused it for good.
    Rejected,
    /// It ran out of attempts.
    Exhausted,
}

impl LetterKind {
    /// What a record is that is given up after such a failure.
    pub(crate) fn of(failure: FailKind) -> Self {
        match failure {
            FailKind::Reject => Self::Rejected,
            _ => Self::Exhausted,
        }
    }

    /// The kind in one word, as the header says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
        }
    }
}

impl fmt::Display for LetterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
