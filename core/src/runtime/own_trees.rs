//! What a bolt's executor does for the trees that its bolt opens: emits them, hears what became of them, tries them again.
//!
//! It is the spout's part, played by a bolt: a ledger and a lane of its own, numbered behind those of the spouts.

use std::sync::Arc;

use super::acks::Failed;
use super::bolt_executor::{BoltExecutor, outcome_of};
use super::contain::{Panicked, contain};
use super::control::Phase;
use super::emitter::Emitters;
use super::envelope::{Anchor, Joints};
use super::form::Form;
use super::holding::Doing;
use super::route::Flush;
use super::trees::{Keeper, Tree};
use crate::fail::{Fail, FailKind, Failure};
use crate::ledger::{Closed, RootId, Update};
use crate::metrics::Activity;
use crate::schedule::Moment;
use crate::trace::{EndedTree, TreeOutcome};

/// So many results that are done and await a flush make the task ask for one itself.
const MOST_SETTLING: usize = 4_096;

impl<F: Form> BoltExecutor<F> {
    /// Hears what became of its trees, has the bolt act on its timer, and emits the trees that are to be. `None` where the
    /// topology aborted while an instance was being replaced.
    pub(super) async fn tend_trees(&mut self, mut form: F) -> Option<F> {
        if self.env.trees.is_asked()
            && let Some(keeper) = &self.keeper
        {
            self.env.trees.answer(&keeper.ledger, self.env.now(), |_| None);
        }
        if let Err(panicked) = self.take_answers(&mut form) {
            form = self.replace(form, Fail::Retry(panicked.0).into()).await?;
        }
        let (due, now) = (contain(|| form.timer()).ok().flatten(), self.env.now());
        if due.is_some_and(|due| due <= now) {
            self.out.begin(RootId::UNTRACKED);
            self.env.counters.activities.turn_to(Activity::Executing, now);
            self.env.holding.arrive().await;
            let run = form.on_timer(now, &mut self.out, &mut self.trees);
            if let Err(cause) = outcome_of(self.env.holding.run(Doing::Timer, run).await) {
                form = self.replace(form, cause).await?;
            }
            self.trees.begin();
        }
        self.emit_trees().await;
        self.tell_time();
        Some(form)
    }

    /// When the bolt's timer or a tree's next attempt is due.
    pub(super) fn trees_due(&self, form: &F) -> Option<Moment> {
        let timer = contain(|| form.timer()).ok().flatten();
        timer.into_iter().chain(self.keeper.as_ref().and_then(Keeper::retry_due)).min()
    }

    /// Whether there are answers that the bolt was not told of.
    pub(super) fn has_answers(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::has_answers)
    }

    /// Emits what waits, as far as there is room in the ledger.
    async fn emit_trees(&mut self) {
        let now = self.env.now();
        while !self.env.control.is_stopping() {
            let next = self.keeper.as_mut().and_then(|keeper| keeper.next(&mut self.trees, now));
            let Some(tree) = next else { break };
            self.emit_tree(tree, now);
            if self.out.buffered() >= self.env.config.batch_size && !self.send(Flush::Due) {
                self.wait_for_space(Flush::Due).await;
            }
        }
        self.tell_trees();
    }

    fn emit_tree(&mut self, tree: Tree<F::Tree>, now: Moment) {
        let Some(keeper) = &mut self.keeper else { return };
        if !keeper.tracked {
            self.out.begin(RootId::UNTRACKED);
            if let Err(panicked) = contain(|| F::emit(&tree.content, &mut self.out)) {
                self.out.roll_back();
                self.env.fail_batch(&panicked.0);
                self.env.report(panicked.0);
            }
            return keeper.untracked.push_back(tree);
        }
        let (edge, attempt) = (keeper.edges.next(), tree.attempt);
        let Some(root) = keeper.ledger.open(tree, edge, attempt, now) else { return };
        if let Some(witness) = &self.env.witness {
            witness.lock().opened(root, edge);
        }
        self.out.begin(root);
        let tree = keeper.ledger.get(root);
        match contain(|| tree.into_iter().for_each(|tree| F::emit(&tree.content, &mut self.out))) {
            Ok(()) => {
                let rest = edge ^ self.out.xor();
                let to_tell = rest != 0 && !self.out.absorb(rest);
                if let Some(witness) = &self.env.witness {
                    self.out.settle_outputs();
                    witness.consumed(Anchor { root, edge }, &Joints::new());
                }
                if to_tell {
                    self.turn.acks.update(Anchor { root, edge: rest });
                }
            }
            Err(panicked) => {
                self.out.roll_back();
                let component = Arc::clone(&self.env.task.component);
                let cause = Fail::Retry(panicked.0).into();
                keeper.answers.fails.push(Failed { root, cause, component });
            }
        }
        self.out.begin(RootId::UNTRACKED);
    }

    /// Tells the topology whether trees are open here. Before any input is acknowledged: between its tree and those that came
    /// of it, the topology would seem to be idle.
    pub(super) fn tell_trees(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        self.env.counters.pending.set(self.trees.len() as u64);
        let is_busy = !self.trees.is_empty();
        if std::mem::replace(&mut keeper.told_busy, is_busy) != is_busy {
            self.env.control.advance(|progress| {
                progress.busy_bolts = progress.busy_bolts + usize::from(is_busy) - usize::from(!is_busy);
            });
        }
    }

    /// Applies all that was answered and tells the bolt which trees ended.
    ///
    /// A bolt that panics in `acked`, `failed` or `exhausted` hears the rest as its next instance.
    fn take_answers(&mut self, form: &mut F) -> Result<(), Panicked> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        if self.env.control.phase() >= Phase::Draining {
            keeper.drop_retries(&mut self.trees);
        }
        if !keeper.answers.is_empty() {
            self.apply_answers(form)?;
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.take_answers();
        }
        self.apply_answers(form)?;
        self.tell_settled(form)
    }

    fn apply_answers(&mut self, form: &mut F) -> Result<(), Panicked> {
        let Some(mut answers) = self.keeper.as_mut().map(|keeper| std::mem::take(&mut keeper.answers)) else {
            return Ok(());
        };
        let (mut fails, mut updates) = (0, 0);
        let outcome = contain(|| {
            while let Some(tree) = self.keeper.as_mut().and_then(|keeper| keeper.untracked.pop_front()) {
                self.env.counters.trees_acked.add(1);
                self.end_tree(tree, |form, tree| form.acked(tree), form);
            }
            while let Some(failed) = answers.fails.get(fails) {
                fails += 1;
                self.apply_fail(failed, form);
            }
            while let Some(&update) = answers.updates.get(updates) {
                updates += 1;
                self.apply_update(update, form);
            }
        });
        answers.fails.drain(..fails);
        answers.updates.drain(..updates);
        if let Some(keeper) = &mut self.keeper {
            keeper.answers = answers;
        }
        outcome
    }

    /// A tree is done, or given up: `tell` says so to the bolt.
    fn end_tree(&mut self, tree: Tree<F::Tree>, tell: impl FnOnce(&mut F, F::Tree), form: &mut F) {
        self.trees.release(tree.at);
        tell(form, tree.content);
    }

    fn apply_update(&mut self, update: Anchor, form: &mut F) {
        let Some(keeper) = &mut self.keeper else { return };
        let answer = keeper.ledger.update(update.root, update.edge);
        if let Some(witness) = &self.env.witness {
            let value = keeper.ledger.value(update.root);
            witness.lock().updated(update.root, update.edge, &answer, value);
        }
        if let Update::Acked(closed) = answer {
            if closed.root.traced() {
                self.note_tree(&closed, TreeOutcome::Acked);
            }
            let took = self.env.now().since(closed.opened);
            self.env.counters.complete.record(took, 1);
            self.env.counters.trees_acked.add(1);
            self.tree_acked(closed.id, form);
        }
    }

    /// Tells the bolt that a tree is done; where others keep what came of it, once they have flushed it.
    fn tree_acked(&mut self, tree: Tree<F::Tree>, form: &mut F) {
        let flushes = &self.env.control.flushes;
        let is_kept_elsewhere =
            self.keeps.is_some() && flushes.are_several() && self.env.task.states.settings().log.is_some();
        let Some(keeper) = self.keeper.as_mut().filter(|_| is_kept_elsewhere) else {
            return self.end_tree(tree, |form, tree| form.acked(tree), form);
        };
        self.trees.release(tree.at);
        // Commits ask for flushes; where nothing is committed, nobody else does.
        if keeper.settle(flushes.newest(), tree.content).is_multiple_of(MOST_SETTLING) {
            flushes.ring();
        }
    }

    /// Tells the bolt which trees are done and flushed.
    pub(super) fn tell_settled(&mut self, form: &mut F) -> Result<(), Panicked> {
        let completed = self.env.control.flushes.completed();
        contain(|| {
            while let Some(tree) = self.keeper.as_mut().and_then(|keeper| keeper.settled(completed)) {
                form.acked(tree);
            }
        })
    }

    #[cold]
    fn apply_fail(&mut self, failed: &Failed, form: &mut F) {
        let Some(keeper) = &mut self.keeper else { return };
        let closed = keeper.ledger.fail(failed.root);
        if let Some(witness) = &self.env.witness {
            witness.lock().failed(failed.root, closed.as_ref());
        }
        if let Some(closed) = closed {
            self.tree_failed(closed, failed, form);
        }
    }

    /// Keeps how a tree ended.
    #[cold]
    fn note_tree(&self, closed: &Closed<Tree<F::Tree>>, outcome: TreeOutcome) {
        self.env.trees.note(EndedTree {
            root: closed.root,
            component: Arc::clone(&self.env.task.component),
            task: self.env.task.task,
            attempt: closed.attempt,
            id: None,
            opened: closed.opened,
            ended: self.env.now(),
            outcome,
        });
    }

    #[cold]
    fn tree_failed(&mut self, closed: Closed<Tree<F::Tree>>, failed: &Failed, form: &mut F) {
        let kind = match failed.cause.fail {
            Fail::Retry(_) => FailKind::Retry,
            Fail::Reject(_) => FailKind::Reject,
        };
        let (reason, component) = (Arc::clone(failed.cause.fail.reason()), Arc::clone(&failed.component));
        let failure = Failure { kind, reason, component, attempt: closed.attempt };
        self.note_tree(&closed, TreeOutcome::Failed(failure.clone()));
        let counters = &self.env.counters;
        counters.trees_failed.add(1);
        counters.time_out(u64::from(failed.cause.timed_out));
        let (tree, phase) = (closed.id, self.env.control.phase());
        if kind == FailKind::Reject || tree.attempt >= self.env.config.tree_attempts {
            counters.trees_exhausted.add(1);
            self.env.report(format!("a result is given up: {failure}").into());
            self.end_tree(tree, |form, tree| form.exhausted(tree, &failure), form);
        } else if phase >= Phase::Draining {
            // Not done and not given up: what it came of is still there for the next run.
            self.end_tree(tree, |form, tree| form.failed(&tree, &failure), form);
        } else if let Some(keeper) = &mut self.keeper {
            let now = self.env.now();
            let due = self.env.config.tree_backoff.due(tree.attempt + 1, now, keeper.salt());
            let tree = keeper.retry(due, tree);
            form.failed(tree, &failure);
        }
    }
}
