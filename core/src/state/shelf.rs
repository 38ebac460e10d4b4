//! A store as its executor sees it, whatever its keys and values are.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::Serialize;

use super::changelog::{RestoreProgress, decode, key_form, split_key_form};
use super::error::StateError;
use super::key_group::key_group;
use super::place::Place;
use super::store::{Key, Store};
use crate::config::StateSettings;
use crate::log::{Pieces, TopicPartition};
use crate::spout::Fault;
use crate::store::TaskStore;
use crate::tuple::Tuple;

/// One task's part of one state.
#[async_trait]
pub(crate) trait Shelf: Send + Sync {
    fn place(&self) -> &Place;

    /// Itself, to be asked for its type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;

    /// Has the changelog hold what was changed; durable when it returns. May be dropped at any await: what was not flushed is
    /// flushed next time.
    async fn flush(&self) -> Result<(), StateError>;

    /// Gives what was changed since the last flush or stage, as records of the changelog, for a transaction. Until
    /// [`end_stage`](Self::end_stage) or [`discard_unflushed`](Self::discard_unflushed), changes go on beside it.
    fn stage(&self) -> Result<Vec<(TopicPartition, Pieces)>, StateError>;

    /// What was staged is committed.
    fn end_stage(&self) -> Result<(), StateError>;

    /// Takes back all that was changed since the last flush, or stage, that was done.
    async fn discard_unflushed(&self) -> Result<(), StateError>;

    /// The forms of (group, key) and the group, where `key` is the MessagePack of a key.
    fn find(&self, key: &[u8]) -> Option<(Vec<u8>, u8)>;

    /// The MessagePack of the value of the key that [`find`](Self::find) gave.
    fn get(&self, key_form: &[u8]) -> Result<Option<Vec<u8>>, StateError>;
}

/// Makes of a value what is shown of it, in MessagePack.
type View<V> = Box<dyn Fn(&V) -> Result<Vec<u8>, rmp_serde::encode::Error> + Send + Sync>;

/// A store and the lock that its executor and its bolt share; nobody else has it, so nobody waits.
pub(crate) struct TypedShelf<K, V> {
    place: Arc<Place>,
    store: Mutex<Store<K, V>>,
    /// Where something else is shown than the value.
    view: Mutex<Option<View<V>>>,
}

impl<K: Key, V: Tuple> TypedShelf<K, V> {
    pub(crate) fn new(store: Store<K, V>) -> Self {
        Self { place: Arc::clone(store.place()), store: Mutex::new(store), view: Mutex::new(None) }
    }

    /// Has `view` made of each value that is asked for. The last one counts: where a batch is taken back, a fresh instance
    /// says its own.
    pub(crate) fn show_as<S: Serialize>(&self, view: impl Fn(&V) -> S + Send + Sync + 'static) {
        let view: View<V> = Box::new(move |value| rmp_serde::to_vec_named(&view(value)));
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    // A change that panics leaves its value as it is then; the store counts it at the next flush.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Store<K, V>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the store from its changelog.
    pub(crate) async fn restore(&self, settings: &StateSettings) -> Result<(), StateError> {
        let Some(changelog) = &self.place.changelog else { return Ok(()) };
        let tell = |done, total| {
            if let Some(on_restore) = &settings.on_restore {
                let Place { component, task, state, .. } = &*self.place;
                let (component, state) = (Arc::clone(component), Arc::clone(state));
                on_restore(&RestoreProgress { component, task: *task, state, done, total });
            }
        };
        changelog.restore(&self.store, &self.place, tell).await
    }
}

#[async_trait]
impl<K: Key, V: Tuple> Shelf for TypedShelf<K, V> {
    fn place(&self) -> &Place {
        &self.place
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    async fn flush(&self) -> Result<(), StateError> {
        let changes = self.lock().begin_flush()?;
        let appended = match &self.place.changelog {
            Some(changelog) if !changes.is_empty() => changelog.append(&self.place.state, changes).await,
            _ => Ok(()),
        };
        self.lock().end_flush(appended.is_ok())?;
        appended
    }

    fn stage(&self) -> Result<Vec<(TopicPartition, Pieces)>, StateError> {
        let changes = self.lock().begin_flush()?;
        Ok(self.place.changelog.as_ref().map_or(Vec::new(), |changelog| changelog.records(changes)))
    }

    fn end_stage(&self) -> Result<(), StateError> {
        self.lock().end_flush(true)
    }

    async fn discard_unflushed(&self) -> Result<(), StateError> {
        if self.lock().discard_unflushed() {
            return Ok(());
        }
        let Some(changelog) = &self.place.changelog else {
            return Err(StateError::NotKept(Arc::clone(&self.place.state)));
        };
        self.lock().clear()?;
        changelog.restore(&self.store, &self.place, |_, _| ()).await
    }

    fn find(&self, key: &[u8]) -> Option<(Vec<u8>, u8)> {
        let key: K = decode(key).ok()?;
        let group = key_group(&key);
        Some((key_form(&self.place, group, &key).ok()?.into(), group))
    }

    fn get(&self, form: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let key = split_key_form(form).ok_or("a key has no group".to_owned());
        let key: K =
            key.and_then(|(_, key)| decode(key)).map_err(|error| self.place.unserializable("key", error))?;
        let mut store = self.lock();
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |value| match &*view {
            Some(view) => view(value),
            None => rmp_serde::to_vec_named(value),
        };
        let value = store.get(&key)?.map(shown).transpose();
        value.map_err(|error| self.place.unserializable("value", error))
    }
}

#[async_trait]
impl<K: Key, V: Tuple> TaskStore for TypedShelf<K, V> {
    async fn flush(&self) -> Result<(), Fault> {
        Ok(Shelf::flush(self).await?)
    }

    fn goes_back(&self) -> bool {
        true
    }
}

impl dyn Shelf {
    /// How many values there are.
    pub(crate) fn len(&self) -> u64 {
        self.place().len.load(Ordering::Relaxed)
    }

    /// How many bytes the changelog has of their keys and values; `None` where they are kept nowhere.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.place().changelog.is_some().then(|| self.place().form_bytes.load(Ordering::Relaxed))
    }
}
