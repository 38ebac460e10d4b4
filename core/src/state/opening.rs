//! Opening a state: from its name in `prepare` to a store that is restored.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::error::StateError;
use super::handle::{ListState, MapState, State};
use super::store::Key;
use super::tasks::open;
use crate::context::TaskContext;
use crate::tuple::Tuple;

/// A state that is about to be opened; awaiting it opens it.
///
/// The task's part is restored by then: as it was when it was last flushed. A state that is open already is given again.
#[must_use = "a state is opened by awaiting this"]
pub struct OpenState<S> {
    task: TaskContext,
    name: Arc<str>,
    ttl: Option<Duration>,
    form: PhantomData<fn() -> S>,
}

impl<S> OpenState<S> {
    pub(crate) fn new(task: &TaskContext, name: &str) -> Self {
        Self { task: task.clone(), name: name.into(), ttl: None, form: PhantomData }
    }

    /// How long a key's value lives after it was last written, by the wall clock of the topology; at least a millisecond. A
    /// value whose time is over is seen no more, and dropped with a later flush.
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

impl<S> fmt::Debug for OpenState<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenState").field("name", &self.name).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// A form of state: values, lists or maps.
pub trait StateForm: Sized {
    /// What it is found by.
    #[doc(hidden)]
    type Key: Key;
    /// What is kept for each key.
    #[doc(hidden)]
    type Value: Tuple;
    #[doc(hidden)]
    fn of(state: State<Self::Key, Self::Value>) -> Self;
}

impl<K: Key, V: Tuple> StateForm for State<K, V> {
    type Key = K;
    type Value = V;
    fn of(state: Self) -> Self {
        state
    }
}

impl<K: Key, V: Tuple> StateForm for ListState<K, V> {
    type Key = K;
    type Value = Vec<V>;
    fn of(state: State<K, Vec<V>>) -> Self {
        Self(state)
    }
}

impl<K: Key, M: Tuple + Ord, V: Tuple> StateForm for MapState<K, M, V> {
    type Key = K;
    type Value = BTreeMap<M, V>;
    fn of(state: State<K, BTreeMap<M, V>>) -> Self {
        Self(state)
    }
}

impl<S: StateForm> IntoFuture for OpenState<S> {
    type Output = Result<S, StateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { task, name, ttl, .. } = self;
        let ttl_ms = ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1));
        Box::pin(async move {
            let shelf = open::<S::Key, S::Value>(&task, &name, ttl_ms).await?;
            Ok(S::of(State(shelf)))
        })
    }
}
