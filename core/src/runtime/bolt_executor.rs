//! Runs one task of a bolt: takes batches from its queue, executes them, sends on what was emitted and tells the ledgers.
//!
//! The instance is replaced when it panics or errs; queue, emitters and acks are the executor's and survive it.

use std::sync::Arc;
use std::time::Duration;
use std::vec::Drain;

use super::contain::{contain, contain_future};
use super::control::Phase;
use super::emitter::Emitters;
use super::envelope::{Anchor, Envelope, Joints};
use super::executor::Executor;
use super::form::{Form, Out, Turn, Work};
use super::inbox::{Batch, Inbox};
use super::route::Flush;
use crate::context::TaskContext;
use crate::fail::Fail;
use crate::ledger::RootId;
use crate::metrics::record;
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::trace::{Hop, HopOutcome, value_of};

/// A bolt's factory.
pub(crate) type Factory<F> = Arc<dyn Fn() -> F + Send + Sync>;

/// Batches executed before other executors of the thread get their turn.
const BATCHES_PER_TURN: u32 = 4;

/// Tuples between two looks at the clock. Reading it costs 20 ns, so quick executes share one reading: where a mean
/// execute takes under [`SLOW`], its time is told per so many tuples.
const QUICK_CHUNK: usize = 32;
const SLOW: Duration = Duration::from_micros(2);

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
}

impl<F: Form> BoltExecutor<F> {
    pub(crate) fn new(
        env: Executor,
        factory: Factory<F>,
        inbox: Arc<Inbox<F::In>>,
        out: Out<F>,
        turn: Turn,
    ) -> Self {
        Self { env, factory, inbox, out, turn, chunk: QUICK_CHUNK, times: Vec::new(), next_tick: None }
    }

    /// Runs until nothing more can come, or until the topology aborts.
    pub(crate) async fn run(mut self) {
        let (form, prepared) = match instance(&self.factory, &self.env.task).await {
            Ok(form) => (Some(form), Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let started = self.env.wait_for_start(prepared).await;
        if let (Some(form), true) = (form, started) {
            self.next_tick = self.env.tick.map(|every| self.env.now().after(every));
            if let Some(form) = self.work_off(form).await {
                self.clean_up(form).await;
            }
            self.flush(Flush::All).await;
        }
        self.tell();
        self.out.close();
        self.env.control.advance(|progress| progress.finished += 1);
    }

    async fn clean_up(&mut self, mut form: F) {
        if let Err(panicked) = contain_future(form.cleanup()).await {
            self.env.report(panicked.0);
        }
        if let Err(panicked) = contain(|| drop(form)) {
            self.env.report(panicked.0);
        }
    }

    /// Replaces an instance that panicked or erred; what it held fails as it is dropped. `None` where the topology aborts
    /// meanwhile.
    async fn replace(&mut self, broken: F, why: Arc<str>) -> Option<F> {
        self.env.report(why);
        if let Err(panicked) = contain(|| drop(broken)) {
            self.env.report(panicked.0);
        }
        self.env.counters.restarted.add(1);
        self.tell();
        for attempt in 1.. {
            match instance(&self.factory, &self.env.task).await {
                Ok(form) => return Some(form),
                Err(fault) => self.env.report(format!("could not start again: {fault}").into()),
            }
            self.env.task.sleep(self.env.restart_delay(attempt)).await;
            if self.env.control.phase() == Phase::Aborting {
                break;
            }
        }
        None
    }

    /// Works until nothing more can come. `None` where the topology aborted while there was no instance.
    async fn work_off(&mut self, mut form: F) -> Option<F> {
        let mut batches = 0;
        while self.env.control.phase() != Phase::Aborting {
            let done = match self.inbox.pop() {
                Some(batch) => {
                    batches += 1;
                    self.execute(form, batch).await
                }
                None => {
                    batches = BATCHES_PER_TURN;
                    self.rest(form).await
                }
            };
            form = match done? {
                Rested::Ready(form) => form,
                Rested::Finished(form) => return Some(form),
            };
            if batches >= BATCHES_PER_TURN {
                batches = 0;
                tokio::task::yield_now().await;
            }
        }
        Some(form)
    }

    /// Executes one batch. `None` where the topology aborted while an instance was being replaced.
    async fn execute(&mut self, mut form: F, mut batch: Batch<F::In>) -> Option<Rested<F>> {
        let tuples = batch.envelopes.len() as u64;
        let mut started = self.env.now();
        let waited = started.since(batch.sent);
        let mut envelopes = batch.envelopes.drain(..);
        while envelopes.len() > 0 {
            let before = envelopes.len();
            let chunk = Chunk {
                env: &self.env,
                envelopes: &mut envelopes,
                joints: &batch.joints,
                queued: batch.sent,
            };
            let run = run_chunk(&mut form, chunk, self.chunk, &mut self.out, &mut self.turn);
            let outcome = contain_future(run).await;
            let ended = self.env.now();
            self.note_times(ended.since(started), before - envelopes.len());
            started = ended;
            let broken = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault.to_string().into()),
                Err(panicked) => Some(panicked.0),
            };
            if let Some(why) = broken {
                self.fail_current(&batch.joints, &why);
                form = self.replace(form, why).await?;
                started = self.env.now();
            }
            if self.out.buffered() >= self.env.config.batch_size && !self.send(Flush::Due) {
                self.wait_for_space(Flush::Due).await;
                started = self.env.now();
            }
        }
        drop(envelopes);
        self.inbox.recycle(batch.envelopes);
        self.count(tuples, waited);
        self.flush(Flush::Due).await;
        match self.tick_if_due(&mut form).await {
            Ok(()) => Some(Rested::Ready(form)),
            Err(why) => self.replace(form, why).await.map(Rested::Ready),
        }
    }

    /// The queue is empty: sends on everything, then waits for something to do.
    async fn rest(&mut self, mut form: F) -> Option<Rested<F>> {
        let idle = outcome_of(contain_future(form.idle(&mut self.out)).await);
        if let Err(why) = idle {
            form = self.replace(form, why).await?;
        }
        self.flush(Flush::All).await;
        if self.inbox.is_finished() {
            return Some(Rested::Finished(form));
        }
        // A ring for input or for the stop may have been taken by the waits above.
        if !self.inbox.is_empty() || self.env.control.phase() == Phase::Aborting {
            return Some(Rested::Ready(form));
        }
        match self.next_tick {
            Some(at) => {
                let tick = self.env.task.scheduler.sleep_until(at);
                tokio::select! {
                    () = self.env.bell.notified() => {}
                    () = tick => {}
                }
            }
            None => self.env.bell.notified().await,
        }
        self.tell();
        match self.tick_if_due(&mut form).await {
            Ok(()) => Some(Rested::Ready(form)),
            Err(why) => self.replace(form, why).await.map(Rested::Ready),
        }
    }

    async fn tick_if_due(&mut self, form: &mut F) -> Result<(), Arc<str>> {
        let (Some(every), Some(at)) = (self.env.tick, self.next_tick) else { return Ok(()) };
        let now = self.env.now();
        if now < at {
            return Ok(());
        }
        // Ticks that were missed while the bolt was busy are not made up for.
        self.next_tick = Some(now.after(every));
        self.out.begin(RootId::UNTRACKED);
        outcome_of(contain_future(form.tick(&mut self.out)).await)
    }

    /// Fails the input that was in work when its bolt broke.
    fn fail_current(&mut self, joints: &Joints, why: &Arc<str>) {
        let anchor = std::mem::replace(&mut self.turn.current, Anchor::UNTRACKED);
        // What a bolt that owns its inputs emitted is left alone: an input may have been acknowledged for it already.
        if anchor != Anchor::UNTRACKED {
            self.turn.fail(anchor, joints, &mut self.out, Fail::Retry(Arc::clone(why)));
        }
        self.out.begin(RootId::UNTRACKED);
    }

    fn note_times(&mut self, took: Duration, tuples: usize) {
        let Ok(count) = u32::try_from(tuples) else { return };
        if count == 0 {
            return;
        }
        let mean = took / count;
        self.chunk = if mean > SLOW { 1 } else { QUICK_CHUNK };
        self.times.push((mean, u64::from(count)));
    }

    fn count(&mut self, executed: u64, waited: Duration) {
        let counters = &self.env.counters;
        counters.executed.add(executed);
        let mut times = counters.times();
        record(&mut times.queue_wait, waited, executed);
        let mut busy = Duration::ZERO;
        for (time, count) in self.times.drain(..) {
            record(&mut times.execute, time, count);
            busy += time * count as u32;
        }
        drop(times);
        counters.busy_nanos.add(busy.as_nanos() as u64);
    }

    /// Routes and sends; `false` where a queue was full.
    fn send(&mut self, flush: Flush) -> bool {
        self.out.route();
        let sent = self.out.send(flush);
        self.tell();
        sent
    }

    async fn flush(&mut self, flush: Flush) {
        if !self.send(flush) {
            self.wait_for_space(flush).await;
        }
    }

    async fn wait_for_space(&mut self, flush: Flush) {
        loop {
            self.env.bell.notified().await;
            if self.send(flush) || self.env.control.phase() == Phase::Aborting {
                return;
            }
        }
    }

    /// Tells counters and ledgers all that came of the inputs so far.
    fn tell(&mut self) {
        self.env.settle(&mut self.out, &mut self.turn.acks);
        let counters = &self.env.counters;
        counters.acked.add(std::mem::take(&mut self.turn.acked));
        counters.failed.add(std::mem::take(&mut self.turn.failed));
        counters.rejected.add(std::mem::take(&mut self.turn.rejected));
        if let Some(fail) = self.turn.last_fail.take() {
            counters.report(self.env.task.clock().wall_ms(), Arc::clone(fail.reason()));
        }
        self.turn.acks.flush();
        let mut answered = self.turn.desk.lock();
        counters.acked.add(std::mem::take(&mut answered.acked));
        counters.failed.add(std::mem::take(&mut answered.failed));
        counters.rejected.add(std::mem::take(&mut answered.rejected));
        answered.acks.flush();
    }
}

/// A fresh, prepared instance.
async fn instance<F: Form>(factory: &Factory<F>, task: &TaskContext) -> Result<F, Fault> {
    let mut form = contain(|| factory()).map_err(|panicked| Fault::from(&*panicked.0))?;
    match contain_future(form.prepare(task)).await {
        Ok(prepared) => prepared.map(|()| form),
        Err(panicked) => Err(Fault::from(&*panicked.0)),
    }
}

/// What a bolt is after a rest.
enum Rested<F> {
    /// There may be something to do.
    Ready(F),
    /// Nothing more will come.
    Finished(F),
}

fn outcome_of(outcome: Result<Result<(), Fault>, super::contain::Panicked>) -> Result<(), Arc<str>> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => Err(fault.to_string().into()),
        Err(panicked) => Err(panicked.0),
    }
}

/// Inputs to execute, and where they come from.
struct Chunk<'a, 'b, In> {
    env: &'a Executor,
    envelopes: &'a mut Drain<'b, Envelope<In>>,
    joints: &'a Joints,
    queued: Moment,
}

/// Executes up to `limit` tuples, fewer where their output fills a batch.
async fn run_chunk<F: Form>(
    form: &mut F,
    chunk: Chunk<'_, '_, F::In>,
    limit: usize,
    out: &mut Out<F>,
    turn: &mut Turn,
) -> Result<(), Fault> {
    let Chunk { env, envelopes, joints, queued } = chunk;
    for envelope in envelopes.take(limit) {
        let traced = envelope.anchor.root.traced();
        let hop = traced.then(|| Tracing::begin(env, queued, &envelope, out, turn));
        form.execute(Work { envelope, joints, turn: &mut *turn }, out).await?;
        if let Some(hop) = hop {
            hop.end(env, out, turn);
        }
        if out.buffered() >= env.config.batch_size {
            break;
        }
    }
    Ok(())
}

/// A hop in the making.
struct Tracing {
    hop: Hop,
    buffered: usize,
    failed: u64,
    acked: u64,
}

impl Tracing {
    #[cold]
    fn begin<In: crate::Tuple>(
        env: &Executor,
        queued: Moment,
        envelope: &Envelope<In>,
        out: &impl Emitters,
        turn: &Turn,
    ) -> Self {
        let hop = Hop {
            root: envelope.anchor.root,
            component: Arc::clone(&env.task.component),
            task: env.task.task,
            queued,
            started: env.now(),
            executed: Duration::ZERO,
            outcome: HopOutcome::Held,
            value: value_of(&envelope.tuple),
        };
        Self { hop, buffered: out.buffered(), failed: turn.failed, acked: turn.acked }
    }

    #[cold]
    fn end(mut self, env: &Executor, out: &impl Emitters, turn: &Turn) {
        self.hop.executed = env.now().since(self.hop.started);
        let emitted = out.buffered().saturating_sub(self.buffered) as u64;
        match &turn.last_fail {
            Some(fail) if turn.failed > self.failed => {
                self.hop.outcome = HopOutcome::Failed(Arc::clone(fail.reason()))
            }
            _ if turn.acked > self.acked => self.hop.outcome = HopOutcome::Done { emitted },
            _ => {}
        }
        env.hops.push(self.hop);
    }
}
