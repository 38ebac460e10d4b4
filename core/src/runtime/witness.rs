//! The explicit sets of edges beside the ledgers, shared by all tasks of a topology under test.
//!
//! Reports are made by the code that moves the tuples, at the moment a tuple is emitted, copied, dropped or done, and
//! always before anything is sent; the executors of spouts compare them with every answer of their ledgers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::envelope::{Anchor, Joints, for_each_anchor};
use crate::ledger::Shadow;

/// A [`Shadow`] that many tasks report to.
#[derive(Debug, Default)]
pub(crate) struct Witness(Mutex<Shadow>);

impl Witness {
    // A shadow that panicked half way would be wrong, but none of its methods panics.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shadow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tuple was emitted.
    pub(crate) fn emitted(&self, anchor: Anchor, joints: &Joints) {
        let mut shadow = self.lock();
        for_each_anchor(anchor, joints, |one| shadow.emitted(one.root, one.edge));
    }

    /// A tuple is done, or was dropped.
    pub(crate) fn consumed(&self, anchor: Anchor, joints: &Joints) {
        let mut shadow = self.lock();
        for_each_anchor(anchor, joints, |one| shadow.consumed(one.root, one.edge));
    }

    /// One edge became two.
    pub(crate) fn split(&self, whole: Anchor, parts: [u64; 2]) {
        self.lock().handed_on(whole.root, whole.edge, &parts);
    }
}
