//! The trees that a bolt's task opens itself: those it wants opened, those that are open, those that wait for another
//! attempt.
//!
//! What a bolt opens while it executes an input waits until the input is answered: the emitter knows one tree at a time, and
//! what an execute that fails has opened can be taken back.
//!
//! Invariant: `holds` counts the times of all trees that are neither done nor given up, wherever they are.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::acks::{AckLane, Answers, Lanes};
use crate::ledger::{EdgeIds, Ledger};
use crate::schedule::Moment;
use crate::time::Watermark;

/// A tree of a bolt's own.
#[derive(Debug)]
pub(crate) struct Tree<T> {
    /// Event time that the task's watermark does not pass while the tree is not done.
    pub(crate) at: i64,
    /// The attempt that is open or to be made, from 1.
    pub(crate) attempt: u32,
    pub(crate) content: T,
}

/// Where an [`Operator`](crate::Operator) opens trees of its own.
pub struct Trees<T> {
    /// To be emitted, oldest first.
    waiting: VecDeque<Tree<T>>,
    /// How many of `waiting` belong to what the bolt has done, and not to the input in work.
    kept: usize,
    holds: BTreeMap<i64, usize>,
    /// How many trees there are in all.
    len: usize,
}

impl<T> Default for Trees<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), kept: 0, holds: BTreeMap::new(), len: 0 }
    }
}

impl<T> fmt::Debug for Trees<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trees").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl<T> Trees<T> {
    /// Opens a tree for `tree`, which is emitted once the call that opens it has ended and the task has room for it. The
    /// task's watermark does not pass `at`, in milliseconds since 1970, until the tree is done.
    pub fn open(&mut self, at: i64, tree: T) {
        self.hold_back(at);
        self.waiting.push_back(Tree { at, attempt: 1, content: tree });
    }

    /// Holds event time back at `at`, as a tree that is open does, until it is released.
    pub(crate) fn hold_back(&mut self, at: i64) {
        *self.holds.entry(at).or_default() += 1;
        self.len += 1;
    }

    /// How many trees wait for room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is opened from here on belongs to the next input.
    pub(crate) fn begin(&mut self) {
        self.kept = self.waiting.len();
    }

    /// Takes back what was opened since `begin`.
    pub(crate) fn roll_back(&mut self) {
        while self.waiting.len() > self.kept
            && let Some(tree) = self.waiting.pop_back()
        {
            self.release(tree.at);
        }
    }

    /// A tree of this time is done, or given up.
    pub(crate) fn release(&mut self, at: i64) {
        if let Some(count) = self.holds.get_mut(&at) {
            self.len -= 1;
            *count -= 1;
            if *count == 0 {
                self.holds.remove(&at);
            }
        }
    }

    /// What the task's watermark must not pass.
    pub(crate) fn hold(&self) -> Option<Watermark> {
        self.holds.first_key_value().map(|(&at, _)| Watermark(at))
    }

    /// Whether any tree is neither done nor given up.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many trees are neither done nor given up.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// What a task that opens trees keeps of them.
pub(crate) struct Keeper<T> {
    pub(crate) ledger: Ledger<Tree<T>>,
    pub(crate) edges: EdgeIds,
    /// Whether trees are tracked; otherwise each is done when it is emitted.
    pub(crate) tracked: bool,
    /// Trees that failed, by when their next attempt is due.
    retries: BTreeMap<(Moment, u64), Tree<T>>,
    /// Failures so far: tells apart what is due at the same moment.
    failures: u64,
    /// Trees that were done when they were emitted, and that the bolt was not told of.
    pub(crate) untracked: VecDeque<Tree<T>>,
    /// What was done and is not yet flushed by those who keep what came of it: the content of each tree, behind the newest flush
    /// that was asked for before it was done. In that order.
    settling: VecDeque<(u64, T)>,
    /// Answers being worked on; its buffers are swapped with the lane's.
    pub(crate) answers: Answers,
    /// Where they come from.
    lanes: Lanes,
    /// Whether the topology was told that trees are open here.
    pub(crate) told_busy: bool,
}

impl<T> Keeper<T> {
    pub(crate) fn new(ledger: Ledger<Tree<T>>, edges: EdgeIds, tracked: bool, lanes: Lanes) -> Self {
        let (retries, untracked, settling, answers) = Default::default();
        let (failures, told_busy) = Default::default();
        Self { ledger, edges, tracked, retries, failures, untracked, settling, answers, lanes, told_busy }
    }

    /// The next tree to be emitted, if there is one and there is room for it.
    pub(crate) fn next(&mut self, trees: &mut Trees<T>, now: Moment) -> Option<Tree<T>> {
        if self.ledger.capacity_left() == 0 {
            return None;
        }
        if let Some(retry) = self.retries.first_entry().filter(|retry| retry.key().0 <= now) {
            return Some(retry.remove());
        }
        let next = trees.waiting.pop_front()?;
        trees.kept = trees.kept.saturating_sub(1);
        Some(next)
    }

    /// When the next attempt is due at a tree that failed.
    pub(crate) fn retry_due(&self) -> Option<Moment> {
        let (due, _) = self.retries.first_key_value()?.0;
        Some(*due).filter(|_| self.ledger.capacity_left() > 0)
    }

    /// Has a tree that failed tried again at `due`.
    pub(crate) fn retry(&mut self, due: Moment, tree: Tree<T>) -> &T {
        self.failures += 1;
        let tree = Tree { attempt: tree.attempt + 1, ..tree };
        &self.retries.entry((due, self.failures)).or_insert(tree).content
    }

    /// How many failures there were: no two are due for the same wait.
    pub(crate) fn salt(&self) -> u64 {
        self.failures
    }

    /// Gives up all attempts that are to be made.
    pub(crate) fn drop_retries(&mut self, trees: &mut Trees<T>) {
        std::mem::take(&mut self.retries).into_values().for_each(|tree| trees.release(tree.at));
    }

    /// Forgets all trees, and what was answered to them.
    pub(crate) fn reset(&mut self) {
        self.ledger.drain_all();
        self.retries.clear();
        self.untracked.clear();
        self.settling.clear();
        let mut dropped = Answers::default();
        self.lane().take(&mut dropped);
        self.answers = Answers::default();
    }

    /// A tree was done when `newest` was the newest flush that was asked for; gives how many now await a flush.
    pub(crate) fn settle(&mut self, newest: u64, content: T) -> usize {
        self.settling.push_back((newest, content));
        self.settling.len()
    }

    /// The oldest tree whose outcome everybody has flushed, where they have answered requests up to `completed`.
    pub(crate) fn settled(&mut self, completed: u64) -> Option<T> {
        self.settling.pop_front_if(|(newest, _)| *newest < completed).map(|(_, content)| content)
    }

    /// Whether anything that was done awaits a flush.
    pub(crate) fn has_settling(&self) -> bool {
        !self.settling.is_empty()
    }

    /// Whether anything was answered that the bolt was not told of.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty() || !self.untracked.is_empty() || !self.lane().is_empty()
    }

    /// Takes all that was answered since; what was taken before must be worked off.
    pub(crate) fn take_answers(&mut self) {
        self.lanes[usize::from(self.ledger.task())].take(&mut self.answers);
    }

    fn lane(&self) -> &AckLane {
        &self.lanes[usize::from(self.ledger.task())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(room: usize) -> Keeper<u8> {
        let lanes = (0..1).map(|_| AckLane::new(crate::runtime::inbox::Bell::default())).collect();
        Keeper::new(Ledger::new(0, room), EdgeIds::new(1, 0), true, lanes)
    }

    const NOW: Moment = Moment::from_nanos(5);

    #[test]
    fn what_an_execute_that_fails_has_opened_is_taken_back_and_holds_nothing() {
        let mut trees = Trees::default();
        trees.open(7, 'a');
        trees.begin();
        trees.open(3, 'b');
        trees.open(7, 'c');
        assert_eq!((trees.waiting(), trees.hold()), (3, Some(Watermark(3))));
        trees.roll_back();
        assert_eq!((trees.waiting(), trees.hold()), (1, Some(Watermark(7))));
    }

    #[test]
    fn a_tree_holds_until_it_ends_whether_it_waits_is_open_or_failed() {
        let (mut trees, mut keeper) = (Trees::default(), keeper(2));
        trees.open(9, 1);
        let tree = keeper.next(&mut trees, NOW).unwrap();
        assert_eq!((trees.waiting(), trees.hold()), (0, Some(Watermark(9))));
        keeper.retry(Moment::from_nanos(8), tree);
        assert!(keeper.next(&mut trees, NOW).is_none());
        assert_eq!(keeper.retry_due(), Some(Moment::from_nanos(8)));
        let tree = keeper.next(&mut trees, Moment::from_nanos(8)).unwrap();
        assert_eq!((tree.attempt, trees.is_empty()), (2, false));
        trees.release(tree.at);
        assert_eq!((trees.hold(), trees.is_empty()), (None, true));
    }

    #[test]
    fn what_is_done_is_settled_by_a_flush_that_was_asked_for_after_it() {
        let mut keeper = keeper(1);
        assert_eq!((keeper.settle(4, 1), keeper.settle(5, 2)), (1, 2));
        assert_eq!(keeper.settled(4), None);
        assert_eq!((keeper.settled(5), keeper.settled(5), keeper.has_settling()), (Some(1), None, true));
        assert_eq!((keeper.settled(9), keeper.has_settling()), (Some(2), false));
    }

    #[test]
    fn a_full_ledger_lets_trees_wait() {
        let (mut trees, mut keeper) = (Trees::default(), keeper(1));
        trees.open(1, 1);
        trees.open(2, 2);
        let tree = keeper.next(&mut trees, NOW).unwrap();
        let root = keeper.ledger.open(tree, 6, 1, NOW).unwrap();
        assert!(keeper.next(&mut trees, NOW).is_none());
        let closed = keeper.ledger.fail(root).unwrap();
        keeper.retry(NOW, closed.id);
        assert_eq!(keeper.next(&mut trees, NOW).map(|tree| tree.content), Some(1), "what failed goes first");
    }
}
