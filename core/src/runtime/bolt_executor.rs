//! Runs one task of a bolt: its instances, what it does when, and when it waits. What it does with its inputs is in
//! [`bolt_inputs`](super::bolt_inputs).
//!
//! The instance is replaced when it panics or errs; queue, emitters and acks are the executor's and survive it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::acks::Cause;
use super::bolt_inputs::Flushed;
use super::contain::{Panicked, contain, contain_future};
use super::control::Phase;
use super::emitter::Emitters;
use super::executor::Executor;
use super::form::{Form, Out, Turn};
use super::holding::Doing;
use super::inbox::Inbox;
use super::route::Flush;
use super::signal::{InputTimes, Reached};
use super::trees::{Keeper, Trees};
use crate::context::TaskContext;
use crate::fail::Fail;
use crate::ledger::RootId;
use crate::metrics::Activity;
use crate::schedule::Moment;
use crate::spout::Fault;

/// A bolt's factory.
pub(crate) type Factory<F> = Arc<dyn Fn() -> F + Send + Sync>;

/// Batches executed before other executors of the thread get their turn.
const BATCHES_PER_TURN: u32 = 4;

/// One task of a bolt.
pub(crate) struct BoltExecutor<F: Form> {
    pub(crate) env: Executor,
    pub(crate) factory: Factory<F>,
    pub(crate) inbox: Arc<Inbox<F::In>>,
    pub(crate) out: Out<F>,
    pub(crate) turn: Turn,
    /// Tuples between two looks at the clock.
    pub(crate) chunk: usize,
    /// Execute times of the batch in work, with how many tuples took them.
    pub(crate) times: Vec<(Duration, u64)>,
    pub(crate) next_tick: Option<Moment>,
    /// How often in a row an instance broke or could not start.
    pub(crate) breakdowns: u32,
    /// How far those who send to this task have come in event time.
    pub(crate) inputs: InputTimes,
    /// What those behind it were told.
    pub(crate) told_time: Reached,
    /// Whether event time was found to be over.
    pub(crate) ended: bool,
    pub(crate) trees: Trees<F::Tree>,
    /// Where the bolt opens trees.
    pub(crate) keeper: Option<Keeper<F::Tree>>,
    /// Whether input waits for trees that wait for room: not where what comes of a tree may come back as input.
    pub(crate) waits_for_trees: bool,
    /// The task's place among those that keep state.
    pub(crate) keeps: Option<usize>,
    /// The newest flush that was asked for and made.
    pub(crate) flushed: u64,
    /// The micro-transaction that it is in.
    pub(super) txid: u64,
    /// From how many senders the marker of that has come.
    pub(super) markers: usize,
    /// In which batch event time was found to be over.
    pub(super) ended_in: u64,
    /// How often it went back to what was committed.
    pub(super) backs: u64,
}

impl<F: Form> BoltExecutor<F> {
    pub(crate) fn new(
        env: Executor,
        factory: Factory<F>,
        inbox: Arc<Inbox<F::In>>,
        out: Out<F>,
        turn: Turn,
        keeper: Option<Keeper<F::Tree>>,
        waits_for_trees: bool,
    ) -> Self {
        Self {
            env,
            factory,
            inbox,
            out,
            turn,
            chunk: 1,
            times: Vec::new(),
            next_tick: None,
            breakdowns: 0,
            inputs: InputTimes::default(),
            told_time: Reached::default(),
            ended: false,
            trees: Trees::default(),
            keeper,
            waits_for_trees,
            keeps: None,
            flushed: 0,
            txid: 0,
            markers: 0,
            ended_in: 0,
            backs: 0,
        }
    }

    /// Runs until nothing more can come, or until the topology aborts.
    pub(crate) async fn run(mut self) {
        let senders = self.inbox.senders().len();
        self.inputs = InputTimes::new(senders);
        self.env.counters.listen_to(senders);
        let (form, prepared) = match instance(&self.factory, &self.env.task).await {
            Ok(form) => (Some(form), Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        self.settle_in();
        let prepared = prepared.and_then(|()| self.check_stores());
        let started = self.env.wait_for_start(prepared).await;
        if let (Some(form), true) = (form, started) {
            self.next_tick = self.env.tick.map(|every| self.env.now().after(every));
            self.txid = self.env.transactions().map_or(0, |transactions| transactions.committed() + 1);
            let mut form = self.work_off(form).await;
            // What is finished as part of the last batch is committed with it.
            if let Some(form) = form.as_mut().filter(|_| !self.env.task.is_exactly_once())
                && let Err(why) = self.finish(form).await
            {
                self.env.report(why);
            }
            self.flush_for_good(form.as_mut()).await;
            if let Some(form) = form {
                self.clean_up(form).await;
            }
            self.flush(Flush::All).await;
        }
        self.tell();
        self.env.task.states.close();
        self.out.close();
        let ended = usize::from(!self.ended);
        self.env.control.advance(|progress| {
            (progress.finished, progress.ended) = (progress.finished + 1, progress.ended + ended);
        });
    }

    /// Takes over what an instance has said of its task as it was prepared.
    pub(super) fn settle_in(&mut self) {
        self.inputs.raise(self.env.task.watermark());
        if self.env.transactions().is_some() {
            // What is kept goes with the batch.
            return;
        }
        if self.keeps.is_none() && (F::KEEPS_STATE || !self.env.task.stores.is_empty()) {
            self.keeps = Some(self.env.control.flushes.join(&self.env.task.component, &self.env.bell));
        }
    }

    /// Lets the instance emit what is left, unless the topology aborts.
    ///
    /// # Errors
    /// Why it did not.
    pub(super) async fn finish(&mut self, form: &mut F) -> Result<(), Arc<str>> {
        if self.env.control.phase() == Phase::Aborting {
            return Ok(());
        }
        self.out.begin(RootId::UNTRACKED);
        match contain_future(form.finish(&mut self.out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(fault.to_string().into()),
            Err(panicked) => Err(panicked.0),
        }
    }

    async fn clean_up(&mut self, mut form: F) {
        if let Err(panicked) = contain_future(form.cleanup()).await {
            self.env.report(panicked.0);
        }
        if let Err(panicked) = contain(|| drop(form)) {
            self.env.report(panicked.0);
        }
    }

    /// Replaces an instance that panicked, erred or took too long; what it held fails as it is dropped. `None` where the topology
    /// aborts meanwhile.
    pub(super) async fn replace(&mut self, broken: F, cause: Cause) -> Option<F> {
        self.env.report(Arc::clone(cause.fail.reason()));
        if let Err(panicked) = contain(|| drop(broken)) {
            self.env.report(panicked.0);
        }
        self.turn.desk.fail_dropped(&cause);
        self.env.counters.restarted.add(1);
        if self.env.transactions().is_some() {
            self.tell();
            self.env.fail_batch(cause.fail.reason());
            return self.go_back(None).await;
        }
        // Neither acks nor tuples wait for the next instance; what finds a queue full goes later.
        self.send(Flush::All);
        loop {
            self.breakdowns = self.breakdowns.saturating_add(1);
            self.env.wait_to_restart(self.breakdowns).await;
            if self.env.control.phase() == Phase::Aborting {
                return None;
            }
            match instance(&self.factory, &self.env.task).await {
                Ok(form) => {
                    self.settle_in();
                    return Some(form);
                }
                Err(fault) => self.env.report(format!("could not start again: {fault}").into()),
            }
        }
    }

    /// Works until nothing more can come. `None` where the topology aborted while there was no instance.
    async fn work_off(&mut self, mut form: F) -> Option<F> {
        let mut batches = 0;
        while self.env.control.phase() != Phase::Aborting {
            self.answer(&mut form);
            if self.env.control.is_going_back() {
                form = self.go_back(Some(form)).await?;
            }
            if self.keeps.is_none() && self.env.task.states.is_stateful() {
                self.settle_in();
            }
            if F::OPENS_TREES {
                form = self.tend_trees(form).await?;
            }
            if self.is_flush_due() {
                self.flush_state(&mut form).await;
            }
            if self.env.task.states.wants_flush() {
                match self.env.transactions() {
                    Some(transactions) => transactions.close_soon(),
                    None => self.flush_for_room(&mut form).await,
                }
            }
            let done = match self.next_batch() {
                Some(batch) => {
                    batches += 1;
                    self.execute(form, batch).await
                }
                None => {
                    batches = 0;
                    self.rest(form).await
                }
            };
            form = match done? {
                Rested::Ready(form) => form,
                Rested::Finished(form) => return Some(form),
            };
            if batches >= BATCHES_PER_TURN {
                batches = 0;
                self.env.turn_to(Activity::Idle);
                tokio::task::yield_now().await;
            }
        }
        Some(form)
    }

    /// The queue is empty: sends on everything, then waits for something to do.
    async fn rest(&mut self, mut form: F) -> Option<Rested<F>> {
        if F::IDLES {
            self.env.turn_to(Activity::Executing);
            self.env.holding.arrive().await;
            let idle = self.env.holding.run(Doing::Idle, form.idle(&mut self.out)).await;
            if let Err(cause) = outcome_of(idle) {
                form = self.replace(form, cause).await?;
            }
        }
        if self.flush(Flush::All).await == Flushed::AfterWaiting {
            // The bell that told of space may have told of input, too.
            return Some(Rested::Ready(form));
        }
        if self.inbox.is_finished() && self.trees.is_empty() {
            return Some(Rested::Finished(form));
        }
        // A ring for input, for answers or for orders may have been taken by the waits above.
        let has_input = !self.inbox.is_empty() && !self.is_held_up();
        let has_orders = self.is_flush_due() || self.env.control.is_stopping();
        if has_input || has_orders || (F::OPENS_TREES && self.has_answers()) {
            return Some(Rested::Ready(form));
        }
        if let Err(panicked) = self.wait(&mut form).await {
            return self.replace(form, Fail::Retry(panicked.0).into()).await.map(Rested::Ready);
        }
        self.tell();
        match self.tick_if_due(&mut form).await {
            Ok(()) => Some(Rested::Ready(form)),
            Err(cause) => self.replace(form, cause).await.map(Rested::Ready),
        }
    }

    /// Waits for input, orders, the next tick, or what the instance waits for itself.
    pub(super) async fn wait(&mut self, form: &mut F) -> Result<(), Panicked> {
        self.env.turn_to(Activity::Idle);
        let due = if F::OPENS_TREES { self.trees_due(form) } else { None };
        let due = self.next_tick.into_iter().chain(due).min();
        let tick = async {
            match due {
                Some(at) => self.env.task.scheduler.sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.env.bell.notified() => Ok(()),
            ready = contain_future(form.ready()) => ready,
            () = tick => Ok(()),
        }
    }

    pub(super) async fn tick_if_due(&mut self, form: &mut F) -> Result<(), Cause> {
        let (Some(every), Some(at)) = (self.env.tick, self.next_tick) else { return Ok(()) };
        let now = self.env.now();
        if now < at {
            return Ok(());
        }
        self.env.counters.activities.turn_to(Activity::Executing, now);
        // Ticks that were missed while the bolt was busy are not made up for.
        self.next_tick = Some(now.after(every));
        self.out.begin(RootId::UNTRACKED);
        self.env.holding.arrive().await;
        outcome_of(self.env.holding.run(Doing::Tick, form.tick(&mut self.out)).await)?;
        self.breakdowns = 0;
        Ok(())
    }
}

/// A fresh, prepared instance.
pub(super) async fn instance<F: Form>(factory: &Factory<F>, task: &TaskContext) -> Result<F, Fault> {
    let mut form = contain(|| factory()).map_err(|panicked| Fault::from(&*panicked.0))?;
    match contain_future(form.prepare(task)).await {
        Ok(prepared) => prepared.map(|()| form),
        Err(panicked) => Err(Fault::from(&*panicked.0)),
    }
}

/// What a bolt is after a rest.
pub(super) enum Rested<F> {
    /// There may be something to do.
    Ready(F),
    /// Nothing more will come.
    Finished(F),
}

/// A fault breaks an instance as a panic does.
pub(super) fn outcome_of(outcome: Result<Result<(), Fault>, Cause>) -> Result<(), Cause> {
    outcome?.map_err(|fault| Fail::retry(fault).into())
}
