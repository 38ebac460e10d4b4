//! What a spout's executor does for micro-transactions: emits into the batch that is open, ends it with a marker, and goes
//! back to what is committed where one fails.
//!
//! Invariant: between the marker of a batch and the opening of the next one, nothing is emitted.

use std::sync::Arc;

use super::acks::Answers;
use super::contain::contain;
use super::control::Phase;
use super::emitter::Emitters;
use super::route::Flush;
use super::signal::{Reached, Signal};
use super::spout_executor::{SpoutExecutor, State, instance};
use crate::ledger::RootId;
use crate::spout::{Fault, Spout};
use crate::transaction::{InputOffsets, Stage};

/// How a spout's task stands with its batches.
#[derive(Debug, Default)]
pub(crate) struct SpoutBatch {
    /// The newest batch whose marker it has sent.
    closed: u64,
    /// The newest batch that it has handed its offsets over for.
    passed: u64,
    /// The newest batch that the spout was told is committed.
    told: u64,
    /// The newest batch that it emitted into.
    emitted_in: u64,
    /// Trees opened in the batch that is open.
    emitted: usize,
    offsets: Option<InputOffsets>,
    /// The batch in which it told that event time is over.
    ended_in: u64,
}

impl<S: Spout> SpoutExecutor<S> {
    /// Whether `next` may be called now.
    pub(super) fn may_emit(&self) -> bool {
        self.state.active
            && !self.state.finished
            && !self.state.blocked
            && self.out.room() > 0
            && self.room_in_batch() > 0
    }

    /// How many trees may still be opened in the batch that is open.
    pub(super) fn room_in_batch(&self) -> u32 {
        let Some(transactions) = self.env.transactions() else { return u32::MAX };
        let is_open = transactions.stage() == Stage::Run && transactions.txid() > self.batch.closed;
        if !is_open || transactions.closing().is_some() {
            return 0;
        }
        let most = transactions.settings.batch_records.max(1);
        u32::try_from(most.saturating_sub(self.batch.emitted)).unwrap_or(u32::MAX)
    }

    /// So many trees were opened, or records were found to be unfit, in a burst.
    pub(super) fn note_emitted(&mut self, calls: usize) {
        let Some(transactions) = self.env.transactions() else { return };
        if calls == 0 && self.out.out.buffered() == 0 && self.out.done.is_empty() {
            return;
        }
        self.batch.emitted += calls;
        // No batch closes without this task's marker, so it is still the same one.
        self.batch.emitted_in = transactions.txid();
        if self.batch.emitted >= transactions.settings.batch_records.max(1) {
            transactions.close_soon();
        }
    }

    /// Event time was told to be over: in the batch whose marker is the next to be sent.
    pub(super) fn note_end(&mut self) {
        self.batch.ended_in = self.batch.closed + 1;
    }

    /// Whether it has sent the marker of a batch and the next one is not open: nothing is said then.
    pub(super) fn is_between_batches(&self) -> bool {
        self.env.transactions().is_some_and(|transactions| transactions.txid() <= self.batch.closed)
    }

    /// Whether all that was emitted is committed, where that matters.
    pub(super) fn is_committed(&self) -> bool {
        self.env.transactions().is_none_or(|transactions| self.batch.emitted_in <= transactions.committed())
    }

    /// Whether nothing more will be committed.
    pub(super) fn has_no_more_batches(&self) -> bool {
        self.env.transactions().is_none_or(|transactions| transactions.stage() == Stage::Over)
    }

    /// Does what the coordinator asks for. `None` where the topology stops meanwhile.
    pub(super) async fn follow_transactions(&mut self, mut spout: S) -> Option<S> {
        let transactions = Arc::clone(self.env.transactions()?);
        if transactions.is_going_back() {
            spout = self.go_back(Some(spout)).await?;
        }
        let committed = transactions.committed();
        if committed > self.batch.told {
            self.batch.told = committed;
            if let Err(panicked) = contain(|| spout.batch_committed()) {
                return self.replace(spout, panicked.0).await;
            }
            self.tell_progress();
        }
        if let Some(txid) = transactions.closing().filter(|txid| *txid > self.batch.closed) {
            match contain(|| spout.end_batch()) {
                Ok(offsets) => self.batch.offsets = offsets,
                Err(panicked) => return self.replace(spout, panicked.0).await,
            }
            self.batch.closed = txid;
            self.batch.emitted = 0;
            self.out.out.signal(Signal::Marker(txid));
            self.send(Flush::All);
        }
        Some(spout)
    }

    /// Hands over what the task has for the batch whose marker it has sent, once nothing of it is open.
    pub(super) fn pass_if_answered(&mut self) {
        let Some(transactions) = self.env.transactions() else { return };
        let closed = self.batch.closed;
        if self.batch.passed < closed && !self.state.blocked && self.is_answered() {
            self.batch.passed = closed;
            let mut staged = self.env.task.staging.take();
            staged.inputs.extend(self.batch.offsets.take());
            transactions.pass(self.env.seat, closed, staged, Vec::new());
        }
    }

    /// Goes back to what is committed, with all others. `None` where the topology aborts, or came to its end, meanwhile.
    #[cold]
    pub(super) async fn go_back(&mut self, spout: Option<S>) -> Option<S> {
        if !self.env.wait_while(&[Stage::Run]).await {
            return None;
        }
        let transactions = Arc::clone(self.env.transactions()?);
        if transactions.stage() == Stage::Over {
            return None;
        }
        self.send_nothing();
        transactions.arrive(self.env.seat, Stage::Halt);
        if !self.env.wait_while(&[Stage::Halt]).await {
            return None;
        }
        let spout = self.rewind(spout).await?;
        let (told_idle, told_done) = (self.state.told_idle, self.state.told_done);
        self.state = State { active: self.state.active, told_idle, told_done, ..State::default() };
        // An end that is committed is not told again: what it led to was emitted.
        if !self.has_ended() || self.batch.ended_in > transactions.committed() {
            if self.has_ended() {
                self.env.control.advance(|progress| progress.ended -= 1);
            }
            self.told_time = Reached::default();
        }
        let again = transactions.txid() - 1;
        let SpoutBatch { told, ended_in, .. } = self.batch;
        self.batch = SpoutBatch { closed: again, passed: again, told, ended_in, ..SpoutBatch::default() };
        self.tell_progress();
        transactions.arrive(self.env.seat, Stage::Clear);
        self.env.wait_while(&[Stage::Clear, Stage::Wait]).await.then_some(spout)
    }

    /// Drops what has not left; tells what routing had to tell.
    fn send_nothing(&mut self) {
        self.env.settle(&mut self.out.out, &mut self.acks);
        self.acks.flush();
        // A tree that was being opened as the spout broke.
        self.out.abandon();
        self.out.out.discard();
        drop(self.env.task.staging.take());
    }

    /// Tells the spout which records failed, and has it go back.
    async fn rewind(&mut self, spout: Option<S>) -> Option<S> {
        self.lanes[usize::from(self.ledger)].take(&mut self.answers);
        // Nothing that was acknowledged is done, but what failed is to be known.
        self.answers.updates.clear();
        let mut spout = spout.and_then(|mut spout| {
            let told = contain(|| {
                let committed = self.env.transactions().map_or(0, |transactions| transactions.committed());
                if committed > std::mem::replace(&mut self.batch.told, committed) {
                    spout.batch_committed();
                }
            });
            let told = told.and_then(|()| self.apply_answers(&mut spout));
            match told.map(|()| contain(|| spout.rewind())) {
                Ok(Ok(Ok(()))) => Some(spout),
                Ok(Ok(Err(fault))) => {
                    self.env.report(fault.to_string().into());
                    None
                }
                Ok(Err(panicked)) | Err(panicked) => {
                    self.env.report(panicked.0);
                    None
                }
            }
        });
        self.answers = Answers::default();
        self.out.ledger.drain_all();
        self.out.done.clear();
        self.out.out.begin(RootId::UNTRACKED);
        let mut attempts = 0;
        while spout.is_none() {
            attempts += 1;
            self.env.wait_to_restart(attempts).await;
            if self.env.control.phase() == Phase::Aborting {
                return None;
            }
            let started: Result<S, Fault> = instance(&self.factory, &self.env.task).await;
            match started {
                Ok(fresh) => spout = Some(fresh),
                Err(fault) => self.env.report(format!("could not start again: {fault}").into()),
            }
        }
        self.env.counters.pending.set(0);
        spout
    }
}
