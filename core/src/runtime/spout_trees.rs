//! What a spout's executor tells of its trees: which are open, where somebody asked, and how they ended.

use std::sync::Arc;

use super::contain::contain;
use super::spout_executor::SpoutExecutor;
use crate::ledger::Closed;
use crate::spout::Spout;
use crate::trace::{EndedTree, TreeOutcome};

impl<S: Spout> SpoutExecutor<S> {
    /// Tells which trees are open.
    #[cold]
    pub(super) fn show_trees(&self, spout: &S) {
        self.env.trees.answer(&self.out.ledger, self.env.now(), |id| describe(spout, id));
    }

    /// Keeps how a tree ended.
    #[cold]
    pub(super) fn note_tree(&self, spout: &S, closed: &Closed<S::Id>, outcome: TreeOutcome) {
        self.env.trees.note(EndedTree {
            root: closed.root,
            component: Arc::clone(&self.env.task.component),
            task: self.env.task.task,
            attempt: closed.attempt,
            id: describe(spout, &closed.id),
            opened: closed.opened,
            ended: self.out.now,
            outcome,
        });
    }
}

/// What the spout calls a tuple. One that panics over it has no name for it.
fn describe<S: Spout>(spout: &S, id: &S::Id) -> Option<Arc<str>> {
    contain(|| spout.describe(id)).ok().flatten().map(Arc::from)
}
