//! The way back: from the executors to the ledgers, on lanes of its own so that no ack waits behind data.
//!
//! An executor gathers what it has to tell per ledger in [`Acks`], joining updates of the same root, and appends it to
//! that ledger's [`AckLane`] at the end of a batch. The owner of the ledger swaps the lane's buffers for empty ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::envelope::{Anchor, Joints, for_each_anchor};
use super::inbox::Bell;
use crate::fail::Fail;
use crate::ledger::RootId;

/// Why a root fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) fail: Fail,
    /// Whether it is that somebody took too long.
    pub(crate) timed_out: bool,
}

impl Cause {
    /// Somebody took too long; a replay may help.
    pub(crate) fn timeout(reason: Arc<str>) -> Self {
        Self { fail: Fail::Retry(reason), timed_out: true }
    }
}

impl From<Fail> for Cause {
    fn from(fail: Fail) -> Self {
        Self { fail, timed_out: false }
    }
}

/// A failed root on its way to its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) root: RootId,
    pub(crate) cause: Cause,
    /// The component that failed it.
    pub(crate) component: Arc<str>,
}

/// What a ledger has to hear.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// XOR updates.
    pub(crate) updates: Vec<Anchor>,
    pub(crate) fails: Vec<Failed>,
}

impl Answers {
    pub(crate) fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.fails.is_empty()
    }
}

/// The mailbox of one ledger.
#[derive(Debug)]
pub(crate) struct AckLane {
    answers: Mutex<Answers>,
    owner: Bell,
}

impl AckLane {
    pub(crate) fn new(owner: Bell) -> Self {
        Self { answers: Mutex::default(), owner }
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, answers: &mut Answers) {
        let mut lane = self.lock();
        let was_empty = lane.is_empty();
        lane.updates.append(&mut answers.updates);
        lane.fails.append(&mut answers.fails);
        drop(lane);
        if was_empty {
            self.owner.notify_one();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes all that has come; `into` must be empty and its buffers stay with the lane.
    pub(crate) fn take(&self, into: &mut Answers) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *self.lock(), into);
    }
}

/// All lanes of a topology, by the ledger's number.
pub(crate) type Lanes = Arc<[AckLane]>;

/// What one executor has to tell the ledgers.
#[derive(Debug)]
pub(crate) struct Acks {
    lanes: Lanes,
    /// The newest update, as long as the next one may be of the same root.
    newest: Anchor,
    gathered: Vec<Answers>,
    /// Which of `gathered` hold something.
    dirty: Vec<u16>,
    component: Arc<str>,
}

impl Acks {
    pub(crate) fn new(lanes: Lanes, component: Arc<str>) -> Self {
        let gathered = lanes.iter().map(|_| Answers::default()).collect();
        Self { lanes, newest: Anchor::UNTRACKED, gathered, dirty: Vec::new(), component }
    }

    /// The answers for `root`'s ledger; `None` for a root that no ledger of this topology issued.
    #[inline]
    fn answers(&mut self, root: RootId) -> Option<&mut Answers> {
        let ledger = root.task();
        let answers = self.gathered.get_mut(usize::from(ledger))?;
        if answers.is_empty() {
            self.dirty.push(ledger);
        }
        Some(answers)
    }

    /// XORs `anchor.edge` into its root.
    #[inline]
    pub(crate) fn update(&mut self, anchor: Anchor) {
        if anchor.root == self.newest.root {
            self.newest.edge ^= anchor.edge;
        } else {
            self.gather_newest();
            self.newest = anchor;
        }
    }

    #[inline]
    fn gather_newest(&mut self) {
        let newest = std::mem::replace(&mut self.newest, Anchor::UNTRACKED);
        if newest.root != RootId::UNTRACKED
            && let Some(answers) = self.answers(newest.root)
        {
            answers.updates.push(newest);
        }
    }

    /// Fails `root`.
    #[cold]
    pub(crate) fn fail(&mut self, root: RootId, cause: impl Into<Cause>) {
        let component = Arc::clone(&self.component);
        if let Some(answers) = self.answers(root) {
            answers.fails.push(Failed { root, cause: cause.into(), component });
        }
    }

    /// Fails every root of `anchor`.
    #[cold]
    pub(crate) fn fail_all(&mut self, anchor: Anchor, joints: &Joints, cause: &Cause) {
        for_each_anchor(anchor, joints, |one| self.fail(one.root, cause.clone()));
    }

    /// Forgets all that was gathered.
    pub(crate) fn clear(&mut self) {
        self.newest = Anchor::UNTRACKED;
        for ledger in self.dirty.drain(..) {
            self.gathered[usize::from(ledger)] = Answers::default();
        }
    }

    /// Sends all that was gathered.
    pub(crate) fn flush(&mut self) {
        self.gather_newest();
        for ledger in self.dirty.drain(..) {
            let ledger = usize::from(ledger);
            self.lanes[ledger].append(&mut self.gathered[ledger]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(task: u16, slot: u32) -> RootId {
        RootId::from_u64((1 << 33) | (u64::from(task) << 22) | (u64::from(slot) << 2))
    }

    #[test]
    fn updates_of_one_root_in_a_row_become_one_and_reach_their_own_ledger() {
        let lanes: Lanes = (0..2).map(|_| AckLane::new(Bell::default())).collect();
        let mut acks = Acks::new(Arc::clone(&lanes), "count".into());
        for (root, edge) in [(root(0, 1), 5), (root(0, 1), 6), (root(1, 1), 7), (root(0, 2), 8)] {
            acks.update(Anchor { root, edge });
        }
        acks.flush();
        let mut first = Answers::default();
        lanes[0].take(&mut first);
        let expected = [Anchor { root: root(0, 1), edge: 5 ^ 6 }, Anchor { root: root(0, 2), edge: 8 }];
        assert_eq!(first.updates, expected);
        let mut second = Answers::default();
        lanes[1].take(&mut second);
        assert_eq!(second.updates, [Anchor { root: root(1, 1), edge: 7 }]);
    }

    #[test]
    fn a_root_of_a_ledger_that_does_not_exist_is_dropped() {
        let lanes: Lanes = (0..1).map(|_| AckLane::new(Bell::default())).collect();
        let mut acks = Acks::new(lanes, "count".into());
        acks.update(Anchor { root: root(9, 1), edge: 5 });
        assert!(acks.dirty.is_empty());
    }
}
