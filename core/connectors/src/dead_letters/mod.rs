//! Dead letters: records that a topology gave up, kept in a topic with the reason in their headers.
//!
//! Invariant: every header that topo adds to a record is named `topo.…`, and no record's own header is: what a letter was
//! before it died is the letter without them.

mod cause;
mod header;
mod letter;
mod replay;

pub use cause::{Cause, Causes, Death, Example};
pub use header::LetterKind;
pub use letter::{Letter, Unreplayable};
pub use replay::{Fate, Letters, REPLAY_GROUP, Replay, Replayed};

pub(crate) use header::{
    ATTEMPT, COMPONENT, KIND, OFFSET, PARTITION, REASON, TIME_MS, TOPIC, VALUE_BYTES, is_own,
};
