//! Where a component's code puts its tuples.
//!
//! `emit` buffers and returns at once. The runtime anchors what was emitted to the input in work, and routes the buffer
//! when it holds a batch or there is nothing more to do.
//!
//! Edges, without a message to the ledger where none is needed: every tuple emitted for an input with edge `e` gets a
//! random edge, and [`Emitter::absorb`] then XORs into the last of them what is missing, so that they XOR to `e`. The
//! tree's value is what it was before, and only tuples that end (no output, or none left in the buffer) are told to the
//! ledger.

use std::sync::Arc;

use super::contain::contain;
use super::control::Control;
use super::envelope::{Anchor, Envelope, JOINT, Joints};
use super::holding::Holding;
use super::inbox::Bell;
use super::input::Input;
use super::route::{Flush, Route, Settled, split};
use super::signal::Signal;
use super::witness::Witness;
use crate::fail::Fail;
use crate::ledger::{EdgeIds, RootId};
use crate::metrics::{Activity, TaskCounters};
use crate::schedule::{Moment, Scheduler};
use crate::tuple::Tuple;

/// What an emitter needs of its executor.
#[derive(Clone)]
pub(crate) struct EmitterContext {
    pub(crate) bell: Bell,
    pub(crate) control: Arc<Control>,
    pub(crate) holding: Arc<Holding>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    pub(crate) counters: Arc<TaskCounters>,
    pub(crate) batch_size: usize,
    pub(crate) witness: Option<Arc<Witness>>,
}

/// Room for as many tuples is made at once; larger batches grow it.
const FIRST_CAPACITY: usize = 1_024;

/// One output stream of one task: `out.emit(tuple)`.
pub struct Emitter<T> {
    buffer: Vec<Envelope<T>>,
    joints: Joints,
    routes: Vec<Box<dyn Route<T>>>,
    /// What the current input's outputs are anchored to: one root, [`JOINT`], or nothing.
    root: RootId,
    /// XOR of the edges given out for the current input.
    xor: u64,
    /// The same per root where the input is joint.
    joint_xors: Vec<Anchor>,
    /// Where the current input's outputs begin in `buffer`.
    first: usize,
    edges: EdgeIds,
    emitted: u64,
    settled: Settled,
    context: EmitterContext,
}

impl<T: Tuple> Emitter<T> {
    pub(crate) fn new(routes: Vec<Box<dyn Route<T>>>, edges: EdgeIds, context: EmitterContext) -> Self {
        Self {
            buffer: Vec::with_capacity(context.batch_size.min(FIRST_CAPACITY)),
            joints: Vec::new(),
            routes,
            root: RootId::UNTRACKED,
            xor: 0,
            joint_xors: Vec::new(),
            first: 0,
            edges,
            emitted: 0,
            settled: Settled::default(),
            context,
        }
    }

    /// Emits `tuple` to every subscriber, anchored to the input that is being executed.
    ///
    /// Returns at once; an execute that emits many thousands of tuples awaits [`ready`](Self::ready) between them.
    #[inline]
    pub fn emit(&mut self, tuple: T) {
        let anchor = if self.root == RootId::UNTRACKED {
            Anchor::UNTRACKED
        } else if self.root == JOINT {
            self.joint_anchor()
        } else {
            let edge = self.edges.next();
            self.xor ^= edge;
            Anchor { root: self.root, edge }
        };
        self.buffer.push(Envelope { anchor, tuple });
    }

    /// Emits the one tuple of a new tree, whose first edge it has.
    #[inline]
    pub(crate) fn emit_first(&mut self, anchor: Anchor, tuple: T) {
        self.buffer.push(Envelope { anchor, tuple });
    }

    /// Emits `tuple` anchored to nothing: nobody hears of its end, and it is not replayed.
    pub fn emit_unanchored(&mut self, tuple: T) {
        self.buffer.push(Envelope { anchor: Anchor::UNTRACKED, tuple });
    }

    /// Emits `tuple` anchored to `inputs`, for bolts that own their inputs: each input's tree completes only after the
    /// new tuple's has.
    ///
    /// ```
    /// # use topo_core::{Emitter, Input};
    /// fn join(left: &Input<u32>, right: &Input<u32>, out: &mut Emitter<u64>) {
    ///     out.emit_anchored(&[left, right], u64::from(**left) + u64::from(**right));
    /// }
    /// ```
    pub fn emit_anchored<I>(&mut self, inputs: &[&Input<I>], tuple: T) {
        let mut anchors: Vec<Anchor> = Vec::new();
        for input in inputs {
            input.extend(&mut anchors, &mut self.edges);
        }
        let anchor = match anchors[..] {
            [] => Anchor::UNTRACKED,
            [one] => one,
            _ => self.push_joint(anchors),
        };
        if let Some(witness) = &self.context.witness {
            witness.emitted(anchor, &self.joints);
        }
        self.buffer.push(Envelope { anchor, tuple });
        if self.root == RootId::UNTRACKED {
            // Its edges are final, and they were reported.
            self.first = self.buffer.len();
        }
    }

    /// Waits until what was emitted has gone to the subscribers' queues, as far as a batch's worth.
    ///
    /// For an execute that expands hugely: awaited now and then, it keeps the buffer bounded. Where the topology stops
    /// without draining, it returns at once.
    pub async fn ready(&mut self) {
        while self.buffer.len() >= self.context.batch_size {
            self.settle_all();
            self.route();
            if self.send(Flush::Due) {
                continue;
            }
            // To wait for somebody else's queue is not to take long.
            let _paused = self.context.holding.pause();
            let before = self.context.counters.activities.turn_to(Activity::Blocked, self.now());
            while !self.send(Flush::Due) && !self.context.control.is_stopping() {
                let bell = Arc::clone(&self.context.bell);
                bell.notified().await;
            }
            self.context.counters.activities.turn_to(before, self.now());
            if self.context.control.is_stopping() {
                return;
            }
        }
    }

    #[cold]
    fn joint_anchor(&mut self) -> Anchor {
        let edges = &mut self.edges;
        let anchors = self.joint_xors.iter_mut().map(|sum| {
            let edge = edges.next();
            sum.edge ^= edge;
            Anchor { root: sum.root, edge }
        });
        let anchors = anchors.collect();
        self.push_joint(anchors)
    }

    fn push_joint(&mut self, anchors: Vec<Anchor>) -> Anchor {
        self.joints.push(anchors);
        Anchor { root: JOINT, edge: self.joints.len() as u64 - 1 }
    }

    fn now(&self) -> Moment {
        self.context.scheduler.clock().now()
    }

    /// What is in the buffer will not be touched again: neither absorbed into nor rolled back.
    fn settle_all(&mut self) {
        if self.context.witness.is_some() {
            self.testify();
        }
        self.first = self.buffer.len();
    }

    /// Reports the outputs since `begin`, whose edges are final now.
    #[cold]
    fn testify(&self) {
        if let Some(witness) = &self.context.witness {
            self.buffer[self.first..]
                .iter()
                .for_each(|envelope| witness.emitted(envelope.anchor, &self.joints));
        }
    }

    fn route_copies(&mut self, now: Moment) {
        let last = self.routes.len() - 1;
        for route in &mut self.routes[..last] {
            let mut copies = Vec::with_capacity(self.buffer.len());
            let mut joints: Joints = Vec::new();
            for envelope in &mut self.buffer {
                let tuple = match contain(|| envelope.tuple.clone()) {
                    Ok(tuple) => tuple,
                    Err(panicked) => {
                        let fail = Fail::Retry(panicked.0);
                        self.settled.fail_anchor(envelope.anchor, &self.joints, &fail);
                        continue;
                    }
                };
                let mut anchor = split(
                    &mut envelope.anchor,
                    &mut self.joints,
                    &mut self.edges,
                    self.context.witness.as_deref(),
                );
                if anchor.root == JOINT {
                    joints.push(self.joints.pop().unwrap_or_default());
                    anchor.edge = joints.len() as u64 - 1;
                }
                copies.push(Envelope { anchor, tuple });
            }
            route.route(&mut copies, &mut joints, now, &mut self.settled);
        }
    }
}

/// The output streams of a task together: one [`Emitter`], or a struct of them made by [`ports!`](crate::ports).
#[doc(hidden)]
pub trait Emitters: Send + 'static {
    /// What is emitted from here on belongs to `root`.
    fn begin(&mut self, root: RootId);
    /// What is emitted from here on belongs to all of `roots`.
    fn begin_joint(&mut self, roots: &[RootId]);
    /// XOR of the edges given out since `begin`.
    fn xor(&self) -> u64;
    /// XORs `rest` into the last output since `begin` that is still here; `false` where there is none.
    fn absorb(&mut self, rest: u64) -> bool;
    /// Adds the edges given out per root since `begin_joint` to `sums`.
    fn joint_xor(&self, sums: &mut Vec<(RootId, u64)>);
    /// Tuples emitted so far that the counters were not told of.
    fn emitted(&self) -> u64;
    /// The outputs since `begin` are final: neither absorbed into nor rolled back any more.
    fn settle_outputs(&mut self);
    /// Takes back the outputs since `begin` that are still here.
    fn roll_back(&mut self);
    /// Tuples in the buffers.
    fn buffered(&self) -> usize;
    /// Routes the buffers into batches.
    fn route(&mut self);
    /// Has every subscriber hear `signal` behind all that was emitted so far.
    fn signal(&mut self, signal: Signal);
    /// Sends batches; `false` where a queue was full.
    fn send(&mut self, flush: Flush) -> bool;
    /// Takes what routing has to tell the ledgers and the counters.
    fn settle(&mut self, tell: &mut dyn FnMut(EmitterReport<'_>));
    /// Tells the subscribers that nothing more will come.
    fn close(&mut self);
    /// Drops all that has not left.
    fn discard(&mut self);
}

/// What an emitter has to tell.
#[doc(hidden)]
pub struct EmitterReport<'a> {
    pub(crate) settled: &'a mut Settled,
    pub(crate) emitted: u64,
}

impl<T: Tuple> Emitters for Emitter<T> {
    #[inline]
    fn begin(&mut self, root: RootId) {
        self.root = root;
        self.xor = 0;
        self.first = self.buffer.len();
    }

    fn begin_joint(&mut self, roots: &[RootId]) {
        self.begin(JOINT);
        self.joint_xors.clear();
        self.joint_xors.extend(roots.iter().map(|&root| Anchor { root, edge: 0 }));
    }

    #[inline]
    fn xor(&self) -> u64 {
        self.xor
    }

    #[inline]
    fn absorb(&mut self, rest: u64) -> bool {
        if self.buffer.len() == self.first {
            return false;
        }
        match self.buffer.last_mut() {
            // An edge is never 0: a ledger could not see it.
            Some(last) if last.anchor.root == self.root && last.anchor.edge != rest => {
                last.anchor.edge ^= rest;
                true
            }
            _ => false,
        }
    }

    fn joint_xor(&self, sums: &mut Vec<(RootId, u64)>) {
        sums.extend(self.joint_xors.iter().map(|sum| (sum.root, sum.edge)));
    }

    fn emitted(&self) -> u64 {
        self.emitted + self.buffer.len() as u64
    }

    #[inline]
    fn settle_outputs(&mut self) {
        self.settle_all();
    }

    fn roll_back(&mut self) {
        self.buffer.truncate(self.first);
        if self.buffer.is_empty() {
            self.joints.clear();
        }
        self.xor = 0;
    }

    #[inline]
    fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn route(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        self.emitted += self.buffer.len() as u64;
        let now = self.now();
        match self.routes.len() {
            0 => {
                for envelope in self.buffer.drain(..) {
                    self.settled.drop_anchor(envelope.anchor, &self.joints, self.context.witness.as_deref());
                }
            }
            1 => {}
            _ => self.route_copies(now),
        }
        if let Some(last) = self.routes.last_mut() {
            last.route(&mut self.buffer, &mut self.joints, now, &mut self.settled);
        }
        self.joints.clear();
        self.first = 0;
    }

    fn signal(&mut self, signal: Signal) {
        // What is still in the buffer goes before it.
        self.route();
        let now = self.now();
        self.routes.iter_mut().for_each(|route| route.signal(signal, now));
    }

    fn send(&mut self, flush: Flush) -> bool {
        if self.routes.is_empty() {
            return true;
        }
        let now = self.now();
        let mut all_sent = true;
        for route in &mut self.routes {
            all_sent &= route.send(flush, now, &self.context.bell, &mut self.settled);
        }
        all_sent
    }

    fn settle(&mut self, tell: &mut dyn FnMut(EmitterReport<'_>)) {
        let emitted = std::mem::take(&mut self.emitted);
        tell(EmitterReport { settled: &mut self.settled, emitted });
    }

    fn discard(&mut self) {
        self.buffer.clear();
        self.joints.clear();
        self.routes.iter_mut().for_each(|route| route.discard());
        let settled = std::mem::take(&mut self.settled);
        self.settled.transferred = settled.transferred;
        Emitters::begin(self, RootId::UNTRACKED);
    }

    fn close(&mut self) {
        self.routes.iter_mut().for_each(|route| route.close());
        self.routes.clear();
    }
}

impl<T> std::fmt::Debug for Emitter<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitter")
            .field("buffered", &self.buffer.len())
            .field("routes", &self.routes.len())
            .finish()
    }
}
