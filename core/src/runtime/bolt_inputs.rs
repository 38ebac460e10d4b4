//! The inputs of a bolt's task on their way: taken from the queue in batches, executed, and what came of them sent on and told
//! to the ledgers.

use std::sync::Arc;
use std::time::Duration;

use super::acks::Cause;
use super::bolt_executor::{BoltExecutor, Rested, outcome_of};
use super::chunk::Chunk;
use super::emitter::Emitters;
use super::envelope::Joints;
use super::form::Form;
use super::holding::Doing;
use super::inbox::Batch;
use super::room::has_room;
use super::route::Flush;
use crate::ledger::RootId;
use crate::metrics::record;

/// Time between two looks at the clock while tuples are executed. A look costs some 25 ns, so quick executes share one, and
/// are told their mean; an execute that takes longer than this is timed by itself.
const LOOK_EVERY: Duration = Duration::from_micros(4);
/// The most tuples that share a look at the clock.
const LARGEST_CHUNK: u64 = 128;

/// How a flush went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    AtOnce,
    /// The bell was heard meanwhile, whatever it rang for.
    AfterWaiting,
}

impl<F: Form> BoltExecutor<F> {
    /// Whether input waits until there is room for what came of earlier input.
    pub(super) fn is_held_up(&self) -> bool {
        F::OPENS_TREES && self.waits_for_trees && self.trees.waiting() > 0
    }

    pub(super) fn next_batch(&self) -> Option<Batch<F::In>> {
        if self.is_held_up() { None } else { self.inbox.pop() }
    }

    /// Executes one batch. `None` where the topology aborted while an instance was being replaced.
    pub(super) async fn execute(&mut self, mut form: F, mut batch: Batch<F::In>) -> Option<Rested<F>> {
        let tuples = batch.envelopes.len() as u64;
        if tuples > 0 {
            self.env.holding.arrive().await;
        }
        let mut started = self.env.now();
        let waited = started.since(batch.sent);
        let mut sent = started;
        let mut envelopes = batch.envelopes.drain(..);
        while envelopes.len() > 0 {
            if !has_room(&form) {
                let backs = self.backs;
                form = self.make_room(form).await?;
                if self.backs != backs || self.env.control.is_stopping() {
                    // The rest comes again.
                    return Some(Rested::Ready(form));
                }
                self.env.holding.arrive().await;
                started = self.env.now();
                sent = started;
            }
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
            }
        }
        drop(envelopes);
        self.inbox.recycle(batch.envelopes);
        self.count(tuples, waited);
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
    pub(super) fn send(&mut self, flush: Flush) -> bool {
        self.out.route();
        let sent = self.out.send(flush);
        self.tell();
        sent
    }

    pub(super) async fn flush(&mut self, flush: Flush) -> Flushed {
        if self.send(flush) {
            return Flushed::AtOnce;
        }
        self.wait_for_space(flush).await;
        Flushed::AfterWaiting
    }

    pub(super) async fn wait_for_space(&mut self, flush: Flush) {
        while !self.env.control.is_stopping() {
            self.env.bell.notified().await;
            if self.send(flush) {
                return;
            }
        }
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
