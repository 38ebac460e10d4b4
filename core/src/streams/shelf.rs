//! Where a task keeps what an operator works with, beyond the operator's instances.
//!
//! Invariant: between two calls it is in the operator or, where the instance broke, on the shelf; so what was acknowledged
//! is in it until it is flushed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::context::TaskContext;
use crate::spout::Fault;
use crate::store::TaskStore;

/// What is written out to states before they are flushed.
pub(super) trait Keeps: Send + 'static {
    /// Brings the states up to it.
    fn write_out(&mut self) -> Result<(), Fault>;
}

/// An instance's way to its task's shelf, once it is prepared.
pub(super) type Way<T> = Option<Arc<Shelf<T>>>;

/// Holds it while no instance does.
pub(super) struct Shelf<T>(Mutex<Option<T>>);

impl<T: Keeps> Shelf<T> {
    /// The task's shelf of this name. To be asked for before the states are opened, so that they are flushed behind it.
    pub(super) fn of(task: &TaskContext, name: &str) -> Arc<Self> {
        let name = format!("{}.{name}", task.component());
        task.store(&name).unwrap_or_else(|| {
            let shelf = Arc::new(Self(Mutex::new(None)));
            task.keep_store(&name, Arc::clone(&shelf) as _);
            shelf
        })
    }

    // Nothing is done under the lock but to take and to put back.
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an instance that broke has left.
    pub(super) fn take(&self) -> Option<T> {
        self.lock().take()
    }

    pub(super) fn put_back(&self, kept: T) {
        *self.lock() = Some(kept);
    }
}

#[async_trait]
impl<T: Keeps> TaskStore for Shelf<T> {
    async fn flush(&self) -> Result<(), Fault> {
        self.lock().as_mut().map_or(Ok(()), Keeps::write_out)
    }

    // It is opened again from the state that it writes to.
    fn goes_back(&self) -> bool {
        true
    }
}
