//! An operator: a bolt that keeps something over many inputs, emits what came of it in trees of its own, and goes by event
//! time.

use std::future::{Future, ready};

use crate::context::TaskContext;
use crate::fail::{Fail, Failure};
use crate::runtime::Trees;
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::stream::Output;
use crate::time::Watermark;
use crate::tuple::Tuple;

/// A step that takes its inputs in, acknowledges them, and emits results later that belong to no input: windows, aggregates
/// that report now and then.
///
/// Each result is a tree of its own, opened with [`Trees::open`]. Its whole tree is tracked as a spout's is: done, the
/// operator hears [`acked`](Self::acked) and forgets what the result came of; failed, it is emitted again, with backoff, up
/// to [`Config::tree_attempts`](crate::Config::tree_attempts) times. Until then, the task's watermark stays behind the
/// result's time, so that no step behind it finds the result late.
///
/// Trees are the task's, not the instance's: where an operator breaks and is replaced, the next instance hears of them.
///
/// ```
/// use std::collections::BTreeMap;
/// use topo_core::{Emitter, Fail, Fault, Operator, Timed, Trees, Watermark};
///
/// /// Counts what happened in each second.
/// #[derive(Default)]
/// struct PerSecond(BTreeMap<i64, u64>);
///
/// impl Operator for PerSecond {
///     type In = Timed<String>;
///     type Out = Timed<u64>;
///     type Tree = Timed<u64>;
///
///     async fn execute(
///         &mut self,
///         line: Timed<String>,
///         _out: &mut Emitter<Timed<u64>>,
///         _trees: &mut Trees<Timed<u64>>,
///     ) -> Result<(), Fail> {
///         *self.0.entry(line.at.div_euclid(1_000)).or_default() += 1;
///         Ok(())
///     }
///
///     async fn on_watermark(
///         &mut self,
///         at: Watermark,
///         _out: &mut Emitter<Timed<u64>>,
///         trees: &mut Trees<Timed<u64>>,
///     ) -> Result<(), Fault> {
///         while let Some(second) = self.0.first_entry().filter(|second| (second.key() + 1) * 1_000 <= at.0) {
///             let last = second.key() * 1_000 + 999;
///             trees.open(last, Timed { at: last, value: second.remove() });
///         }
///         Ok(())
///     }
///
///     fn emit(count: &Timed<u64>, out: &mut Emitter<Timed<u64>>) {
///         out.emit(*count);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operator",
    note = "implement `Operator` for it, and pass a factory that makes one per task: `topology.operator(\"name\", || MyOperator::new())`"
)]
pub trait Operator: Send + 'static {
    /// What it takes. A stream of another type `T` may be subscribed where `In: From<T>`.
    type In: Tuple;
    /// What it emits: a tuple type, or a struct of streams made by [`ports!`](crate::ports).
    type Out: Output;
    /// A result: what [`emit`](Self::emit) makes tuples of, as often as it takes, and what the operator knows it by.
    type Tree: Send + 'static;

    /// Whether [`flush`](Self::flush) makes anything durable. Offsets are committed only behind it then.
    ///
    /// What was taken in was acknowledged and does not come again, so what is not flushed has to outlive an instance that
    /// breaks: in a [`TaskStore`](crate::TaskStore), which needs no `flush` here, or shared by the instances of the task.
    const KEEPS_STATE: bool = false;

    /// Called once before the first tuple.
    ///
    /// # Errors
    /// An error at launch stops the topology; later, the operator is tried again after a delay.
    fn prepare(&mut self, _task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Takes one tuple in. What it emits through `out` is anchored to the tuple; what it opens in `trees` is not.
    ///
    /// # Errors
    /// [`Fail::Retry`] has the tuple's root replayed, [`Fail::Reject`] gives it up. Either way, what it emitted and opened
    /// for the tuple is taken back.
    fn execute(
        &mut self,
        tuple: Self::In,
        out: &mut <Self::Out as Output>::Emitter,
        trees: &mut Trees<Self::Tree>,
    ) -> impl Future<Output = Result<(), Fail>> + Send;

    /// Event time has come as far as `at`: nothing earlier will come, but for what comes too late. At the end of time,
    /// [`Watermark::MAX`], nothing will come at all in this run. What it emits through `out` is anchored to nothing.
    ///
    /// # Errors
    /// An error is reported and replaces this instance with a fresh one.
    fn on_watermark(
        &mut self,
        _at: Watermark,
        _out: &mut <Self::Out as Output>::Emitter,
        _trees: &mut Trees<Self::Tree>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// When [`on_timer`](Self::on_timer) is to be called, if at all. Asked after each batch and before each wait.
    fn timer(&self) -> Option<Moment> {
        None
    }

    /// The moment that [`timer`](Self::timer) named has come. It has to name another one now, or none.
    ///
    /// # Errors
    /// An error is reported and replaces this instance with a fresh one.
    fn on_timer(
        &mut self,
        _now: Moment,
        _out: &mut <Self::Out as Output>::Emitter,
        _trees: &mut Trees<Self::Tree>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Emits a result; called for its first attempt and for every later one.
    fn emit(tree: &Self::Tree, out: &mut <Self::Out as Output>::Emitter);

    /// The whole tree of a result is done.
    fn acked(&mut self, _tree: Self::Tree) {}

    /// An attempt at a result failed; it is made again.
    fn failed(&mut self, _tree: &Self::Tree, _failure: &Failure) {}

    /// A result was refused, or has failed as often as it may: it is not tried again. Reported and counted as well.
    fn exhausted(&mut self, _tree: Self::Tree, _failure: &Failure) {}

    /// Makes durable what was done so far. Called between batches, whenever offsets are about to be committed.
    ///
    /// # Errors
    /// What keeps it from being durable: reported, and the commit waits for another call that succeeds.
    fn flush(&mut self) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Brings the states that it writes to in [`flush`](Self::flush) up to what it has done, and makes nothing durable.
    /// Called between batches, where somebody asks for a value from outside.
    ///
    /// # Errors
    /// What keeps it from that: reported, and the states are shown as they are.
    fn refresh(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Called once when the topology stops in order, after the last tuple and the last tree.
    fn cleanup(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
