//! What can go wrong with keyed state.

use std::sync::Arc;

use crate::log::{LogError, TopicPartition};

/// What a keyed state could not do, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The changelog's log refused or is away.
    #[error("the changelog of state `{state}` {doing}: {source}")]
    Log {
        /// The state.
        state: Arc<str>,
        /// What was tried.
        doing: &'static str,
        /// What the log said.
        source: LogError,
    },
    /// A record of a changelog is not what a state writes.
    #[error("{at} at offset {offset} is no change of state `{state}`: {reason}")]
    Corrupt {
        /// The state.
        state: Arc<str>,
        /// The changelog's partition.
        at: TopicPartition,
        /// The record.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The name cannot be part of a topic's name.
    #[error("a state cannot be called `{0}`; letters, digits, `.`, `_` and `-` make a name")]
    Name(Arc<str>),
    /// Two components would write the same changelog.
    #[error("component `{by}` has a state `{state}` already; give that of `{component}` another name")]
    Taken {
        /// The state.
        state: Arc<str>,
        /// Who asks for it.
        component: Arc<str>,
        /// Who has it.
        by: Arc<str>,
    },
    /// The same state was opened with other types.
    #[error(
        "state `{state}` of `{component}` is open with keys or values of another type; open it with the same ones"
    )]
    OtherType {
        /// The state.
        state: Arc<str>,
        /// The component.
        component: Arc<str>,
    },
    /// A spout asks for state.
    #[error("`{0}` is a spout, and keyed state is a bolt's; keep it in a bolt that reads the spout")]
    Spout(Arc<str>),
    /// The key belongs to another task.
    #[error(
        "state `{state}` of `{component}` was given a key of task {owner} in task {task}; subscribe the component by \
         `key_groups`, with the state's key, so that each key comes to its task"
    )]
    ForeignKey {
        /// The state.
        state: Arc<str>,
        /// The component.
        component: Arc<str>,
        /// The task that was given it.
        task: u32,
        /// The task that has it.
        owner: usize,
    },
    /// The changelog has more partitions than there are key groups.
    #[error("changelog `{topic}` has {partitions} partitions; 1 to 256 are possible")]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: u32,
    },
    /// Serde cannot write a key or a value.
    #[error("a {what} of state `{state}` cannot be serialized: {reason}")]
    Serialize {
        /// The state.
        state: Arc<str>,
        /// The key or the value.
        what: &'static str,
        /// What serde said.
        reason: String,
    },
    /// State on disk was asked for where it is not built in.
    #[error(
        "this program is built without state on disk; switch on feature `fjall` of crate `topo`, as in `topo = {{ …, features = \
         [\"fjall\"] }}`, or keep state in memory"
    )]
    NoDisk,
    /// The disk failed.
    #[error("state on disk at {directory} failed: {reason}")]
    Disk {
        /// Where.
        directory: String,
        /// What it said.
        reason: String,
    },
    /// What was not flushed cannot be taken back, because nothing of what was before it is kept.
    #[error("state `{0}` is kept nowhere, so that what was changed cannot be taken back")]
    NotKept(Arc<str>),
}
