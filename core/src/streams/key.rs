//! How a value's key is found: borrowed from the value, or computed of it.

use std::marker::PhantomData;

use crate::grouping::{Grouping, Targets};
use crate::state::{Key, key_group, task_of_group};
use crate::time::Timed;
use crate::tuple::Tuple;

/// Finds the key of a value.
pub trait KeySelector<T>: Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Key;

    /// Calls `with` with the key of `value`.
    fn key<R>(&self, value: &T, with: impl FnOnce(&Self::Key) -> R) -> R;
}

/// A key that is a part of the value.
#[derive(Debug)]
pub struct ByReference<F, K>(F, PhantomData<fn() -> K>);

/// A key that is computed of the value.
#[derive(Debug)]
pub struct ByValue<F, K>(F, PhantomData<fn() -> K>);

impl<F, K> ByReference<F, K> {
    pub(super) fn new(key: F) -> Self {
        Self(key, PhantomData)
    }
}

impl<F, K> ByValue<F, K> {
    pub(super) fn new(key: F) -> Self {
        Self(key, PhantomData)
    }
}

impl<F: Clone, K> Clone for ByReference<F, K> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<F: Clone, K> Clone for ByValue<F, K> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<T, K: Key, F: Fn(&T) -> &K + Clone + Send + Sync + 'static> KeySelector<T> for ByReference<F, K> {
    type Key = K;

    #[inline]
    fn key<R>(&self, value: &T, with: impl FnOnce(&K) -> R) -> R {
        with((self.0)(value))
    }
}

impl<T, K: Key, F: Fn(&T) -> K + Clone + Send + Sync + 'static> KeySelector<T> for ByValue<F, K> {
    type Key = K;

    #[inline]
    fn key<R>(&self, value: &T, with: impl FnOnce(&K) -> R) -> R {
        with(&(self.0)(value))
    }
}

/// The grouping that takes each value to the task that has its key's state.
#[derive(Debug, Clone)]
pub(super) struct ByKey<S>(pub(super) S);

impl<T: Tuple, S: KeySelector<T>> Grouping<Timed<T>> for ByKey<S> {
    #[inline]
    fn pick(&mut self, timed: &Timed<T>, tasks: usize) -> Targets {
        Targets::One(task_of_group(self.0.key(&timed.value, key_group), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}
