//! Keyed state: values that a topology keeps for keys, spread over a component's tasks by key group.
//!
//! A bolt opens a [`State`], a [`ListState`] or a [`MapState`] in `prepare`; the task owns it, so it survives the instance.
//! A key's form is hashed to one of [`KEY_GROUPS`] groups; a task has a range of them, and an edge grouped by
//! [`KeyGroups`] takes each tuple to the task that has its key's group. Changes are appended, when the executor flushes, to
//! a compacted topic, and the state is rebuilt from that topic at the next start, with as many tasks as there are then. The
//! values live in memory or, with feature `fjall`, on disk behind a cache. [`StateHub`] answers questions from outside.
//!
//! Without a log in [`StateSettings`](crate::StateSettings), state is kept in this process alone and is gone with it.

mod cache;
mod changelog;
#[cfg(feature = "fjall")]
mod disk;
#[cfg(not(feature = "fjall"))]
#[path = "no_disk.rs"]
mod disk;
mod error;
mod expiry;
mod flush;
mod grouping;
mod handle;
mod hub;
mod key_group;
mod opening;
mod place;
mod shelf;
mod slot;
mod store;
mod table;
mod tasks;
mod whole;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use changelog::RestoreProgress;
pub use error::StateError;
pub use grouping::{KeyGroups, KeyGroupsBy};
pub use handle::{ListState, MapState, State, StateGuard};
pub use hub::{QueryError, StateHub, StateInfo};
pub use key_group::{KEY_GROUPS, groups_of_task, key_group, partition_of_group, task_of_group};
pub use opening::{OpenState, StateForm};
pub use store::{Key, Store};
pub use table::{TableError, TableReader};

pub(crate) use hub::HubComponent;
pub(crate) use shelf::Shelf;
pub(crate) use tasks::{SharedStates, TaskStates};
