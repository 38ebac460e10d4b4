//! The states of one task, as its executor keeps them: opened by its bolt, flushed and asked between batches.
//!
//! Invariant: a store is among them only once it is restored, and stays as long as the task.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::disk::{Disk, DiskTable};
use super::error::StateError;
use super::place::{Changelog, Place};
use super::shelf::{Shelf, TypedShelf};
use super::store::{Key, Store};
use crate::config::{StateBackend, StateSettings};
use crate::context::TaskContext;
use crate::metrics::ComponentKind;
use crate::runtime::Bell;
use crate::tuple::Tuple;

/// What all tasks of a topology share.
pub(crate) struct SharedStates {
    settings: StateSettings,
    seed: u64,
    /// Which component has a state of that name.
    owners: Mutex<HashMap<Arc<str>, Arc<str>>>,
    disk: Mutex<Option<Arc<Disk>>>,
}

impl SharedStates {
    pub(crate) fn new(settings: StateSettings, seed: u64) -> Self {
        Self { settings, seed, owners: Mutex::default(), disk: Mutex::default() }
    }

    fn own(&self, state: &Arc<str>, component: &Arc<str>) -> Result<(), StateError> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let by = owners.entry(Arc::clone(state)).or_insert_with(|| Arc::clone(component));
        if by == component {
            return Ok(());
        }
        let (state, component, by) = (Arc::clone(state), Arc::clone(component), Arc::clone(by));
        Err(StateError::Taken { state, component, by })
    }

    /// A table on disk with the bytes of memory beside it, where state is to be there.
    fn table(&self, topology: &str, place: &Place) -> Result<Option<(DiskTable, usize)>, StateError> {
        let StateBackend::Disk { directory, cache_bytes } = &self.settings.backend else { return Ok(None) };
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = match &*disk {
            Some(disk) => Arc::clone(disk),
            None => Arc::clone(disk.insert(Disk::open(directory, topology)?)),
        };
        Ok(Some((disk.table(place)?, *cache_bytes)))
    }
}

/// A question to one state of one task.
pub(crate) struct Question {
    pub(crate) state: Arc<str>,
    pub(crate) key_form: Vec<u8>,
    pub(crate) answer: oneshot::Sender<Result<Option<Vec<u8>>, StateError>>,
}

#[derive(Default)]
struct Mailbox {
    questions: VecDeque<Question>,
    is_closed: bool,
}

/// The states of one task.
pub(crate) struct TaskStates {
    shared: Arc<SharedStates>,
    bell: Bell,
    shelves: Mutex<Vec<Arc<dyn Shelf>>>,
    /// Whether there is any: tasks without state look no further.
    is_stateful: AtomicBool,
    wants_flush: Arc<AtomicBool>,
    /// Spouts' tasks flush nothing.
    kind: ComponentKind,
    asked: AtomicUsize,
    mailbox: Mutex<Mailbox>,
}

impl TaskStates {
    pub(crate) fn new(shared: &Arc<SharedStates>, bell: &Bell, kind: ComponentKind) -> Self {
        Self {
            shared: Arc::clone(shared),
            bell: Arc::clone(bell),
            shelves: Mutex::default(),
            is_stateful: AtomicBool::new(false),
            wants_flush: Arc::default(),
            kind,
            asked: AtomicUsize::new(0),
            mailbox: Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> &StateSettings {
        &self.shared.settings
    }

    pub(crate) fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Whether the task has opened a state.
    pub(crate) fn is_stateful(&self) -> bool {
        self.is_stateful.load(Ordering::Acquire)
    }

    // No code panics while it holds the locks, so poisoned ones are still whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<dyn Shelf>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All states, in the order they were opened.
    pub(crate) fn shelves(&self) -> Vec<Arc<dyn Shelf>> {
        self.lock().clone()
    }

    pub(crate) fn shelf(&self, state: &str) -> Option<Arc<dyn Shelf>> {
        self.lock().iter().find(|shelf| *shelf.place().state == *state).map(Arc::clone)
    }

    /// Whether a state takes more memory than it should until it is flushed.
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        self.wants_flush.load(Ordering::Relaxed)
    }

    pub(super) fn wants_flush_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wants_flush)
    }

    /// Has the changelogs hold all that was changed so far, as the executor has between batches.
    #[cfg(test)]
    pub(crate) async fn flush(&self) -> Result<(), StateError> {
        let mut result = Ok(());
        for shelf in self.shelves() {
            result = result.and(shelf.flush().await);
        }
        result
    }

    /// Takes back all that was changed since the last flush that was done: where a micro-transaction aborts, every state is
    /// to be what it was when the last one was committed.
    pub(crate) async fn discard_unflushed(&self) -> Result<(), StateError> {
        for shelf in self.shelves() {
            shelf.discard_unflushed().await?;
        }
        Ok(())
    }

    /// Puts a question, to be answered between two batches; hands it back where the task has ended.
    pub(crate) fn ask(&self, question: Question) -> Result<(), Question> {
        let mut mailbox = self.lock_mailbox();
        if mailbox.is_closed {
            return Err(question);
        }
        mailbox.questions.push_back(question);
        self.asked.store(mailbox.questions.len(), Ordering::Release);
        drop(mailbox);
        self.bell.notify_one();
        Ok(())
    }

    /// Whether anything was asked.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire) > 0
    }

    /// Answers what was asked. Where nothing was, it costs a look at a number.
    #[inline]
    pub(crate) fn answer(&self) {
        if self.is_asked() {
            self.answer_all();
        }
    }

    #[cold]
    fn answer_all(&self) {
        let questions = {
            let mut mailbox = self.lock_mailbox();
            self.asked.store(0, Ordering::Release);
            std::mem::take(&mut mailbox.questions)
        };
        for Question { state, key_form, answer } in questions {
            let said = self.shelf(&state).map_or(Ok(None), |shelf| shelf.get(&key_form));
            // Who asked may have gone.
            let _ = answer.send(said);
        }
    }

    /// Answers no more; those who wait hear it.
    pub(crate) fn close(&self) {
        let mut mailbox = self.lock_mailbox();
        mailbox.is_closed = true;
        mailbox.questions.clear();
        self.asked.store(0, Ordering::Release);
    }
}

/// Opens a state of `task`, or gives it again.
pub(super) async fn open<K: Key, V: Tuple>(
    task: &TaskContext,
    state: &Arc<str>,
    ttl_ms: Option<i64>,
) -> Result<Arc<TypedShelf<K, V>>, StateError> {
    let is_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if state.is_empty() || !state.chars().all(is_named) {
        return Err(StateError::Name(Arc::clone(state)));
    }
    let states = &task.states;
    if states.kind == ComponentKind::Spout {
        return Err(StateError::Spout(Arc::clone(&task.component)));
    }
    states.shared.own(state, &task.component)?;
    if let Some(shelf) = states.shelf(state) {
        let shelf = shelf.into_any().downcast::<TypedShelf<K, V>>().map_err(|_| StateError::OtherType {
            state: Arc::clone(state),
            component: Arc::clone(&task.component),
        })?;
        shelf.lock().set_ttl(ttl_ms);
        return Ok(shelf);
    }
    let changelog = Changelog::open(states.settings(), &task.topology, state).await?;
    let place = Arc::new(Place::new(task, state, changelog));
    let table = states.shared.table(&task.topology, &place)?;
    let shelf = Arc::new(TypedShelf::new(Store::new(place, ttl_ms, table)));
    shelf.restore(states.settings()).await?;
    task.keep_store(&format!("state {state}"), Arc::clone(&shelf) as _);
    states.lock().push(Arc::clone(&shelf) as Arc<dyn Shelf>);
    states.is_stateful.store(true, Ordering::Release);
    Ok(shelf)
}
