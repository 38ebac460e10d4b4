//! An operator as its executor sees it.
//!
//! Invariant: what it opens for an input that fails is taken back, and nothing else is.

use std::future::{Future, pending};

use super::chunk::Chunk;
use super::envelope::Envelope;
use super::form::{Form, Out, Turn};
use super::trees::Trees;
use crate::context::TaskContext;
use crate::fail::Failure;
use crate::operator::Operator;
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::time::Watermark;

/// A bolt that opens trees of its own, and whose inputs are answered for it.
pub(crate) struct Operating<O>(pub(crate) O);

impl<O: Operator> Form for Operating<O> {
    type In = O::In;
    type Out = O::Out;
    type Tree = O::Tree;
    const IDLES: bool = false;
    const OPENS_TREES: bool = true;
    const KEEPS_STATE: bool = O::KEEPS_STATE;

    fn prepare(&mut self, task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.prepare(task)
    }

    async fn execute(
        &mut self,
        mut chunk: Chunk<'_, '_, O::In>,
        limit: usize,
        out: &mut Out<Self>,
        trees: &mut Trees<O::Tree>,
        turn: &mut Turn,
    ) -> Result<(), Fault> {
        for _ in 0..limit {
            let Some(Envelope { anchor, tuple }) = chunk.next(out, turn) else { break };
            turn.begin(anchor, chunk.joints, out);
            trees.begin();
            let executed = self.0.execute(tuple, out, trees).await;
            let (failed, is_over) = (turn.failed, chunk.is_over(out));
            if is_over {
                turn.end_last(executed, chunk.joints, out);
            } else {
                turn.end(executed, chunk.joints, out);
            }
            if turn.failed > failed {
                trees.roll_back();
            }
            chunk.end(out, turn);
            if is_over {
                break;
            }
        }
        trees.begin();
        Ok(())
    }

    fn on_watermark(
        &mut self,
        at: Watermark,
        out: &mut Out<Self>,
        trees: &mut Trees<O::Tree>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.on_watermark(at, out, trees)
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

    async fn tick(&mut self, _out: &mut Out<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn cleanup(&mut self) -> impl Future<Output = ()> + Send {
        self.0.cleanup()
    }

    fn timer(&self) -> Option<Moment> {
        self.0.timer()
    }

    fn on_timer(
        &mut self,
        now: Moment,
        out: &mut Out<Self>,
        trees: &mut Trees<O::Tree>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.on_timer(now, out, trees)
    }

    fn emit(tree: &O::Tree, out: &mut Out<Self>) {
        O::emit(tree, out);
    }

    fn acked(&mut self, tree: O::Tree) {
        self.0.acked(tree);
    }

    fn failed(&mut self, tree: &O::Tree, failure: &Failure) {
        self.0.failed(tree, failure);
    }

    fn exhausted(&mut self, tree: O::Tree, failure: &Failure) {
        self.0.exhausted(tree, failure);
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Fault>> + Send {
        self.0.flush()
    }

    fn refresh(&mut self) -> Result<(), Fault> {
        self.0.refresh()
    }
}
