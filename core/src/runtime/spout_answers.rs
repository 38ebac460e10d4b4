//! What a spout's task does with the answers of bolts: its ledger, and what the spout is told.

use std::sync::Arc;

use super::acks::Failed;
use super::contain::{Panicked, contain};
use super::envelope::Anchor;
use super::spout_emitter::Done;
use super::spout_executor::SpoutExecutor;
use crate::fail::{Fail, FailKind, Failure};
use crate::ledger::{Closed, Update};
use crate::metrics::Activity;
use crate::spout::Spout;
use crate::trace::TreeOutcome;

impl<S: Spout> SpoutExecutor<S> {
    /// Applies all that bolts answered and tells the spout which trees ended.
    ///
    /// A spout that panics in `ack` or `fail` hears the rest as its next instance.
    pub(super) fn take_answers(&mut self, spout: &mut S) -> Result<(), Panicked> {
        if !self.answers.is_empty() {
            self.apply_answers(spout)?;
        }
        self.lanes[usize::from(self.ledger)].take(&mut self.answers);
        if self.answers.is_empty() && self.out.done.is_empty() {
            return Ok(());
        }
        self.apply_answers(spout)
    }

    pub(super) fn apply_answers(&mut self, spout: &mut S) -> Result<(), Panicked> {
        let mut answers = std::mem::take(&mut self.answers);
        self.out.now = self.env.now();
        self.env.counters.activities.turn_to(Activity::Executing, self.out.now);
        let (mut fails, mut updates) = (0, 0);
        let outcome = contain(|| {
            self.end_done(spout);
            while let Some(failed) = answers.fails.get(fails) {
                fails += 1;
                let closed = self.out.ledger.fail(failed.root);
                if let Some(witness) = &self.env.witness {
                    witness.lock().failed(failed.root, closed.as_ref());
                }
                if let Some(closed) = closed {
                    self.tell_fail(spout, closed, failed);
                }
            }
            while let Some(update) = answers.updates.get(updates) {
                updates += 1;
                if update.root.traced() {
                    self.apply_traced(spout, *update);
                } else if let Update::Acked(closed) = self.update(*update) {
                    self.tell_ack(spout, closed);
                }
            }
        });
        answers.fails.drain(..fails);
        answers.updates.drain(..updates);
        self.answers = answers;
        self.note_completions();
        self.env.counters.pending.set(self.out.ledger.pending() as u64);
        outcome
    }

    #[inline(always)]
    fn update(&mut self, update: Anchor) -> Update<S::Id> {
        let answer = self.out.ledger.update(update.root, update.edge);
        if let Some(witness) = &self.env.witness {
            let value = self.out.ledger.value(update.root);
            witness.lock().updated(update.root, update.edge, &answer, value);
        }
        answer
    }

    /// As for any other update, and keeps how the tree ended. Apart, because all others have no use for what is kept: the
    /// ledger need not even load it.
    #[cold]
    #[inline(never)]
    fn apply_traced(&mut self, spout: &mut S, update: Anchor) {
        if let Update::Acked(closed) = self.update(update) {
            self.note_tree(spout, &closed, TreeOutcome::Acked);
            self.tell_ack(spout, closed);
        }
    }

    /// Trees that ended while they were being emitted.
    fn end_done(&mut self, spout: &mut S) {
        while let Some(done) = self.out.done.pop_front() {
            match done {
                Done::Untracked(id) => {
                    self.untracked += 1;
                    spout.ack(id);
                }
                Done::Closed(closed) => {
                    if closed.root.traced() {
                        self.note_tree(spout, &closed, TreeOutcome::Acked);
                    }
                    self.tell_ack(spout, closed);
                }
            }
        }
    }

    #[inline]
    fn tell_ack(&mut self, spout: &mut S, closed: Closed<S::Id>) {
        let took = self.out.now.since(closed.opened);
        if took == self.completions.0 {
            self.completions.1 += 1;
        } else {
            self.note_completions();
            self.completions = (took, 1);
        }
        spout.ack(closed.id);
    }

    #[cold]
    fn tell_fail(&mut self, spout: &mut S, closed: Closed<S::Id>, failed: &Failed) {
        let kind = match failed.cause.fail {
            Fail::Retry(_) => FailKind::Retry,
            Fail::Reject(_) => FailKind::Reject,
        };
        self.env.counters.failed.add(1);
        self.env.counters.rejected.add(u64::from(kind == FailKind::Reject));
        self.env.counters.time_out(u64::from(failed.cause.timed_out));
        let reason = Arc::clone(failed.cause.fail.reason());
        let failure =
            Failure { kind, reason, component: Arc::clone(&failed.component), attempt: closed.attempt };
        self.note_tree(spout, &closed, TreeOutcome::Failed(failure.clone()));
        spout.fail(closed.id, &failure);
        self.env.fail_batch(&failure.reason);
        if let Some(transactions) = self.env.transactions() {
            transactions.blame();
        }
    }

    fn note_completions(&mut self) {
        let untracked = std::mem::take(&mut self.untracked);
        let (took, count) = std::mem::take(&mut self.completions);
        self.env.counters.acked.add(untracked + count);
        if count > 0 {
            self.env.counters.complete.record(took, count);
        }
    }
}
