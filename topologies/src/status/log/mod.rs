//! The log on the page: topics and groups as they move, messages as they were written, and where a group goes on.

mod beyond;
mod messages;
mod readable;
mod reset;
#[cfg(test)]
mod tests;
mod topics;

pub use beyond::{GroupStanding, LogGroups};
pub(super) use messages::{Browse, Full, browse, full};
pub(super) use reset::{Reset, ResetError, reset};
pub(super) use topics::{LetterTopics, LogView};
