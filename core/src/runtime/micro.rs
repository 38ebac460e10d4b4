//! What a bolt's executor does for micro-transactions: passes markers, hands over what is to be committed, and goes back to
//! what is committed where a batch fails.
//!
//! Invariant: a task that has arrived at a halt sends nothing until all have gone back.

use std::sync::Arc;

use super::bolt_executor::{BoltExecutor, instance, outcome_of};
use super::contain::{contain, contain_future};
use super::control::Phase;
use super::emitter::Emitters;
use super::form::Form;
use super::holding::Doing;
use super::route::Flush;
use super::signal::{InputTimes, Signal};
use super::trees::Trees;
use crate::fail::Fail;
use crate::ledger::RootId;
use crate::spout::Fault;
use crate::time::EventTime;
use crate::transaction::{Stage, Staged};

/// Names of stores that are states: they go back themselves.
pub(super) const STATE_PREFIX: &str = "state ";

impl<F: Form> BoltExecutor<F> {
    /// Refuses what keeps more than its state where that would outlive a batch that fails.
    pub(super) fn check_stores(&self) -> Result<(), Fault> {
        match self.env.task.stores.stays() {
            Some(name) if self.env.transactions().is_some() => Err(format!(
                "it keeps `{name}` beside its state, which cannot be taken back where a batch fails; keep it in a `State`, or \
                 run the topology at least once"
            )
            .into()),
            _ => Ok(()),
        }
    }

    /// A sender has sent all that it had for a batch. Once all have, the task hands over what it has for it and passes the
    /// marker on. `None` where the topology aborted.
    #[cold]
    pub(super) async fn take_marker(&mut self, mut form: F, txid: u64) -> Option<F> {
        self.markers += 1;
        if self.markers < self.inbox.senders().len() {
            return Some(form);
        }
        self.markers = 0;
        let backs = self.backs;
        if F::OPENS_TREES {
            while self.trees.waiting() > 0 || self.has_answers() {
                form = self.tend_trees(form).await?;
                if self.backs != backs || self.env.control.is_stopping() {
                    return Some(form);
                }
            }
        }
        form = self.wait_for_answers(form).await?;
        if self.backs != backs || self.env.control.is_stopping() {
            return Some(form);
        }
        if self.turn.desk.has_open() {
            let component = &self.env.task.component;
            let why: Arc<str> = format!(
                "`{component}` still held an input long after the marker of its batch; exactly once needs every input answered \
                 within its batch"
            )
            .into();
            self.env.report(Arc::clone(&why));
            self.env.fail_batch(&why);
            return Some(form);
        }
        let staged = match self.stage(&mut form).await {
            Ok(staged) => staged,
            Err(fault) => {
                let why: Arc<str> = format!("state could not be handed over: {fault}").into();
                self.env.report(Arc::clone(&why));
                self.env.fail_batch(&why);
                return Some(form);
            }
        };
        self.out.signal(Signal::Marker(txid));
        if !self.send(Flush::All) {
            self.wait_for_space(Flush::All).await;
        }
        if let Some(transactions) = self.env.transactions() {
            let shelves = self.env.task.states.shelves();
            transactions.pass(self.env.seat, txid, staged, shelves);
        }
        self.wait_for_others(txid).await;
        Some(form)
    }

    /// Does nothing until everybody has passed the marker: what a timer, a tick or a watermark led to would come to those
    /// behind before they have the markers of all their senders.
    async fn wait_for_others(&mut self, txid: u64) {
        let Some(transactions) = self.env.transactions().map(Arc::clone) else { return };
        while transactions.closing() == Some(txid) && self.env.control.phase() != Phase::Aborting {
            self.env.bell.notified().await;
        }
    }

    /// Lets a bolt that owns its inputs answer those that it still has. `None` where the topology aborted.
    async fn wait_for_answers(&mut self, mut form: F) -> Option<F> {
        let longest = self.env.transactions().map(|transactions| transactions.settings.held_wait);
        let until = self.env.now().after(longest.unwrap_or_default());
        let backs = self.backs;
        loop {
            if F::IDLES {
                self.env.holding.arrive().await;
                let idle = self.env.holding.run(Doing::Idle, form.idle(&mut self.out)).await;
                if let Err(cause) = outcome_of(idle) {
                    form = self.replace(form, cause).await?;
                }
            }
            self.send(Flush::Due);
            let is_over = self.backs != backs || self.env.control.is_stopping();
            if is_over || !self.turn.desk.has_open() || self.env.now() >= until {
                return Some(form);
            }
            let waited = tokio::select! {
                biased;
                () = self.env.bell.notified() => Ok(()),
                ready = contain_future(form.ready()) => ready,
                () = self.env.task.scheduler.sleep_until(until) => Ok(()),
            };
            if let Err(panicked) = waited {
                return self.replace(form, Fail::Retry(panicked.0).into()).await;
            }
        }
    }

    /// All that the task has for the batch: what its sinks staged and what its states changed.
    async fn stage(&mut self, form: &mut F) -> Result<Staged, Fault> {
        if F::KEEPS_STATE {
            contain_future(form.flush()).await.map_err(|panicked| Fault::from(&*panicked.0))??;
        }
        let mut staged = self.env.task.staging.take();
        for shelf in self.env.task.states.shelves() {
            staged.add_changes(shelf.stage()?);
        }
        Ok(staged)
    }

    /// Goes back to what is committed, with all others: drops all that is on its way, restores the states and starts a fresh
    /// instance. `None` where the topology aborts, or came to its end, meanwhile.
    #[cold]
    pub(super) async fn go_back(&mut self, form: Option<F>) -> Option<F> {
        self.backs += 1;
        if let Err(panicked) = contain(|| drop(form)) {
            self.env.report(panicked.0);
        }
        // What is being committed is let come to its end first.
        if !self.env.wait_while(&[Stage::Run]).await {
            return None;
        }
        let transactions = Arc::clone(self.env.transactions()?);
        if transactions.stage() == Stage::Over {
            return None;
        }
        // Which records failed is told before it is forgotten that they were under way.
        self.tell();
        self.turn.desk.forget();
        self.turn.reset();
        self.out.discard();
        self.trees = Trees::default();
        self.markers = 0;
        drop(self.env.task.staging.take());
        transactions.arrive(self.env.seat, Stage::Halt);
        if !self.env.wait_while(&[Stage::Halt]).await {
            return None;
        }
        self.inbox.clear();
        if let Some(keeper) = &mut self.keeper {
            keeper.reset();
            self.tell_trees();
        }
        self.inputs = InputTimes::new(self.inbox.senders().len());
        self.told_time = EventTime::default();
        self.env.task.forget_watermark();
        // An end that is committed is not heard again: what it led to was emitted.
        if self.ended && self.ended_in > transactions.committed() {
            self.ended = false;
            self.env.control.advance(|progress| progress.ended -= 1);
        }
        let form = self.start_again().await?;
        self.settle_in();
        self.inputs.raise(self.env.task.watermark());
        self.out.begin(RootId::UNTRACKED);
        transactions.arrive(self.env.seat, Stage::Clear);
        self.env.wait_while(&[Stage::Clear, Stage::Wait]).await.then_some(form)
    }

    /// A fresh instance on the states that are committed, however often that has to be tried.
    async fn start_again(&mut self) -> Option<F> {
        let mut attempts = 0;
        loop {
            let restored = self.env.task.states.discard_unflushed().await.map_err(Fault::from);
            self.env.task.stores.retain(|name| name.starts_with(STATE_PREFIX));
            let started = match restored {
                Ok(()) => instance(&self.factory, &self.env.task).await,
                Err(error) => Err(error),
            };
            match started.and_then(|form| self.check_stores().map(|()| form)) {
                Ok(form) => return Some(form),
                Err(fault) => self.env.report(format!("could not start again: {fault}").into()),
            }
            attempts += 1;
            self.env.wait_to_restart(attempts).await;
            if self.env.control.phase() == Phase::Aborting {
                return None;
            }
        }
    }
}
