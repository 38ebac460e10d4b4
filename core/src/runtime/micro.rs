//! What a bolt's executor does for micro-transactions: passes markers, hands over what is to be committed, and goes back to
//! what is committed where a batch fails.
//!
//! Invariants: a task is in one batch at a time, and what it emits, stages and changes is of that batch; one that has arrived
//! at a halt sends nothing until all have gone back.

use std::sync::Arc;
use std::time::Duration;

use super::bolt_executor::{BoltExecutor, instance, outcome_of};
use super::contain::{contain, contain_future};
use super::control::Phase;
use super::emitter::Emitters;
use super::form::Form;
use super::holding::Doing;
use super::route::Flush;
use super::signal::{InputTimes, Reached, Signal};
use super::trees::Trees;
use crate::fail::Fail;
use crate::ledger::RootId;
use crate::metrics::Activity;
use crate::spout::Fault;
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

    /// A sender has sent all that it had for a batch. Once all have, the task hands over what it has for it, passes the marker
    /// on and is in the next one. `None` where the topology aborted.
    #[cold]
    pub(super) async fn take_marker(&mut self, mut form: F, txid: u64) -> Option<F> {
        self.markers += 1;
        if self.markers < self.inbox.senders().len() {
            return Some(form);
        }
        self.markers = 0;
        let Some(transactions) = self.env.transactions().map(Arc::clone) else { return Some(form) };
        let backs = self.backs;
        form = self.end_batch(form, transactions.is_last()).await?;
        if self.backs != backs || self.env.control.is_stopping() {
            return Some(form);
        }
        let staged = match self.stage(&mut form).await {
            Ok(staged) => staged,
            Err(fault) => {
                self.fail_batch_for(format!("state could not be handed over: {fault}").into());
                return Some(form);
            }
        };
        self.out.signal(Signal::Marker(txid));
        if !self.send(Flush::All) {
            self.wait_for_space(Flush::All).await;
        }
        // Before it says so: the next marker is sent only when all have said so.
        self.txid = txid + 1;
        transactions.note_held(self.inbox.pass_marker(self.env.now()));
        let shelves = self.env.task.states.shelves();
        transactions.pass(self.env.seat, txid, staged, shelves);
        Some(form)
    }

    /// Lets the task do all that belongs to the batch whose markers have come: trees of its own are emitted, inputs answered,
    /// and what the bolt emits at the end of a batch, and at the end of all, is on its way.
    async fn end_batch(&mut self, mut form: F, is_last: bool) -> Option<F> {
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
        self.env.turn_to(Activity::Executing);
        if is_last && let Err(why) = self.finish(&mut form).await {
            self.fail_batch_for(why);
            return Some(form);
        }
        if self.turn.desk.has_open() {
            let component = &self.env.task.component;
            let why: Arc<str> = format!(
                "`{component}` still held an input long after the marker of its batch; exactly once needs every input answered \
                 within its batch"
            )
            .into();
            // The records that it holds are to blame.
            let cause = || Fail::Retry(Arc::clone(&why)).into();
            self.turn.desk.expire(self.env.now(), Duration::ZERO, cause);
            self.fail_batch_for(why);
            return Some(form);
        }
        if F::ENDS_BATCHES {
            self.out.begin(RootId::UNTRACKED);
            self.env.holding.arrive().await;
            let ended = self.env.holding.run(Doing::EndBatch, form.end_batch(&mut self.out)).await;
            if let Err(cause) = outcome_of(ended) {
                return self.replace(form, cause).await;
            }
        }
        Some(form)
    }

    fn fail_batch_for(&self, why: Arc<str>) {
        self.env.report(Arc::clone(&why));
        self.env.fail_batch(&why);
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
        self.env.turn_to(Activity::Executing);
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
        self.told_time = Reached::default();
        self.env.task.forget_watermark();
        // An end that is committed is not heard again: what it led to was emitted.
        if self.ended && self.ended_in > transactions.committed() {
            self.ended = false;
            self.env.control.advance(|progress| progress.ended -= 1);
        }
        self.txid = transactions.txid();
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
