//! Runs one task of a bolt: takes batches from its queue, executes them, sends on what was emitted and tells the ledgers.
//!
//! The instance is replaced when it panics or errs; queue, emitters and acks are the executor's and survive it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::acks::Cause;
use super::chunk::Chunk;
use super::contain::{Panicked, contain, contain_future};
use super::control::Phase;
use super::emitter::Emitters;
use super::envelope::Joints;
use super::executor::Executor;
use super::form::{Form, Out, Turn};
use super::holding::Doing;
use super::inbox::{Batch, Inbox};
use super::route::Flush;
use super::signal::InputTimes;
use super::trees::{Keeper, Trees};
use crate::context::TaskContext;
use crate::fail::Fail;
use crate::ledger::RootId;
use crate::metrics::Activity;
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::time::EventTime;

/// A bolt's factory.
pub(crate) type Factory<F> = Arc<dyn Fn() -> F + Send + Sync>;

/// Batches executed before other executors of the thread get their turn.
const BATCHES_PER_TURN: u32 = 4;

/// Time between two looks at the clock while tuples are executed. A look costs some 25 ns, so quick executes share one, and
/// are told their mean; an execute that takes longer than this is timed by itself.
const LOOK_EVERY: Duration = Duration::from_micros(4);
/// The most tuples that share a look at the clock.
const LARGEST_CHUNK: u64 = 128;

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
    pub(crate) told_time: EventTime,
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
    /// From how many senders the marker of the batch has come.
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
            told_time: EventTime::default(),
            ended: false,
            trees: Trees::default(),
            keeper,
            waits_for_trees,
            keeps: None,
            flushed: 0,
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
            let mut form = self.work_off(form).await;
            if let Some(form) = &mut form {
                self.finish(form).await;
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
    async fn finish(&mut self, form: &mut F) {
        if self.env.control.phase() == Phase::Aborting {
            return;
        }
        self.out.begin(RootId::UNTRACKED);
        match contain_future(form.finish(&mut self.out)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.env.report(fault.to_string().into()),
            Err(panicked) => self.env.report(panicked.0),
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

    /// Replaces an instance that panicked, erred or took too long; what it held fails as it is dropped. `None` where the topology aborts
    /// meanwhile.
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
            self.env.task.states.answer();
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

    /// Whether input waits until there is room for what came of earlier input.
    fn is_held_up(&self) -> bool {
        F::OPENS_TREES && self.waits_for_trees && self.trees.waiting() > 0
    }

    fn next_batch(&self) -> Option<Batch<F::In>> {
        if self.is_held_up() { None } else { self.inbox.pop() }
    }

    /// Executes one batch. `None` where the topology aborted while an instance was being replaced.
    async fn execute(&mut self, mut form: F, mut batch: Batch<F::In>) -> Option<Rested<F>> {
        let tuples = batch.envelopes.len() as u64;
        if tuples > 0 {
            self.env.holding.arrive().await;
        }
        let mut started = self.env.now();
        self.env.counters.activities.turn_to(Activity::Executing, started);
        self.env.counters.waited(batch.input, started.since(batch.sent), tuples);
        let mut sent = started;
        let mut envelopes = batch.envelopes.drain(..);
        while envelopes.len() > 0 {
            let before = envelopes.len();
            let chunk = Chunk {
                env: &self.env,
                envelopes: &mut envelopes,
                joints: &batch.joints,
                queued: batch.sent,
            };
            let run = form.execute(chunk, self.chunk, &mut self.out, &mut self.trees, &mut self.turn);
            let outcome = self.env.holding.run(Doing::Execute, run).await;
            let ended = self.env.now();
            let executed = before - envelopes.len();
            self.note_times(ended.since(started), executed);
            started = ended;
            let outcome = outcome_of(outcome);
            if outcome.is_ok() || executed > 1 {
                self.breakdowns = 0;
            }
            if let Err(cause) = outcome {
                self.fail_current(&batch.joints, &cause);
                form = self.replace(form, cause).await?;
                if self.env.transactions().is_some() {
                    // The rest comes again.
                    return Some(Rested::Ready(form));
                }
                self.env.holding.arrive().await;
                started = self.env.now();
            }
            let is_late = started.since(sent) >= self.env.config.max_batch_delay;
            if is_late || self.out.buffered() >= self.env.config.batch_size {
                let flush = if is_late { Flush::All } else { Flush::Due };
                if !self.send(flush) {
                    self.wait_for_space(flush).await;
                    self.env.holding.arrive().await;
                    started = self.env.now();
                }
                sent = started;
                // Seen while it lasts, however long the batch takes.
                self.count();
            }
        }
        drop(envelopes);
        self.inbox.recycle(batch.envelopes);
        self.count();
        let backs = self.backs;
        if let Some(signal) = batch.signal {
            form = self.hear(form, batch.from, signal).await?;
        }
        if let Some(txid) = batch.marker.filter(|_| self.backs == backs) {
            form = self.take_marker(form, txid).await?;
        }
        self.flush(Flush::Due).await;
        match self.tick_if_due(&mut form).await {
            Ok(()) => Some(Rested::Ready(form)),
            Err(cause) => self.replace(form, cause).await.map(Rested::Ready),
        }
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
    async fn wait(&mut self, form: &mut F) -> Result<(), Panicked> {
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

    async fn tick_if_due(&mut self, form: &mut F) -> Result<(), Cause> {
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

    /// Fails the input that was in work when its bolt broke.
    fn fail_current(&mut self, joints: &Joints, cause: &Cause) {
        // What a bolt that owns its inputs emitted is left alone: an input may have been acknowledged for it already.
        if let Some(anchor) = self.turn.current.take() {
            self.turn.fail(anchor, joints, &mut self.out, cause.clone());
        }
        self.trees.roll_back();
        if let Some(tracing) = self.turn.tracing.take() {
            tracing.fail(&self.env, Arc::clone(cause.fail.reason()));
        }
        self.out.begin(RootId::UNTRACKED);
    }

    fn note_times(&mut self, took: Duration, tuples: usize) {
        let Ok(count) = u32::try_from(tuples) else { return };
        if count == 0 {
            return;
        }
        let mean = took / count;
        let chunk = LOOK_EVERY.as_nanos() as u64 / (mean.as_nanos() as u64).max(1);
        self.chunk = chunk.clamp(1, LARGEST_CHUNK) as usize;
        self.times.push((mean, u64::from(count)));
    }

    /// Tells what was executed since it was told last.
    fn count(&mut self) {
        let mut executed = 0;
        for (time, count) in self.times.drain(..) {
            self.env.counters.execute.record(time, count);
            executed += count;
        }
        self.env.counters.executed.add(executed);
    }

    /// Routes and sends; `false` where a queue was full.
    pub(super) fn send(&mut self, flush: Flush) -> bool {
        self.out.route();
        let sent = self.out.send(flush);
        self.tell();
        sent
    }

    async fn flush(&mut self, flush: Flush) -> Flushed {
        if self.send(flush) {
            return Flushed::AtOnce;
        }
        self.wait_for_space(flush).await;
        Flushed::AfterWaiting
    }

    pub(super) async fn wait_for_space(&mut self, flush: Flush) {
        let before = self.env.turn_to(Activity::Blocked);
        while !self.env.control.is_stopping() {
            self.env.bell.notified().await;
            if self.send(flush) {
                break;
            }
        }
        self.env.turn_to(before);
    }

    /// Tells counters and ledgers all that came of the inputs so far.
    pub(super) fn tell(&mut self) {
        self.env.settle(&mut self.out, &mut self.turn.acks);
        let counters = &self.env.counters;
        counters.acked.add(std::mem::take(&mut self.turn.acked));
        counters.failed.add(std::mem::take(&mut self.turn.failed));
        counters.rejected.add(std::mem::take(&mut self.turn.rejected));
        if F::OPENS_TREES {
            self.tell_trees();
        }
        let counters = &self.env.counters;
        self.turn.acks.flush();
        self.turn.desk.fail_forgotten();
        let mut answered = self.turn.desk.lock();
        let failed = self.turn.last_fail.take().or(answered.last_fail.take());
        let failed = failed.map(|fail| Arc::clone(fail.reason()));
        if let Some(why) = &failed {
            counters.report(self.env.task.clock().wall_ms(), Arc::clone(why));
        }
        counters.acked.add(std::mem::take(&mut answered.acked));
        counters.failed.add(std::mem::take(&mut answered.failed));
        counters.rejected.add(std::mem::take(&mut answered.rejected));
        answered.acks.flush();
        drop(answered);
        if let Some(why) = failed {
            self.env.fail_batch(&why);
        }
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

/// How a flush went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    AtOnce,
    /// The bell was heard meanwhile, whatever it rang for.
    AfterWaiting,
}

/// What a bolt is after a rest.
enum Rested<F> {
    /// There may be something to do.
    Ready(F),
    /// Nothing more will come.
    Finished(F),
}

/// A fault breaks an instance as a panic does.
pub(super) fn outcome_of(outcome: Result<Result<(), Fault>, Cause>) -> Result<(), Cause> {
    outcome?.map_err(|fault| Fail::retry(fault).into())
}
