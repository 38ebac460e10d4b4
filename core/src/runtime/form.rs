//! The forms of a bolt, seen alike by their executor.

use std::future::{Future, pending, ready};
use std::sync::Arc;

use super::acks::{Acks, Cause};
use super::chunk::{Chunk, Tracing};
use super::emitter::Emitters;
use super::envelope::{Anchor, Envelope, JOINT, Joints, for_each_anchor};
use super::holding::Holding;
use super::input::{AnswerDesk, Input};
use super::trees::Trees;
use super::witness::Witness;
use crate::bolt::{Bolt, RichBolt};
use crate::context::TaskContext;
use crate::fail::{Fail, Failure};
use crate::ledger::RootId;
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::stream::Output;
use crate::time::Watermark;
use crate::tuple::Tuple;

/// Emitters of an output.
pub(crate) type Out<F> = <<F as Form>::Out as Output>::Emitter;

/// A bolt in whatever form.
pub(crate) trait Form: Send + 'static {
    /// What it takes.
    type In: Tuple;
    /// What it emits.
    type Out: Output;
    /// What the trees are that it opens itself.
    type Tree: Send + 'static;
    /// Whether `idle` does anything.
    const IDLES: bool;
    /// Whether it opens trees of its own, or has timers: without, its executor looks after neither.
    const OPENS_TREES: bool = false;
    /// Whether `flush` does anything.
    const KEEPS_STATE: bool = false;
    /// Whether `end_batch` does anything.
    const ENDS_BATCHES: bool = false;
    fn prepare(&mut self, task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Executes up to `limit` tuples, fewer where their output fills a batch.
    ///
    /// The loop is the form's own so that there is one future around the user's, not one per tuple and layer: each layer
    /// would move the tuple once more.
    fn execute(
        &mut self,
        chunk: Chunk<'_, '_, Self::In>,
        limit: usize,
        out: &mut <Self::Out as Output>::Emitter,
        trees: &mut Trees<Self::Tree>,
        turn: &mut Turn,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
    fn on_watermark(
        &mut self,
        at: Watermark,
        out: &mut <Self::Out as Output>::Emitter,
        trees: &mut Trees<Self::Tree>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
    fn idle(
        &mut self,
        out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Whether it takes another input now.
    #[inline]
    fn has_room(&self) -> bool {
        true
    }
    /// Completes when `idle` is worth calling without an input.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;
    fn finish(
        &mut self,
        out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
    fn tick(
        &mut self,
        out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
    fn cleanup(&mut self) -> impl Future<Output = ()> + Send;
    fn end_batch(
        &mut self,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// When `on_timer` is due.
    fn timer(&self) -> Option<Moment> {
        None
    }
    fn on_timer(
        &mut self,
        _now: Moment,
        _out: &mut <Self::Out as Output>::Emitter,
        _trees: &mut Trees<Self::Tree>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }
    /// Emits a tree of its own.
    fn emit(_tree: &Self::Tree, _out: &mut <Self::Out as Output>::Emitter) {}
    fn acked(&mut self, _tree: Self::Tree) {}
    fn failed(&mut self, _tree: &Self::Tree, _failure: &Failure) {}
    fn exhausted(&mut self, _tree: Self::Tree, _failure: &Failure) {}
    fn flush(&mut self) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }
    /// Brings the states up to what it keeps, for who asks for them.
    fn refresh(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// What an executor keeps while it executes a batch: how its inputs were answered.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) acks: Acks,
    pub(crate) desk: Arc<AnswerDesk>,
    pub(crate) holding: Arc<Holding>,
    pub(crate) witness: Option<Arc<Witness>>,
    /// The input in work, which fails if the bolt panics; none for an input that its bolt owns.
    pub(crate) current: Option<Anchor>,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) rejected: u64,
    /// Why the newest failed input failed.
    pub(crate) last_fail: Option<Fail>,
    /// The hop of the input in work, where that is traced.
    pub(crate) tracing: Option<Tracing>,
    sums: Vec<(RootId, u64)>,
}

impl Turn {
    pub(crate) fn new(
        acks: Acks,
        desk: Arc<AnswerDesk>,
        holding: Arc<Holding>,
        witness: Option<Arc<Witness>>,
    ) -> Self {
        Self {
            acks,
            desk,
            holding,
            witness,
            current: None,
            acked: 0,
            failed: 0,
            rejected: 0,
            last_fail: None,
            tracing: None,
            sums: Vec::new(),
        }
    }

    /// Forgets what it was at.
    pub(crate) fn reset(&mut self) {
        self.acks.clear();
        (self.current, self.last_fail, self.tracing) = (None, None, None);
    }

    #[inline(always)]
    pub(super) fn begin(&mut self, anchor: Anchor, joints: &Joints, out: &mut impl Emitters) {
        self.current = Some(anchor);
        if anchor.root == JOINT {
            self.begin_joint(anchor, joints, out);
        } else {
            self.holding.show(anchor.root);
            out.begin(anchor.root);
        }
    }

    /// Shows the input in work where it is its bolt's own.
    fn show(&self, anchor: Anchor, joints: &Joints) {
        if anchor.root == JOINT {
            let roots = joints[anchor.edge as usize].iter().map(|one| one.root);
            self.holding.show_joint(roots.collect());
        } else {
            self.holding.show(anchor.root);
        }
    }

    /// The input in work was executed.
    #[inline(always)]
    pub(super) fn end(&mut self, executed: Result<(), Fail>, joints: &Joints, out: &mut impl Emitters) {
        let Some(anchor) = self.current.take() else { return };
        match executed {
            Ok(()) => self.settle(anchor, joints, out),
            Err(fail) => self.fail(anchor, joints, out, fail.into()),
        }
    }

    /// As [`end`](Self::end), for the last input of a chunk. Where its execute took too long, its tree has failed already:
    /// whatever it says now, it failed.
    #[cold]
    pub(super) fn end_last(&mut self, executed: Result<(), Fail>, joints: &Joints, out: &mut impl Emitters) {
        if let Some(anchor) = self.current
            && self.holding.is_overrun()
        {
            let cause = self.holding.timed_out();
            return self.fail(anchor, joints, out, cause);
        }
        self.end(executed, joints, out);
    }

    #[cold]
    fn begin_joint(&mut self, anchor: Anchor, joints: &Joints, out: &mut impl Emitters) {
        let roots: Vec<RootId> = joints[anchor.edge as usize].iter().map(|one| one.root).collect();
        out.begin_joint(&roots);
        self.holding.show_joint(roots);
    }

    /// The input is done: what was emitted stands for it, or its edge is consumed.
    #[inline(always)]
    fn settle(&mut self, anchor: Anchor, joints: &Joints, out: &mut impl Emitters) {
        self.acked += 1;
        if anchor.root == RootId::UNTRACKED {
            return;
        }
        if anchor.root == JOINT {
            self.settle_joint(anchor, joints, out);
        } else {
            let rest = anchor.edge ^ out.xor();
            if rest != 0 && !out.absorb(rest) {
                self.acks.update(Anchor { root: anchor.root, edge: rest });
            }
        }
        if let Some(witness) = &self.witness {
            out.settle_outputs();
            witness.consumed(anchor, joints);
        }
    }

    /// Consumed and emitted edges of a root go to its ledger as one delta: told apart, the first could complete a tree that
    /// the second keeps open.
    #[cold]
    fn settle_joint(&mut self, anchor: Anchor, joints: &Joints, out: &mut impl Emitters) {
        self.sums.clear();
        out.joint_xor(&mut self.sums);
        for_each_anchor(anchor, joints, |one| {
            let emitted = self.sums.iter().filter(|(root, _)| *root == one.root);
            let edge = emitted.fold(one.edge, |rest, (_, edge)| rest ^ edge);
            if edge != 0 {
                self.acks.update(Anchor { root: one.root, edge });
            }
        });
    }

    /// The input failed: what it emitted is taken back as far as it has not left.
    #[cold]
    pub(crate) fn fail(&mut self, anchor: Anchor, joints: &Joints, out: &mut impl Emitters, cause: Cause) {
        out.roll_back();
        self.current = None;
        self.failed += 1;
        self.rejected += u64::from(matches!(cause.fail, Fail::Reject(_)));
        self.acks.fail_all(anchor, joints, &cause);
        self.last_fail = Some(cause.fail);
    }
}

/// A bolt whose inputs are answered for it.
pub(crate) struct Basic<B>(pub(crate) B);

impl<B: Bolt> Form for Basic<B> {
    type In = B::In;
    type Out = B::Out;
    type Tree = ();
    const IDLES: bool = false;
    const ENDS_BATCHES: bool = B::ENDS_BATCHES;

    fn prepare(&mut self, task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.prepare(task)
    }

    async fn execute(
        &mut self,
        mut chunk: Chunk<'_, '_, B::In>,
        limit: usize,
        out: &mut Out<Self>,
        _trees: &mut Trees<()>,
        turn: &mut Turn,
    ) -> Result<(), Fault> {
        for _ in 0..limit {
            let Some(Envelope { anchor, tuple }) = chunk.next(out, turn) else { break };
            turn.begin(anchor, chunk.joints, out);
            let executed = self.0.execute(tuple, out).await;
            if chunk.is_over(out) {
                turn.end_last(executed, chunk.joints, out);
                chunk.end(out, turn);
                break;
            }
            turn.end(executed, chunk.joints, out);
            chunk.end(out, turn);
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        at: Watermark,
        out: &mut Out<Self>,
        _trees: &mut Trees<()>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.on_watermark(at, out)
    }

    async fn idle(&mut self, _out: &mut Out<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }

    async fn finish(&mut self, _out: &mut Out<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn end_batch(&mut self, out: &mut Out<Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.end_batch(out)
    }

    fn tick(&mut self, out: &mut Out<Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.tick(out)
    }

    fn cleanup(&mut self) -> impl Future<Output = ()> + Send {
        self.0.cleanup()
    }
}

/// A bolt that owns its inputs.
pub(crate) struct Rich<B>(pub(crate) B);

impl<B: RichBolt> Form for Rich<B> {
    type In = B::In;
    type Out = B::Out;
    type Tree = ();
    const IDLES: bool = true;

    fn prepare(&mut self, task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.prepare(task)
    }

    async fn execute(
        &mut self,
        mut chunk: Chunk<'_, '_, B::In>,
        limit: usize,
        out: &mut Out<Self>,
        _trees: &mut Trees<()>,
        turn: &mut Turn,
    ) -> Result<(), Fault> {
        for _ in 0..limit {
            let Some(envelope) = chunk.next(out, turn) else { break };
            turn.show(envelope.anchor, chunk.joints);
            out.begin(RootId::UNTRACKED);
            let input = Input::new(envelope, chunk.joints, Arc::clone(&turn.desk));
            self.0.execute(input, out).await?;
            turn.desk.fail_forgotten();
            chunk.end(out, turn);
            if chunk.is_over(out) || !self.0.has_room() {
                break;
            }
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        at: Watermark,
        out: &mut Out<Self>,
        _trees: &mut Trees<()>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.on_watermark(at, out)
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    fn idle(&mut self, out: &mut Out<Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.idle(out)
    }

    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        self.0.ready()
    }

    fn finish(&mut self, out: &mut Out<Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.finish(out)
    }

    fn tick(&mut self, out: &mut Out<Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.tick(out)
    }

    fn cleanup(&mut self) -> impl Future<Output = ()> + Send {
        self.0.cleanup()
    }
}
