//! An input that its bolt owns: acknowledged, failed, held or handed to another task, exactly once.
//!
//! `ack` and `fail` consume the input, so a double ack and an emit after the ack do not compile. An input that is dropped
//! unanswered fails, so a forgotten one cannot keep its tree open for ever.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::acks::{Acks, Cause};
use super::envelope::{Anchor, Envelope, Joints, for_each_anchor};
use super::held::Held;
use super::inbox::Bell;
use super::witness::Witness;
use crate::fail::Fail;
use crate::ledger::{EdgeIds, RootId};
use crate::schedule::Moment;

/// What was answered to the inputs of one task since the executor last looked.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) acks: Acks,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) rejected: u64,
    /// Roots of inputs that were dropped unanswered: they fail once it is known why.
    dropped: Vec<RootId>,
    /// The newest fail.
    pub(crate) last_fail: Option<Fail>,
    /// What is not answered yet.
    held: Held,
    /// How many inputs without a tree are not answered yet.
    untracked: usize,
    /// How often it was forgotten what is held.
    forgotten: u64,
}

/// Where inputs leave their answers; the executor sends them on.
#[derive(Debug)]
pub(crate) struct AnswerDesk {
    answered: Mutex<Answered>,
    /// Whether `dropped` may hold something: saves a lock per execute.
    has_dropped: AtomicBool,
    executor: Bell,
    witness: Option<Arc<Witness>>,
}

impl AnswerDesk {
    pub(crate) fn new(acks: Acks, executor: Bell, witness: Option<Arc<Witness>>) -> Self {
        let answered = Answered {
            acks,
            acked: 0,
            failed: 0,
            rejected: 0,
            dropped: Vec::new(),
            last_fail: None,
            held: Held::default(),
            untracked: 0,
            forgotten: 0,
        };
        Self { answered: Mutex::new(answered), has_dropped: AtomicBool::new(false), executor, witness }
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, held: &Edges, answer: Result<(), Fail>) {
        let mut answered = self.lock();
        let was_quiet = answered.let_go(held);
        let edges = held.as_slice();
        match answer {
            Ok(()) => {
                answered.acked += 1;
                for edge in edges {
                    if let Some(witness) = &self.witness {
                        witness.consumed(edge.anchor, &Joints::new());
                    }
                    answered.acks.update(Anchor { root: edge.anchor.root, edge: edge.rest() });
                }
            }
            Err(fail) => {
                answered.failed += 1;
                answered.rejected += u64::from(matches!(fail, Fail::Reject(_)));
                for edge in edges {
                    answered.acks.fail(edge.anchor.root, fail.clone());
                }
                answered.last_fail = Some(fail);
            }
        }
        drop(answered);
        if was_quiet {
            self.executor.notify_one();
        }
    }

    /// An input was dropped unanswered. Why is known once its bolt has given control back: it forgot it, or it broke.
    fn drop_unanswered(&self, held: &Edges) {
        let mut answered = self.lock();
        let was_quiet = answered.let_go(held);
        let edges = held.as_slice();
        answered.failed += 1;
        answered.dropped.extend(edges.iter().map(|edge| edge.anchor.root));
        self.has_dropped.store(true, Ordering::Relaxed);
        drop(answered);
        if was_quiet {
            self.executor.notify_one();
        }
    }

    /// Fails what was dropped unanswered by a bolt that goes on.
    #[inline]
    pub(crate) fn fail_forgotten(&self) {
        if self.has_dropped.load(Ordering::Relaxed) {
            self.fail_dropped(&Fail::Retry("the input was dropped unanswered".into()).into());
        }
    }

    /// Fails what was dropped unanswered.
    #[cold]
    pub(crate) fn fail_dropped(&self, cause: &Cause) {
        let mut answered = self.lock();
        self.has_dropped.store(false, Ordering::Relaxed);
        for root in std::mem::take(&mut answered.dropped) {
            answered.acks.fail(root, cause.clone());
            answered.last_fail = Some(cause.fail.clone());
        }
    }

    /// Forgets all that was answered and all that is held.
    pub(crate) fn forget(&self) {
        let mut answered = self.lock();
        answered.acks.clear();
        answered.dropped.clear();
        answered.held = Held::default();
        (answered.untracked, answered.last_fail) = (0, None);
        answered.forgotten += 1;
        self.has_dropped.store(false, Ordering::Relaxed);
    }

    /// Whether any tracked input is not answered yet.
    pub(crate) fn holds(&self) -> bool {
        self.lock().held.len() > 0
    }

    /// Whether any input is not answered yet, tracked or not.
    pub(crate) fn has_open(&self) -> bool {
        let answered = self.lock();
        answered.untracked > 0 || answered.held.len() > 0
    }

    /// Fails the trees of inputs that were held for `longest`, and tells how many. The inputs stay their bolt's; what it
    /// answers to them later changes nothing.
    pub(crate) fn expire(&self, now: Moment, longest: Duration, cause: impl FnOnce() -> Cause) -> u64 {
        let mut answered = self.lock();
        let expired = answered.held.expire(now, longest);
        if !expired.is_empty() {
            let cause = cause();
            expired.iter().for_each(|&root| answered.acks.fail(root, cause.clone()));
            // Not left to the executor, which may be the one that holds them for good.
            answered.acks.flush();
        }
        expired.len() as u64
    }
}

impl Answered {
    /// An input is answered. Whether it is the first since the executor last looked.
    fn let_go(&mut self, held: &Edges) -> bool {
        if matches!(held, Edges::None { forgotten } if *forgotten == self.forgotten) {
            self.untracked -= 1;
        }
        held.as_slice().iter().for_each(|edge| self.held.remove(edge.place, edge.anchor.root));
        self.acked == 0 && self.failed == 0
    }
}

/// An edge that an input stands on, and what was emitted on its behalf.
#[derive(Debug)]
struct HeldEdge {
    anchor: Anchor,
    /// Its place among what is held.
    place: u32,
    /// XOR of the edges of tuples anchored here.
    emitted: AtomicU64,
}

impl HeldEdge {
    fn rest(&self) -> u64 {
        self.anchor.edge ^ self.emitted.load(Ordering::Relaxed)
    }
}

/// A tuple that its bolt must answer for: [`ack`](Self::ack) it or [`fail`](Self::fail) it, now or later, here or on
/// another task. Dropped unanswered, it fails.
///
/// ```compile_fail,E0382
/// # fn twice(input: topo_core::Input<u32>) {
/// input.ack();
/// input.ack(); // an input can be answered once
/// # }
/// ```
pub struct Input<T> {
    owed: Owed,
    tuple: T,
}

/// The answer that an input is still owed: dropped, it fails.
struct Owed {
    edges: Edges,
    desk: Option<Arc<AnswerDesk>>,
}

impl Owed {
    fn answer(&mut self, answer: Result<(), Fail>) {
        if let Some(desk) = self.desk.take() {
            desk.answer(&self.edges, answer);
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            desk.drop_unanswered(&self.edges);
        }
    }
}

/// Nearly always one edge, kept inline.
#[derive(Debug)]
enum Edges {
    /// No tree. What was taken before the last forgetting is nobody's business.
    None {
        forgotten: u64,
    },
    One([HeldEdge; 1]),
    Many(Vec<HeldEdge>),
}

impl Edges {
    fn as_slice(&self) -> &[HeldEdge] {
        match self {
            Self::None { .. } => &[],
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl<T> Input<T> {
    pub(crate) fn new(envelope: Envelope<T>, joints: &Joints, desk: Arc<AnswerDesk>) -> Self {
        let held = |anchor: Anchor| {
            let place = desk.lock().held.add(anchor.root);
            HeldEdge { anchor, place, emitted: AtomicU64::new(0) }
        };
        let edges = match envelope.anchor.root {
            RootId::UNTRACKED => {
                let mut answered = desk.lock();
                answered.untracked += 1;
                Edges::None { forgotten: answered.forgotten }
            }
            super::envelope::JOINT => {
                let mut many = Vec::new();
                for_each_anchor(envelope.anchor, joints, |one| many.push(held(one)));
                Edges::Many(many)
            }
            _ => Edges::One([held(envelope.anchor)]),
        };
        Self { owed: Owed { edges, desk: Some(desk) }, tuple: envelope.tuple }
    }

    /// Acknowledges the input: its part of the tree is done.
    pub fn ack(mut self) {
        self.owed.answer(Ok(()));
    }

    /// Fails the input's tree: its spout hears the reason.
    pub fn fail(mut self, reason: Fail) {
        self.owed.answer(Err(reason));
    }

    /// The tuple, and the input without it, which is still to be answered.
    pub(crate) fn split(self) -> (T, Input<()>) {
        (self.tuple, Input { owed: self.owed, tuple: () })
    }

    /// Adds an edge per root of this input to `anchors`, which hold one edge per root.
    pub(crate) fn extend(&self, anchors: &mut Vec<Anchor>, edges: &mut EdgeIds) {
        for held in self.owed.edges.as_slice() {
            if !anchors.iter().any(|anchor| anchor.root == held.anchor.root) {
                let edge = edges.next();
                held.emitted.fetch_xor(edge, Ordering::Relaxed);
                anchors.push(Anchor { root: held.anchor.root, edge });
            }
        }
    }
}

impl<T> Deref for Input<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.tuple
    }
}

impl<T: fmt::Debug> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Input").field(&self.tuple).finish()
    }
}
