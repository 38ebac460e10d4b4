//! What a task keeps beyond its instances, and makes durable before offsets are committed.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::spout::Fault;

/// Something that one task keeps, shared by its bolt's instances and its executor, which flushes it between batches.
///
/// Given to [`TaskContext::keep_store`](crate::TaskContext::keep_store). It outlives an instance that breaks; the next one
/// finds it with [`TaskContext::store`](crate::TaskContext::store).
#[async_trait]
pub trait TaskStore: Any + Send + Sync {
    /// Makes durable all that it has taken so far. Nothing is executed meanwhile.
    ///
    /// # Errors
    /// What keeps it from being durable: reported, and offsets are not committed until a later flush succeeds.
    async fn flush(&self) -> Result<(), Fault>;

    /// Whether what it keeps can be dropped at any time, and is then what the task's [`State`](crate::state::State) was when
    /// the last micro-transaction was committed. Others are refused under
    /// [`Delivery::ExactlyOnce`](crate::Delivery::ExactlyOnce), where a batch that fails is taken back.
    fn goes_back(&self) -> bool {
        false
    }
}

/// A store and its name.
type Named = (Arc<str>, Arc<dyn TaskStore>);

/// The stores of one task, by name.
#[derive(Default)]
pub(crate) struct Stores(Mutex<Vec<Named>>);

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().iter().map(|(name, _)| name)).finish()
    }
}

impl Stores {
    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Named>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keep(&self, name: &str, store: Arc<dyn TaskStore>) {
        let mut stores = self.lock();
        match stores.iter_mut().find(|(other, _)| **other == *name) {
            Some((_, kept)) => *kept = store,
            None => stores.push((name.into(), store)),
        }
    }

    pub(crate) fn get<S: TaskStore>(&self, name: &str) -> Option<Arc<S>> {
        let stores = self.lock();
        let (_, store) = stores.iter().find(|(other, _)| **other == *name)?;
        let store: Arc<dyn Any + Send + Sync> = Arc::clone(store) as _;
        store.downcast().ok()
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn TaskStore>> {
        self.lock().iter().map(|(_, store)| Arc::clone(store)).collect()
    }

    /// The first that does not go back where a micro-transaction fails.
    pub(crate) fn stays(&self) -> Option<Arc<str>> {
        let stores = self.lock();
        stores.iter().find(|(_, store)| !store.goes_back()).map(|(name, _)| Arc::clone(name))
    }

    /// Forgets all stores but those of that name.
    pub(crate) fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        self.lock().retain(|(name, _)| is_kept(name));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}
