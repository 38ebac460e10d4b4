//! Where a store belongs, and where its changes are kept.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::error::StateError;
use super::key_group::{groups_of_task, task_of_group};
use crate::context::TaskContext;
use crate::log::Log;
use crate::schedule::Scheduler;

/// Whose a store is.
pub(crate) struct Place {
    pub(crate) component: Arc<str>,
    pub(crate) state: Arc<str>,
    pub(crate) task: u32,
    pub(crate) tasks: u32,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    pub(crate) changelog: Option<Changelog>,
    /// Whether changes can be taken back until they are flushed.
    pub(crate) keeps_undo: bool,
    pub(crate) seed: u64,
    /// How many values there are, for those who look from outside.
    pub(crate) len: AtomicU64,
    /// How long the forms of all keys and values are that are flushed, in bytes.
    pub(crate) form_bytes: AtomicU64,
    /// Whether a store of the task takes more memory than it should until it is flushed.
    pub(crate) wants_flush: Arc<AtomicBool>,
}

/// The topic that a store's changes are appended to.
#[derive(Clone)]
pub(crate) struct Changelog {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: u32,
}

impl Place {
    pub(crate) fn new(task: &TaskContext, state: &Arc<str>, changelog: Option<Changelog>) -> Self {
        Self {
            component: Arc::clone(&task.component),
            state: Arc::clone(state),
            task: task.task,
            tasks: task.tasks,
            scheduler: Arc::clone(&task.scheduler),
            changelog,
            keeps_undo: task.states.settings().keeps_undo,
            seed: task.states.seed(),
            len: AtomicU64::new(0),
            form_bytes: AtomicU64::new(0),
            wants_flush: task.states.wants_flush_flag(),
        }
    }

    /// The groups of the store's task.
    pub(crate) fn groups(&self) -> Range<usize> {
        groups_of_task(self.task as usize, self.tasks as usize)
    }

    /// Whether keys of `group` are the task's.
    pub(crate) fn admit(&self, group: u8) -> Result<(), StateError> {
        let owner = task_of_group(group, self.tasks as usize);
        if owner == self.task as usize {
            return Ok(());
        }
        let (state, component) = (Arc::clone(&self.state), Arc::clone(&self.component));
        Err(StateError::ForeignKey { state, component, task: self.task, owner })
    }

    pub(crate) fn unserializable(&self, what: &'static str, reason: impl ToString) -> StateError {
        StateError::Serialize { state: Arc::clone(&self.state), what, reason: reason.to_string() }
    }
}
