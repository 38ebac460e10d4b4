//! What a spout's executor does for micro-transactions: emits into the batch that is open, ends it with a marker, and goes
//! back to what is committed where one fails.
//!
//! Invariant: what is emitted belongs to the batch behind the one whose marker was sent last.

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
use crate::transaction::{Stage, Staged};

/// How a spout's task stands with its batches.
#[derive(Debug, Default)]
pub(crate) struct SpoutBatch {
    /// The newest batch whose marker it has sent: it emits into the next one.
    closed: u64,
    /// The newest batch that it has handed its offsets over for.
    passed: u64,
    /// The newest batch that the spout was told is committed.
    told: u64,
    /// The newest batch that it emitted into.
    emitted_in: u64,
    /// Trees opened in the batch that is open.
    emitted: usize,
    /// What it has for the batch whose marker it has sent.
    staged: Staged,
    /// Trees of that batch that may still be open.
    open: Vec<RootId>,
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
        let has_marker_to_send = transactions.closing().is_some_and(|txid| txid > self.batch.closed);
        if transactions.stage() != Stage::Run || has_marker_to_send || transactions.is_full() {
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
        self.batch.emitted_in = self.batch.closed + 1;
        if self.batch.emitted >= transactions.settings.batch_records.max(1) {
            transactions.close_soon();
        }
    }

    /// Begins with the batch that is open.
    pub(super) fn begin_batches(&mut self) {
        if let Some(transactions) = self.env.transactions() {
            let committed = transactions.committed();
            let SpoutBatch { closed, passed, told, emitted_in, .. } = &mut self.batch;
            (*closed, *passed, *told, *emitted_in) = (committed, committed, committed, committed);
        }
    }

    /// Event time was told to be over: in the batch whose marker is the next to be sent.
    pub(super) fn note_end(&mut self) {
        self.batch.ended_in = self.batch.closed + 1;
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
        // In this order: a batch closes only once the one before it is committed.
        let closing = transactions.closing().filter(|txid| *txid > self.batch.closed);
        let committed = transactions.committed();
        if committed > self.batch.told {
            self.batch.told = committed;
            if let Err(panicked) = contain(|| spout.batch_committed()) {
                return self.replace(spout, panicked.0).await;
            }
            self.tell_progress();
        }
        if let Some(txid) = closing {
            // What ended as it was emitted is of the batch that ends.
            if let Err(panicked) = self.apply_answers(&mut spout) {
                return self.replace(spout, panicked.0).await;
            }
            let offsets = match contain(|| spout.end_batch()) {
                Ok(offsets) => offsets,
                Err(panicked) => return self.replace(spout, panicked.0).await,
            };
            let trees = std::mem::take(&mut self.batch.emitted) as u64;
            let staged = Staged { trees, ..self.env.task.staging.take() };
            self.batch.staged = Staged { inputs: offsets.into_iter().collect(), ..staged };
            self.batch.open = self.out.ledger.iter().map(|open| open.root).collect();
            self.batch.closed = txid;
            self.out.out.signal(Signal::Marker(txid));
            self.send(Flush::All);
        }
        Some(spout)
    }

    /// Hands over what the task has for the batch whose marker it has sent, once no tree of it is open.
    pub(super) fn pass_if_answered(&mut self) {
        let Some(transactions) = self.env.transactions() else { return };
        let closed = self.batch.closed;
        if self.batch.passed == closed {
            return;
        }
        let (open, ledger) = (&mut self.batch.open, &self.out.ledger);
        while open.pop_if(|root| ledger.get(*root).is_none()).is_some() {}
        if open.is_empty() {
            self.batch.passed = closed;
            let staged = std::mem::take(&mut self.batch.staged);
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
