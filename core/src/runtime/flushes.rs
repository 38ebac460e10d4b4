//! Flushing the state of a topology before offsets are committed: who asks, who answers.
//!
//! Whoever commits asks once it knows what it will commit, so that whatever the tasks had done for it by then is in the
//! flush. A task that keeps state looks at one number between batches.
//!
//! A task whose results other tasks keep as state forgets a result only once that state is flushed: were it forgotten before,
//! a crash in between would lose it.
//!
//! Invariant: a request is answered by a flush that began after it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::bolt_executor::BoltExecutor;
use super::contain::{Panicked, contain_future};
use super::control::Phase;
use super::form::Form;
use super::inbox::Bell;
use super::trees::Keeper;
use crate::spout::Fault;
use crate::store::Stores;

/// A task that keeps state.
#[derive(Debug)]
struct Keeps {
    component: Arc<str>,
    bell: Bell,
    /// Requests up to this one are answered by a flush that succeeded.
    done: u64,
    /// The newest flush that failed: the requests it was for, and why.
    failed: Option<(u64, Arc<str>)>,
}

/// A topology's flushes.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    requested: AtomicU64,
    /// Requests up to this one are answered by everybody.
    completed: AtomicU64,
    /// Whether more than one component keeps state.
    are_several: AtomicBool,
    tasks: Mutex<Vec<Keeps>>,
    answered: Notify,
}

/// What a task that will not answer again has answered.
pub(crate) const LAST: u64 = u64::MAX;

impl Flushes {
    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Keeps>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task that keeps state and has done nothing yet; gives its place.
    pub(crate) fn join(&self, component: &Arc<str>, bell: &Bell) -> usize {
        let mut tasks = self.lock();
        if tasks.iter().any(|task| task.component != *component) {
            self.are_several.store(true, Ordering::Release);
        }
        let (component, bell) = (Arc::clone(component), Arc::clone(bell));
        // It has nothing that an earlier request could have meant.
        tasks.push(Keeps { component, bell, done: self.newest(), failed: None });
        tasks.len() - 1
    }

    /// Whether more than one component keeps state.
    #[inline]
    pub(crate) fn are_several(&self) -> bool {
        self.are_several.load(Ordering::Acquire)
    }

    /// Requests up to this one are answered by everybody.
    #[inline]
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    /// The newest request.
    #[inline]
    pub(crate) fn newest(&self) -> u64 {
        self.requested.load(Ordering::Acquire)
    }

    /// A task has flushed all that it had done when `request` was the newest.
    pub(crate) fn answer(&self, place: usize, request: u64, flushed: Result<(), Arc<str>>) {
        let mut tasks = self.lock();
        if let Some(task) = tasks.get_mut(place) {
            match flushed {
                Ok(()) => task.done = task.done.max(request),
                Err(why) => task.failed = Some((request, why)),
            }
        }
        let completed = tasks.iter().map(|task| task.done).min().unwrap_or(0);
        self.completed.fetch_max(completed, Ordering::AcqRel);
        drop(tasks);
        self.answered.notify_waiters();
    }

    /// Has every task that keeps state flush what it has done so far; returns once all of it is durable.
    pub(crate) async fn request(&self) -> Result<(), Fault> {
        match self.ring() {
            Some(request) => self.answered(request).await,
            None => Ok(()),
        }
    }

    /// Has every task that keeps state flush what it has done so far, and does not wait for it; gives the request, or `None`
    /// where nobody keeps state.
    pub(crate) fn ring(&self) -> Option<u64> {
        let bells: Vec<Bell> = self.lock().iter().map(|task| Arc::clone(&task.bell)).collect();
        if bells.is_empty() {
            return None;
        }
        let request = self.requested.fetch_add(1, Ordering::AcqRel) + 1;
        bells.iter().for_each(|bell| bell.notify_one());
        Some(request)
    }

    /// Waits until everybody has answered a request. Cancel-safe.
    async fn answered(&self, request: u64) -> Result<(), Fault> {
        loop {
            let mut answered = pin!(self.answered.notified());
            answered.as_mut().enable();
            if let Some(outcome) = self.outcome(request) {
                return outcome.map_err(|why| Fault::from(&*why));
            }
            answered.await;
        }
    }

    /// How a request went, once that is known.
    fn outcome(&self, request: u64) -> Option<Result<(), Arc<str>>> {
        let tasks = self.lock();
        let mut open = tasks.iter().filter(|task| task.done < request).peekable();
        if open.peek().is_none() {
            return Some(Ok(()));
        }
        let failed = open.filter_map(|task| task.failed.as_ref());
        failed.filter(|(of, _)| *of >= request).map(|(_, why)| Err(Arc::clone(why))).next()
    }
}

impl<F: Form> BoltExecutor<F> {
    /// Whether a flush was asked for that this task has to make.
    #[inline]
    pub(super) fn is_flush_due(&self) -> bool {
        self.keeps.is_some() && self.env.control.flushes.newest() != self.flushed
    }

    /// Flushes what the task keeps, and says how that went to those who asked. An abort cuts it short.
    pub(super) async fn flush_state(&mut self, form: &mut F) {
        let Some(place) = self.keeps else { return };
        let request = self.env.control.flushes.newest();
        let flushed = {
            let mut flush = pin!(flush_all(Some(form), &self.env.task.stores));
            loop {
                tokio::select! {
                    biased;
                    flushed = &mut flush => break flushed,
                    () = self.env.bell.notified() => {}
                }
                if self.env.control.phase() == Phase::Aborting {
                    break Err("the topology was stopped while its state was being flushed".into());
                }
            }
        };
        self.flushed = request;
        self.note_flush(place, request, flushed);
    }

    /// The last flush, for whoever commits later: tried again and again until it succeeds or the topology aborts.
    pub(super) async fn flush_for_good(&mut self, mut form: Option<&mut F>) {
        let Some(place) = self.keeps else { return };
        if let Some(form) = form.as_deref_mut() {
            self.end_settling(form).await;
        }
        let mut attempts = 0;
        loop {
            let flushed = flush_all(form.as_deref_mut(), &self.env.task.stores).await;
            if flushed.is_ok() || self.env.control.phase() == Phase::Aborting {
                return self.note_flush(place, LAST, flushed);
            }
            self.note_flush(place, self.env.control.flushes.newest(), flushed);
            attempts += 1;
            self.wait_to_flush_again(attempts).await;
        }
    }

    /// A flush that a state's memory needs: until it succeeds, or the topology aborts, the task takes no further input.
    pub(super) async fn flush_for_room(&mut self, form: &mut F) {
        let mut attempts = 0;
        while self.keeps.is_some() {
            self.flush_state(form).await;
            if !self.env.task.states.wants_flush() || self.env.control.phase() == Phase::Aborting {
                return;
            }
            self.env.task.states.answer();
            attempts += 1;
            self.wait_to_flush_again(attempts).await;
        }
    }

    /// Waits until what came of the last results is flushed by those who keep it, and tells the bolt. Where that fails, the
    /// next run gives these results again.
    async fn end_settling(&mut self, form: &mut F) {
        if !F::OPENS_TREES || !self.keeper.as_ref().is_some_and(Keeper::has_settling) {
            return;
        }
        let control = Arc::clone(&self.env.control);
        let Some(request) = control.flushes.ring() else { return };
        let mut answered = pin!(control.flushes.answered(request));
        let flushed = loop {
            // Others may wait for this task in the same way.
            if self.is_flush_due() {
                self.flush_state(form).await;
            }
            if control.phase() == Phase::Aborting {
                return;
            }
            tokio::select! {
                biased;
                flushed = &mut answered => break flushed,
                () = self.env.bell.notified() => {}
            }
        };
        if flushed.is_ok()
            && let Err(panicked) = self.tell_settled(form)
        {
            self.env.report(panicked.0);
        }
    }

    async fn wait_to_flush_again(&mut self, attempts: u32) {
        let due = self.env.config.tree_backoff.due(attempts + 1, self.env.now(), 0);
        let mut delay = self.env.task.scheduler.sleep_until(due);
        while self.env.control.phase() != Phase::Aborting {
            tokio::select! {
                biased;
                () = &mut delay => break,
                () = self.env.bell.notified() => {}
            }
        }
    }

    fn note_flush(&self, place: usize, request: u64, flushed: Result<(), Arc<str>>) {
        if let Err(why) = &flushed {
            self.env.report(format!("state could not be flushed, so nothing is committed: {why}").into());
        }
        self.env.control.flushes.answer(place, request, flushed);
    }
}

/// Flushes the bolt and all stores.
async fn flush_all<F: Form>(form: Option<&mut F>, stores: &Stores) -> Result<(), Arc<str>> {
    match form {
        Some(form) if F::KEEPS_STATE => outcome_of(contain_future(form.flush()).await)?,
        None if F::KEEPS_STATE => {
            return Err("the instance that kept it broke, and no other was started".into());
        }
        _ => {}
    }
    for store in stores.all() {
        outcome_of(contain_future(store.flush()).await)?;
    }
    Ok(())
}

fn outcome_of(flushed: Result<Result<(), Fault>, Panicked>) -> Result<(), Arc<str>> {
    flushed.map_err(|panicked| panicked.0)?.map_err(|fault| fault.to_string().into())
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(
        request: std::pin::Pin<&mut impl Future<Output = Result<(), Fault>>>,
    ) -> Option<Result<(), String>> {
        match request.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome.map_err(|fault| fault.to_string())),
            Poll::Pending => None,
        }
    }

    #[test]
    fn where_nobody_keeps_state_nobody_is_asked() {
        let flushes = Flushes::default();
        assert_eq!(poll(pin!(flushes.request())), Some(Ok(())));
        assert_eq!(flushes.newest(), 0);
    }

    #[test]
    fn a_request_needs_everybody_and_a_flush_that_began_after_it() {
        let flushes = Flushes::default();
        let [one, two] = [0, 1].map(|_| flushes.join(&"step".into(), &Bell::default()));
        let mut first = pin!(flushes.request());
        assert_eq!(poll(first.as_mut()), None);
        flushes.answer(one, 0, Ok(()));
        flushes.answer(two, 1, Ok(()));
        assert_eq!(poll(first.as_mut()), None, "one answered an earlier request");
        let mut second = pin!(flushes.request());
        assert_eq!(poll(second.as_mut()), None);
        flushes.answer(one, 2, Ok(()));
        assert_eq!(poll(first.as_mut()), Some(Ok(())));
        assert_eq!(poll(second.as_mut()), None);
        flushes.answer(two, LAST, Ok(()));
        assert_eq!(poll(second.as_mut()), Some(Ok(())));
    }

    #[test]
    fn a_request_is_completed_by_the_last_answer_to_it_and_later_components_owe_none() {
        let flushes = Flushes::default();
        let [one, two] = [0, 1].map(|_| flushes.join(&"step".into(), &Bell::default()));
        assert!(!flushes.are_several());
        assert_eq!(flushes.ring(), Some(1));
        flushes.answer(one, 1, Ok(()));
        assert_eq!(flushes.completed(), 0);
        let three = flushes.join(&"other".into(), &Bell::default());
        assert!(flushes.are_several());
        flushes.answer(two, 1, Err("the log is away".into()));
        assert_eq!(flushes.completed(), 0);
        flushes.answer(two, 1, Ok(()));
        assert_eq!(flushes.completed(), 1);
        assert_eq!(flushes.ring(), Some(2));
        for (place, completed) in [(three, 1), (two, 1), (one, 2)] {
            flushes.answer(place, 2, Ok(()));
            assert_eq!(flushes.completed(), completed);
        }
    }

    #[test]
    fn a_flush_that_fails_fails_the_requests_it_was_for_and_no_others() {
        let flushes = Flushes::default();
        let one = flushes.join(&"step".into(), &Bell::default());
        let mut first = pin!(flushes.request());
        assert_eq!(poll(first.as_mut()), None);
        flushes.answer(one, 1, Err("the log is away".into()));
        assert_eq!(poll(first), Some(Err("the log is away".into())));
        let mut second = pin!(flushes.request());
        assert_eq!(poll(second.as_mut()), None, "an old failure says nothing of it");
        flushes.answer(one, 2, Ok(()));
        assert_eq!(poll(second), Some(Ok(())));
    }
}
