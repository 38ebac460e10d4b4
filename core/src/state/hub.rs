//! Asking the states of a topology from outside while it runs.
//!
//! Invariant: a value is read by the task that owns it, between two batches, so that nobody sees half of an execute.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::StateError;
use super::key_group::task_of_group;
use super::tasks::{Question, TaskStates};

/// One component's tasks.
#[derive(Clone)]
pub(crate) struct HubComponent {
    pub(crate) name: Arc<str>,
    pub(crate) tasks: Vec<Arc<TaskStates>>,
}

/// The states of a running topology; given by [`Running::states`](crate::Running::states). Cheap to clone.
#[derive(Clone)]
pub struct StateHub {
    components: Arc<Vec<HubComponent>>,
}

/// A state that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateInfo {
    /// Whose it is.
    pub component: Arc<str>,
    /// Its name.
    pub state: Arc<str>,
    /// How many values it has, over all tasks.
    pub len: u64,
    /// How many bytes the serialized keys and values have, over all tasks, as they were last flushed; `None` where they are
    /// kept nowhere. In memory they take more.
    pub bytes: Option<u64>,
    /// The topic that it is kept in; `None` where it is gone when the topology ends.
    pub changelog: Option<Arc<str>>,
}

/// Why a state did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no such state.
    #[error("there is no state `{state}`; there are: {there_are}")]
    NoSuchState {
        /// What was asked for.
        state: String,
        /// The names of those there are.
        there_are: String,
    },
    /// The key cannot be one of the state's.
    #[error("state `{0}` has keys of another type")]
    NoSuchKey(Arc<str>),
    /// The task has ended.
    #[error("the task that has the key has ended")]
    Ended,
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StateHub {
    pub(crate) fn new(components: Vec<HubComponent>) -> Self {
        Self { components: Arc::new(components) }
    }

    /// The states that there are, by component and name.
    pub fn states(&self) -> Vec<StateInfo> {
        let mut infos: Vec<StateInfo> = Vec::new();
        for component in &*self.components {
            for shelf in component.tasks.iter().flat_map(|task| task.shelves()) {
                let place = shelf.place();
                let is_it =
                    |info: &&mut StateInfo| info.component == component.name && info.state == place.state;
                match infos.iter_mut().find(is_it) {
                    Some(info) => {
                        info.len += shelf.len();
                        info.bytes = info.bytes.zip(shelf.bytes()).map(|(all, own)| all + own);
                    }
                    None => infos.push(StateInfo {
                        component: Arc::clone(&component.name),
                        state: Arc::clone(&place.state),
                        len: shelf.len(),
                        bytes: shelf.bytes(),
                        changelog: place.changelog.as_ref().map(|changelog| Arc::clone(&changelog.topic)),
                    }),
                }
            }
        }
        infos.sort_by(|a, b| (&a.component, &a.state).cmp(&(&b.component, &b.state)));
        infos
    }

    /// The value of a key, in MessagePack; `None` where it has none. `keys` are ways to understand the key, each in
    /// MessagePack: the first that is of the state's type counts. The value is the one of now, flushed or not.
    ///
    /// Waits until the task that has the key has executed its batch.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn get(&self, state: &str, keys: &[Vec<u8>]) -> Result<Option<Vec<u8>>, QueryError> {
        let found = self.components.iter().find_map(|component| {
            let shelf = component.tasks.iter().find_map(|task| task.shelf(state))?;
            Some((component, shelf))
        });
        let Some((component, shelf)) = found else { return Err(self.no_such_state(state)) };
        let name = &shelf.place().state;
        let (key_form, group) = keys
            .iter()
            .find_map(|key| shelf.find(key))
            .ok_or_else(|| QueryError::NoSuchKey(Arc::clone(name)))?;
        let task = &component.tasks[task_of_group(group, component.tasks.len())];
        let (answer, said) = oneshot::channel();
        let question = Question { state: Arc::clone(name), key_form, answer };
        task.ask(question).map_err(|_| QueryError::Ended)?;
        Ok(said.await.map_err(|_| QueryError::Ended)??)
    }

    fn no_such_state(&self, state: &str) -> QueryError {
        let names: Vec<_> = self.states().into_iter().map(|info| info.state).collect();
        let there_are = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        QueryError::NoSuchState { state: state.to_owned(), there_are }
    }
}

impl fmt::Debug for StateHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateHub").field("states", &self.states()).finish()
    }
}
