//! What a bolt has of its state: a value, a list or a map for each key.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard};

use serde::Serialize;

use super::error::StateError;
use super::shelf::TypedShelf;
use super::store::{Key, Store};
use crate::tuple::Tuple;

/// A value for each key, kept by the task and not by its bolt's instance: it outlives a panic, and after a restart it is
/// what it was when it was last flushed. Opened in `prepare`, by [`TaskContext::state`](crate::TaskContext::state).
///
/// An execute that fails keeps what it changed before; so change last, or make the change such that it can be made again.
///
/// ```
/// use topo_core::state::State;
/// use topo_core::{Bolt, Emitter, Fail, Fault, TaskContext};
///
/// #[derive(Default)]
/// struct Count(Option<State<String, u64>>);
///
/// impl Bolt for Count {
///     type In = String;
///     type Out = (String, u64);
///
///     async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
///         self.0 = Some(task.state("counts").await?);
///         Ok(())
///     }
///
///     async fn execute(&mut self, word: String, out: &mut Emitter<(String, u64)>) -> Result<(), Fail> {
///         let counts = self.0.as_mut().ok_or_else(|| Fail::retry("not prepared"))?;
///         let count = counts.update(&word, |count| {
///             *count += 1;
///             *count
///         })?;
///         out.emit((word, count));
///         Ok(())
///     }
/// }
/// ```
pub struct State<K, V>(pub(super) Arc<TypedShelf<K, V>>);

impl<K: Key, V: Tuple> State<K, V> {
    /// The store, for many changes in a row. Nothing is flushed and no query is answered while it is held, so let go of it
    /// before an await.
    pub fn lock(&self) -> StateGuard<'_, K, V> {
        StateGuard(self.0.lock())
    }

    /// A copy of the value of `key`.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
    {
        Ok(self.lock().get(key)?.cloned())
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn put(&mut self, key: K, value: V) -> Result<(), StateError> {
        self.lock().put(key, value)
    }

    /// Changes the value of `key` in place, from its default where there is none, and gives what `change` gives.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn update<Q, R>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> R) -> Result<R, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
        V: Default,
    {
        self.lock().update(key, change)
    }

    /// Changes, sets or removes the value of `key` in place, and gives what `change` gives.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn modify<Q, R>(&mut self, key: &Q, change: impl FnOnce(&mut Option<V>) -> R) -> Result<R, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.lock().modify(key, change)
    }

    /// Removes the value of `key` and gives it.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn remove<Q>(&mut self, key: &Q) -> Result<Option<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.lock().remove(key)
    }

    /// Has whoever asks for a value from outside, as `topo query` does, shown what `view` makes of it: for values that say
    /// little to people. Said in `prepare`; what is said last counts, and what is kept stays as it is.
    ///
    /// ```
    /// # use topo_core::{Fault, TaskContext, state::State};
    /// # async fn prepare(task: &TaskContext) -> Result<(), Fault> {
    /// let means: State<String, (f64, u64)> = task.state("means").await?;
    /// means.show_as(|(sum, count)| sum / *count as f64);
    /// # Ok(())
    /// # }
    /// ```
    pub fn show_as<S: Serialize>(&self, view: impl Fn(&V) -> S + Send + Sync + 'static) {
        self.0.show_as(view);
    }

    /// How many values this task has.
    pub fn len(&self) -> u64 {
        self.lock().len()
    }

    /// Whether this task has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows every value of this task to `see`, in no order.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn for_each(&self, see: impl FnMut(&K, &V)) -> Result<(), StateError> {
        self.lock().for_each(see)
    }
}

impl<K, V> fmt::Debug for State<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// A store that is being used; dereferences to it.
#[derive(Debug)]
pub struct StateGuard<'a, K, V>(MutexGuard<'a, Store<K, V>>);

impl<K, V> Deref for StateGuard<'_, K, V> {
    type Target = Store<K, V>;

    fn deref(&self) -> &Store<K, V> {
        &self.0
    }
}

impl<K, V> DerefMut for StateGuard<'_, K, V> {
    fn deref_mut(&mut self) -> &mut Store<K, V> {
        &mut self.0
    }
}

/// A list for each key; opened by [`TaskContext::list_state`](crate::TaskContext::list_state).
///
/// A key's list is flushed as a whole: for lists that grow long, a [`State`] whose key has a number in it is better.
#[derive(Debug)]
pub struct ListState<K, V>(pub(super) State<K, Vec<V>>);

impl<K: Key, V: Tuple> ListState<K, V> {
    /// Appends `value` to the list of `key`.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn push<Q>(&mut self, key: &Q, value: V) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.0.update(key, |list| list.push(value))
    }

    /// A copy of the list of `key`; empty where there is none.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn get<Q>(&self, key: &Q) -> Result<Vec<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
    {
        Ok(self.0.get(key)?.unwrap_or_default())
    }

    /// Removes the list of `key` and gives it.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn take<Q>(&mut self, key: &Q) -> Result<Vec<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        Ok(self.0.remove(key)?.unwrap_or_default())
    }

    /// The lists as values.
    pub fn as_state(&mut self) -> &mut State<K, Vec<V>> {
        &mut self.0
    }
}

/// A map for each key, in the order of its own keys; opened by [`TaskContext::map_state`](crate::TaskContext::map_state).
///
/// A key's map is flushed as a whole: for maps that grow large, a [`State`] with pairs as keys is better.
#[derive(Debug)]
pub struct MapState<K, M, V>(pub(super) State<K, BTreeMap<M, V>>);

impl<K: Key, M: Tuple + Ord, V: Tuple> MapState<K, M, V> {
    /// Sets the value of `inner` in the map of `key`; gives what it was.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn put<Q>(&mut self, key: &Q, inner: M, value: V) -> Result<Option<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        self.0.update(key, |map| map.insert(inner, value))
    }

    /// Changes the value of `inner` in the map of `key` in place, from its default where there is none.
    ///
    /// # Errors
    /// [`StateError::ForeignKey`], or [`StateError::Disk`].
    pub fn update<Q, R>(
        &mut self,
        key: &Q,
        inner: M,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
        V: Default,
    {
        self.0.update(key, |map| change(map.entry(inner).or_default()))
    }

    /// A copy of the value of `inner` in the map of `key`.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn get<Q, I>(&self, key: &Q, inner: &I) -> Result<Option<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
        M: Borrow<I>,
        I: Ord + ?Sized,
    {
        Ok(self.0.lock().get(key)?.and_then(|map| map.get(inner)).cloned())
    }

    /// A copy of the map of `key`; empty where there is none.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn entries<Q>(&self, key: &Q) -> Result<BTreeMap<M, V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ?Sized,
    {
        Ok(self.0.get(key)?.unwrap_or_default())
    }

    /// Removes the value of `inner` from the map of `key`, and the map with its last value; gives the value.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn remove<Q, I>(&mut self, key: &Q, inner: &I) -> Result<Option<V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
        M: Borrow<I>,
        I: Ord + ?Sized,
    {
        let mut store = self.0.lock();
        if !store.get(key)?.is_some_and(|map| map.contains_key(inner)) {
            return Ok(None);
        }
        store.modify(key, |map| {
            let removed = map.as_mut().and_then(|map| map.remove(inner));
            if map.as_ref().is_some_and(BTreeMap::is_empty) {
                *map = None;
            }
            removed
        })
    }

    /// Removes the whole map of `key` and gives it.
    ///
    /// # Errors
    /// [`StateError::Disk`], for state on disk.
    pub fn take<Q>(&mut self, key: &Q) -> Result<BTreeMap<M, V>, StateError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + Serialize + ToOwned<Owned = K> + ?Sized,
    {
        Ok(self.0.remove(key)?.unwrap_or_default())
    }

    /// The maps as values.
    pub fn as_state(&mut self) -> &mut State<K, BTreeMap<M, V>> {
        &mut self.0
    }
}
