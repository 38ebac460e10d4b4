//! The grouping that takes each tuple to the task that has its key's state.

use serde::Serialize;

use super::key_group::{key_group, task_of_group};
use crate::grouping::{Grouping, Targets};

/// Tuples whose keys are of the same key group go to the same task: the one whose states hold those keys. Every edge to a
/// component with keyed state is grouped so.
///
/// ```
/// use topo_core::Grouping;
/// use topo_core::Targets;
/// use topo_core::state::{KeyGroups, key_group, task_of_group};
///
/// let mut grouping = KeyGroups::new(|word: &String| word.as_str());
/// let task = task_of_group(key_group("to be"), 4);
/// assert_eq!(grouping.pick(&"to be".to_owned(), 4), Targets::One(task));
/// ```
#[derive(Debug, Clone)]
pub struct KeyGroups<F>(F);

impl<F> KeyGroups<F> {
    /// Groups by what `key` borrows from a tuple.
    pub fn new<T, K: ?Sized>(key: F) -> Self
    where
        F: Fn(&T) -> &K,
    {
        Self(key)
    }
}

impl<T, K, F> Grouping<T> for KeyGroups<F>
where
    K: Serialize + ?Sized,
    F: Fn(&T) -> &K + Clone + Send + 'static,
{
    #[inline]
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        Targets::One(task_of_group(key_group((self.0)(tuple)), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// As [`KeyGroups`], for keys that are computed rather than borrowed from the tuple.
#[derive(Debug, Clone)]
pub struct KeyGroupsBy<F>(F);

impl<F> KeyGroupsBy<F> {
    /// Groups by what `key` makes of a tuple.
    pub fn new<T, K>(key: F) -> Self
    where
        F: Fn(&T) -> K,
    {
        Self(key)
    }
}

impl<T, K: Serialize, F: Fn(&T) -> K + Clone + Send + 'static> Grouping<T> for KeyGroupsBy<F> {
    #[inline]
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        Targets::One(task_of_group(key_group(&(self.0)(tuple)), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}
