//! One subscription as one emitting task sees it: from the emitted tuples to the queues of the subscribing tasks.
//!
//! A route works on a whole buffer of tuples, so that the only dynamic call is per batch. It picks a task per tuple,
//! converts the tuple to what the subscriber takes and fills a batch per task.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::contain::contain;
use super::envelope::{Anchor, Envelope, JOINT, Joints, for_each_anchor};
use super::inbox::{Batch, Bell, Inbox};
use super::outbox::Outbox;
use super::signal::Signal;
use super::witness::Witness;
use crate::fail::Fail;
use crate::grouping::{Grouping, Targets};
use crate::ledger::{EdgeIds, RootId};
use crate::metrics::{EdgeCounters, EdgeView};
use crate::schedule::Moment;
use crate::tuple::Tuple;

/// Which batches leave.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Those that are full or have waited for `max_batch_delay`: the sender has more to do.
    Due,
    /// All: the sender is about to wait.
    All,
}

/// What routing has to tell the ledgers: edges of tuples that went nowhere, and roots that must fail.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) dropped: Vec<Anchor>,
    pub(crate) failed: Vec<(RootId, Fail)>,
    /// Why a tuple could not go where it was to, tracked or not: the newest.
    pub(crate) last_fail: Option<Fail>,
    /// Copies put into batches.
    pub(crate) transferred: u64,
}

impl Settled {
    pub(crate) fn drop_anchor(&mut self, anchor: Anchor, joints: &Joints, witness: Option<&Witness>) {
        if let Some(witness) = witness {
            witness.consumed(anchor, joints);
        }
        for_each_anchor(anchor, joints, |one| self.dropped.push(one));
    }

    pub(crate) fn fail_anchor(&mut self, anchor: Anchor, joints: &Joints, fail: &Fail) {
        self.last_fail = Some(fail.clone());
        for_each_anchor(anchor, joints, |one| self.failed.push((one.root, fail.clone())));
    }
}

/// A subscription to a stream of `T`, whatever its subscriber takes.
pub(crate) trait Route<T>: Send {
    /// Takes every envelope out of `buffer`, and the anchors of joint ones out of `joints`.
    fn route(
        &mut self,
        buffer: &mut Vec<Envelope<T>>,
        joints: &mut Joints,
        now: Moment,
        settled: &mut Settled,
    );

    /// Has every task hear `signal` behind all that was routed to it. A feedback edge carries none: what goes round a cycle
    /// is as old as its tree.
    fn signal(&mut self, signal: Signal, now: Moment);

    /// Pushes batches to the queues. `false` where one was full: its bell will ring.
    fn send(&mut self, flush: Flush, now: Moment, bell: &Bell, settled: &mut Settled) -> bool;

    /// Tells every queue that nothing more will come.
    fn close(&mut self);

    /// Drops all that has not left.
    fn discard(&mut self);
}

/// Splits `anchor` into two whose edges XOR to it: one for a copy, one that stays.
pub(crate) fn split(
    anchor: &mut Anchor,
    joints: &mut Joints,
    edges: &mut EdgeIds,
    witness: Option<&Witness>,
) -> Anchor {
    let mut one = |anchor: &mut Anchor| {
        // An edge is never 0: a ledger could not see it.
        let copy = std::iter::repeat_with(|| edges.next()).find(|&edge| edge != anchor.edge).unwrap_or(1);
        let whole = *anchor;
        anchor.edge ^= copy;
        if let Some(witness) = witness {
            witness.split(whole, [anchor.edge, copy]);
        }
        Anchor { root: whole.root, edge: copy }
    };
    if anchor.root == RootId::UNTRACKED {
        Anchor::UNTRACKED
    } else if anchor.root == JOINT {
        let copies = joints[anchor.edge as usize].iter_mut().map(one).collect();
        joints.push(copies);
        Anchor { root: JOINT, edge: joints.len() as u64 - 1 }
    } else {
        one(anchor)
    }
}

/// How one emitting task batches.
#[derive(Debug, Clone)]
pub(crate) struct Batching {
    pub(crate) size: usize,
    pub(crate) max_delay: Duration,
    /// The byte budget of the receiving queue where this edge closes a cycle, and the edge's name.
    pub(crate) feedback: Option<(usize, Arc<str>)>,
    pub(crate) witness: Option<Arc<Witness>>,
    /// Which of the subscriber's subscriptions this is, and where it is seen from outside.
    pub(crate) input: u32,
    pub(crate) view: Arc<EdgeView>,
}

/// The route to the tasks of one subscriber that takes `In`.
pub(crate) struct Subscription<In, G, C> {
    grouping: G,
    convert: C,
    outboxes: Vec<Outbox<In>>,
    batching: Batching,
    edges: EdgeIds,
    /// What went through, told once per batch.
    counters: Arc<EdgeCounters>,
}

impl<In: Tuple, G, C> Subscription<In, G, C> {
    pub(crate) fn new(
        grouping: G,
        convert: C,
        inboxes: &[Arc<Inbox<In>>],
        batching: Batching,
        edges: EdgeIds,
    ) -> Self {
        let open = if batching.feedback.is_some() { Outbox::feedback } else { Outbox::new };
        let outboxes = inboxes.iter().map(|inbox| open(Arc::clone(inbox), batching.input)).collect();
        let counters = batching.view.open();
        Self { grouping, convert, outboxes, batching, edges, counters }
    }

    /// Puts `envelope` into the batches of the tasks that the grouping picks. Grouping and conversion are users' code and
    /// may panic; until they have returned, the anchors are where they were.
    #[inline]
    fn deal<T: Tuple>(
        &mut self,
        envelope: Envelope<T>,
        joints: &mut Joints,
        now: Moment,
        settled: &mut Settled,
    ) where
        G: Grouping<T>,
        C: Fn(T) -> In,
    {
        let tasks = self.outboxes.len();
        match self.grouping.pick(&envelope.tuple, tasks) {
            Targets::One(task) if task < tasks => {
                let converted = Envelope { anchor: envelope.anchor, tuple: (self.convert)(envelope.tuple) };
                self.outboxes[task].put(converted, joints, now);
                settled.transferred += 1;
            }
            Targets::One(absent) => self.refuse(envelope.anchor, absent, joints, settled),
            Targets::Several(targets) => self.put_copies(envelope, &targets, joints, now, settled),
            Targets::All => {
                let targets: Vec<usize> = (0..tasks).collect();
                self.put_copies(envelope, &targets, joints, now, settled);
            }
        }
    }

    /// Copies `envelope` to the tasks `targets`, the last one getting the original.
    fn put_copies<T: Tuple>(
        &mut self,
        mut envelope: Envelope<T>,
        targets: &[usize],
        joints: &mut Joints,
        now: Moment,
        settled: &mut Settled,
    ) where
        C: Fn(T) -> In,
    {
        if let Some(&absent) = targets.iter().find(|&&task| task >= self.outboxes.len()) {
            return self.refuse(envelope.anchor, absent, joints, settled);
        }
        let Some((&last, others)) = targets.split_last() else {
            return settled.drop_anchor(envelope.anchor, joints, self.batching.witness.as_deref());
        };
        for &task in others {
            let anchor =
                split(&mut envelope.anchor, joints, &mut self.edges, self.batching.witness.as_deref());
            let copy = Envelope { anchor, tuple: (self.convert)(envelope.tuple.clone()) };
            self.outboxes[task].put(copy, joints, now);
        }
        let original = Envelope { anchor: envelope.anchor, tuple: (self.convert)(envelope.tuple) };
        self.outboxes[last].put(original, joints, now);
        settled.transferred += targets.len() as u64;
    }

    #[cold]
    fn refuse(&self, anchor: Anchor, absent: usize, joints: &Joints, settled: &mut Settled) {
        let tasks = self.outboxes.len();
        let fail =
            Fail::reject(format_args!("a grouping picked task {absent} of a component with {tasks} tasks"));
        settled.fail_anchor(anchor, joints, &fail);
    }
}

impl<T: Tuple, In: Tuple, G: Grouping<T>, C: Fn(T) -> In + Send> Route<T> for Subscription<In, G, C> {
    fn route(
        &mut self,
        buffer: &mut Vec<Envelope<T>>,
        joints: &mut Joints,
        now: Moment,
        settled: &mut Settled,
    ) {
        if self.batching.view.tap.is_on() {
            let tuples = buffer.iter().map(|envelope| (envelope.anchor.root, &envelope.tuple));
            self.batching.view.tap.note(buffer.len(), tuples, now);
        }
        let tasks = self.outboxes.len();
        if tasks == 1
            && joints.is_empty()
            && self.grouping.is_total()
            && hand_over(buffer, &mut self.outboxes[0], now)
        {
            settled.transferred += self.outboxes[0].envelopes.len() as u64;
            return;
        }
        let mut envelopes = buffer.drain(..);
        while envelopes.len() > 0 {
            let mut anchor = Anchor::UNTRACKED;
            let dealt = contain(|| {
                for envelope in envelopes.by_ref() {
                    anchor = envelope.anchor;
                    self.deal(envelope, joints, now, settled);
                }
            });
            if let Err(panicked) = dealt {
                settled.fail_anchor(anchor, joints, &Fail::Retry(panicked.0));
            }
        }
        drop(envelopes);
        joints.clear();
    }

    fn signal(&mut self, signal: Signal, now: Moment) {
        if self.batching.feedback.is_some() {
            return;
        }
        for outbox in &mut self.outboxes {
            if let Signal::Marker(txid) = signal {
                outbox.seal(txid, now);
                continue;
            }
            if outbox.envelopes.is_empty() && outbox.signal.is_none() {
                outbox.since = now;
            }
            outbox.signal = Some(signal);
        }
    }

    fn send(&mut self, flush: Flush, now: Moment, bell: &Bell, settled: &mut Settled) -> bool {
        let mut all_sent = true;
        for outbox in &mut self.outboxes {
            while outbox.is_due(flush, now, self.batching.size, self.batching.max_delay) {
                let batch = outbox.next_batch(now);
                let (tuples, bytes) = (batch.envelopes.len(), batch.bytes);
                if let Some((budget, edge)) = &self.batching.feedback {
                    if send_feedback(outbox, batch, *budget, edge, settled) {
                        self.counters.sent(tuples, bytes);
                    }
                    continue;
                }
                match outbox.inbox.try_push(batch, bell) {
                    Ok(spare) => {
                        self.counters.sent(tuples, bytes);
                        if outbox.envelopes.capacity() == 0 {
                            outbox.envelopes = spare;
                        }
                    }
                    Err(batch) => {
                        self.counters.refused.add(1);
                        outbox.refused = Some(batch);
                        all_sent = false;
                        break;
                    }
                }
            }
        }
        all_sent
    }

    fn discard(&mut self) {
        self.outboxes.iter_mut().for_each(Outbox::discard);
    }

    fn close(&mut self) {
        if self.batching.feedback.is_none() {
            self.outboxes.iter().for_each(|outbox| outbox.inbox.close_sender());
        }
    }
}

/// Never blocks: over the budget, the trees of the whole batch fail. Whether it went.
fn send_feedback<In: Tuple>(
    outbox: &mut Outbox<In>,
    batch: Batch<In>,
    budget: usize,
    edge: &str,
    settled: &mut Settled,
) -> bool {
    match outbox.inbox.push_feedback(batch, budget) {
        Ok(spare) => {
            outbox.envelopes = spare;
            true
        }
        Err(batch) => {
            let fail =
                Fail::retry(format_args!("the feedback edge `{edge}` is over its budget of {budget} bytes"));
            for envelope in &batch.envelopes {
                settled.fail_anchor(envelope.anchor, &batch.joints, &fail);
            }
            false
        }
    }
}

/// Hands the whole buffer over where the subscriber takes the very type and has one task: no tuple is moved.
///
/// `From<T> for T` is the identity, so no conversion is skipped.
#[expect(clippy::ptr_arg, reason = "the vector itself is swapped, once it is known to be one of `In`")]
fn hand_over<T: Tuple, In: Tuple>(
    buffer: &mut Vec<Envelope<T>>,
    outbox: &mut Outbox<In>,
    now: Moment,
) -> bool {
    if !outbox.envelopes.is_empty() {
        return false;
    }
    let Some(same) = (buffer as &mut dyn Any).downcast_mut::<Vec<Envelope<In>>>() else { return false };
    std::mem::swap(same, &mut outbox.envelopes);
    outbox.since = now;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> RootId {
        RootId::from_u64(1 << 33)
    }

    #[test]
    fn a_split_edge_xors_back_to_what_it_was() {
        let mut edges = EdgeIds::new(7, 0);
        let mut joints = vec![vec![Anchor { root: root(), edge: 5 }, Anchor { root: root(), edge: 6 }]];
        let mut single = Anchor { root: root(), edge: 9 };
        let copy = split(&mut single, &mut joints, &mut edges, None);
        assert_eq!(single.edge ^ copy.edge, 9);
        let mut joint = Anchor { root: JOINT, edge: 0 };
        let copy = split(&mut joint, &mut joints, &mut edges, None);
        let xors: Vec<u64> = (0..2).map(|i| joints[0][i].edge ^ joints[copy.edge as usize][i].edge).collect();
        assert_eq!(xors, [5, 6]);
    }

    #[test]
    fn a_tuple_for_a_task_that_does_not_exist_is_rejected() {
        let inbox = Arc::new(Inbox::new(Bell::default(), 1, 10, 10_000));
        let inboxes = [Arc::clone(&inbox), inbox];
        let (feedback, witness, view) = Default::default();
        let batching = Batching { size: 4, max_delay: Duration::ZERO, feedback, witness, input: 0, view };
        let pick = |tuple: &u32, _: usize| Targets::One(*tuple as usize);
        let mut route =
            Subscription::<u32, _, _>::new(pick, u32::from, &inboxes, batching, EdgeIds::new(1, 0));
        let anchor = Anchor { root: root(), edge: 3 };
        let mut buffer = vec![Envelope { anchor, tuple: 1 }, Envelope { anchor, tuple: 2 }];
        let mut settled = Settled::default();
        route.route(&mut buffer, &mut Vec::new(), Moment::default(), &mut settled);
        assert!(buffer.is_empty());
        assert_eq!(settled.transferred, 1);
        assert!(matches!(&settled.failed[..], [(_, Fail::Reject(reason))] if reason.contains("task 2")));
    }
}
