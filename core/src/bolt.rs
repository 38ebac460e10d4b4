//! A bolt: a step that takes tuples and may emit others.

use std::future::{Future, pending, ready};

use crate::context::TaskContext;
use crate::fail::Fail;
use crate::runtime::Input;
use crate::spout::Fault;
use crate::stream::Output;
use crate::time::Watermark;
use crate::tuple::Tuple;

/// A step whose inputs are answered for it: `Ok` acknowledges, an error fails, and whatever it emits is anchored to the
/// input that it executes (Storm's basic bolt).
///
/// What an execute that fails has emitted is taken back, unless it awaited `out.ready()` after it. A bolt that panics is
/// replaced by a fresh instance, and the tuple fails.
///
/// ```
/// use topo_core::{Bolt, Emitter, Fail};
///
/// struct Split;
///
/// impl Bolt for Split {
///     type In = String;
///     type Out = String;
///
///     async fn execute(&mut self, line: String, out: &mut Emitter<String>) -> Result<(), Fail> {
///         line.split_whitespace().for_each(|word| out.emit(word.to_owned()));
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a bolt",
    note = "implement `Bolt` for it, and pass a factory that makes one per task: `topology.bolt(\"name\", || MyBolt::new())`",
    note = "a `RichBolt`, which owns its inputs, is added with `topology.rich_bolt`"
)]
pub trait Bolt: Send + 'static {
    /// What it takes. A stream of another type `T` may be subscribed where `In: From<T>`.
    type In: Tuple;
    /// What it emits: a tuple type, `()` for nothing, or a struct of streams made by [`ports!`](crate::ports).
    type Out: Output;

    /// Whether [`end_batch`](Self::end_batch) does anything. Then the topology needs
    /// [`Delivery::ExactlyOnce`](crate::Delivery::ExactlyOnce): nothing else has batches.
    const ENDS_BATCHES: bool = false;

    /// Called once before the first tuple.
    ///
    /// # Errors
    /// An error at launch stops the topology; later, the bolt is tried again after a delay.
    fn prepare(&mut self, _task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Handles one tuple.
    ///
    /// # Errors
    /// [`Fail::Retry`] has the tuple's root replayed, [`Fail::Reject`] gives it up; any other error, through `?`, retries.
    fn execute(
        &mut self,
        tuple: Self::In,
        out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fail>> + Send;

    /// Event time has come as far as `at`: nothing earlier will come, but for what comes too late. Called between inputs, in
    /// rising order; [`Watermark::MAX`] is the end of time. What it emits is anchored to nothing, and reaches its subscribers
    /// before they hear of `at`. [`TaskContext::watermark`] tells a fresh instance how far its task has come.
    ///
    /// # Errors
    /// An error is reported and replaces this instance with a fresh one.
    fn on_watermark(
        &mut self,
        _at: Watermark,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// A micro-transaction ends here: all of its tuples were handled. What this emits belongs to it, and reaches its subscribers
    /// as part of it (Trident's per-batch aggregate). It is anchored to nothing, so that no record is to blame where it fails.
    /// Called where [`ENDS_BATCHES`](Self::ENDS_BATCHES) says so.
    ///
    /// # Errors
    /// The batch fails, and is made again with a fresh instance.
    fn end_batch(
        &mut self,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Called at the interval set by `tick_every`; what it emits is anchored to nothing.
    ///
    /// # Errors
    /// An error is reported and replaces this instance with a fresh one.
    fn tick(
        &mut self,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Called once when the topology stops in order, after the last tuple.
    fn cleanup(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// A step that owns its inputs and answers for each itself, at once or later: for joins, aggregates and hand-offs to other
/// tasks (Storm's rich bolt).
///
/// What it emits with `out.emit_anchored(&[&input], …)` belongs to that input's tree; plain `out.emit` belongs to none. An
/// input that was answered is gone, so nothing can be anchored to it any more:
///
/// ```compile_fail,E0382
/// # fn late(input: topo_core::Input<u64>, out: &mut topo_core::Emitter<u64>) {
/// input.ack();
/// out.emit_anchored(&[&input], 7);
/// # }
/// ```
///
/// ```
/// use topo_core::{Emitter, Fault, Input, RichBolt};
///
/// /// Adds numbers up in pairs; both inputs are held until their sum is emitted.
/// #[derive(Default)]
/// struct Pairs(Option<Input<u64>>);
///
/// impl RichBolt for Pairs {
///     type In = u64;
///     type Out = u64;
///
///     async fn execute(&mut self, input: Input<u64>, out: &mut Emitter<u64>) -> Result<(), Fault> {
///         match self.0.take() {
///             None => self.0 = Some(input),
///             Some(other) => {
///                 out.emit_anchored(&[&other, &input], *other + *input);
///                 other.ack();
///                 input.ack();
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a rich bolt",
    note = "implement `RichBolt` for it, and pass a factory that makes one per task",
    note = "a `Bolt`, whose inputs are answered for it, is added with `topology.bolt`"
)]
pub trait RichBolt: Send + 'static {
    /// What it takes. A stream of another type `T` may be subscribed where `In: From<T>`.
    type In: Tuple;
    /// What it emits.
    type Out: Output;
    /// Whether it waits, for as long as that takes, for something outside the topology, and says so by
    /// [`TaskContext::report`]. Its time is then charged to what it waits for: it has neither
    /// [`execute_timeout`](crate::Config::execute_timeout) nor [`hold_timeout`](crate::Config::hold_timeout), unless one is set
    /// for the bolt.
    const WAITS_OUTSIDE: bool = false;

    /// Called once before the first tuple.
    ///
    /// # Errors
    /// An error at launch stops the topology; later, the bolt is tried again after a delay.
    fn prepare(&mut self, _task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Handles, holds or hands off one input.
    ///
    /// # Errors
    /// An error replaces this instance with a fresh one, and whatever inputs it held fail.
    fn execute(
        &mut self,
        input: Input<Self::In>,
        out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether it takes another input now. While it does not, its queue waits, and it is asked through
    /// [`ready`](Self::ready) and [`idle`](Self::idle) as where the queue is empty: so what is done leaves, and is answered,
    /// at once, and nobody is held up by an execute that waits.
    #[inline]
    fn has_room(&self) -> bool {
        true
    }

    /// Called when the queue is empty, and before the task waits: the moment to finish what was gathered over a batch.
    ///
    /// # Errors
    /// An error replaces this instance with a fresh one, and whatever inputs it held fail.
    fn idle(
        &mut self,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Completes when `idle` is worth calling though no input came: what the bolt waits for itself, such as an answer from
    /// outside, has come. Asked while the queue is empty, or the bolt has no room. It may be dropped and called again at any
    /// await, so it must not lose anything then.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Called once when nothing more will come, before `cleanup`: the moment to emit what is left.
    ///
    /// # Errors
    /// An error is reported, and whatever inputs the bolt held fail.
    fn finish(
        &mut self,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Event time has come as far as `at`, as [`Bolt::on_watermark`] hears it. An input that is held is never earlier: the
    /// spout's watermark waits for what is open.
    ///
    /// # Errors
    /// An error replaces this instance with a fresh one, and whatever inputs it held fail.
    fn on_watermark(
        &mut self,
        _at: Watermark,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Called at the interval set by `tick_every`.
    ///
    /// # Errors
    /// An error replaces this instance with a fresh one, and whatever inputs it held fail.
    fn tick(
        &mut self,
        _out: &mut <Self::Out as Output>::Emitter,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Called once when the topology stops in order, after the last tuple.
    fn cleanup(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
