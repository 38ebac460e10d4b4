//! A spout: where tuples come from, and who hears what became of them.

use std::error::Error;
use std::future::{Future, ready};

use crate::context::TaskContext;
use crate::fail::Failure;
use crate::metrics::WindowSnapshot;
use crate::runtime::SpoutEmitter;
use crate::stream::Output;
use crate::time::EventTime;
use crate::transaction::{InputOffsets, LastBatch};

/// Why a component could not start or go on. Any error, or a sentence: `Err("no sensor on port 3".into())`.
pub type Fault = Box<dyn Error + Send + Sync>;

/// What a spout's `next` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It emitted, or may at once: ask again.
    Emitted,
    /// It has nothing now: ask again once [`Spout::ready`] completes, or after an ack or a fail.
    Idle,
    /// It will never have anything again. Acks and fails still arrive.
    Finished,
}

/// A source of tuples.
///
/// The runtime makes one instance per task from a factory and calls it from one place at a time. A spout that panics or
/// returns an error is replaced by a fresh instance, which then hears the acks and fails of what its predecessor emitted.
///
/// ```
/// use topo_core::{Fault, Next, Spout, SpoutEmitter};
///
/// /// Counts to ten, each number tracked under itself.
/// struct Ten(u64);
///
/// impl Spout for Ten {
///     type Out = u64;
///     type Id = u64;
///
///     fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
///         if self.0 == 10 {
///             return Ok(Next::Finished);
///         }
///         out.emit_with(self.0, self.0)?;
///         self.0 += 1;
///         Ok(Next::Emitted)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a spout",
    note = "implement `Spout` for it, and pass a factory that makes one per task: `topology.spout(\"name\", || MySpout::new())`"
)]
pub trait Spout: Send + 'static {
    /// What it emits: a tuple type, or a struct of streams made by [`ports!`](crate::ports).
    type Out: Output;
    /// What it knows a tracked tuple by; given back with its ack or fail.
    type Id: Send + 'static;

    /// Whether it can go back to what was committed, as [`Delivery::ExactlyOnce`](crate::Delivery::ExactlyOnce) needs: then it
    /// implements [`end_batch`](Self::end_batch) and [`rewind`](Self::rewind).
    const REPLAYS: bool = false;

    /// Called once before the first `next`.
    ///
    /// # Errors
    /// An error at launch stops the topology; later, the spout is tried again after a delay.
    fn open(&mut self, _task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Emits what there is now, as little as one tuple, and never waits. Called only while the task has room for a tree.
    ///
    /// # Errors
    /// An error replaces this instance with a fresh one.
    fn next(&mut self, out: &mut SpoutEmitter<Self::Out, Self::Id>) -> Result<Next, Fault>;

    /// Completes when `next` is worth asking again after it said `Idle`. It may be dropped and called again at any await,
    /// so it must not lose anything then. Without one, an idle spout is asked every millisecond.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// The whole tree of the tuple emitted under `id` is done.
    fn ack(&mut self, _id: Self::Id) {}

    /// The tree of the tuple emitted under `id` failed. To replay it, emit it again with
    /// [`SpoutEmitter::replay`] from a later `next`.
    fn fail(&mut self, _id: Self::Id, _failure: &Failure) {}

    /// The last batch that an earlier run has committed, as far as that is noted with the offsets of the spout's group: txids go
    /// on from there. Asked once, behind `open`. Only under [`Delivery::ExactlyOnce`](crate::Delivery::ExactlyOnce), as the
    /// next three.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    fn last_batch(&mut self) -> impl Future<Output = Result<Option<LastBatch>, Fault>> + Send {
        ready(Ok(None))
    }

    /// A micro-transaction ends behind what was emitted so far. What its group is to go on from, once that is committed; `None`
    /// where that is where it was.
    fn end_batch(&mut self) -> Option<InputOffsets> {
        None
    }

    /// The batch that ended last is committed.
    fn batch_committed(&mut self) {}

    /// What was emitted since the last commit is taken back: the next to be emitted is what is behind that commit. Nothing that
    /// was emitted is answered any more.
    ///
    /// # Errors
    /// An error replaces this instance with a fresh one, which begins there too.
    fn rewind(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// How far this task has come in event time, and whether it is idle; `None` where it knows none, for which nobody waits.
    /// Asked after every burst of `next` calls and before every wait, and sent behind what was emitted until then.
    ///
    /// It should not pass the time of a tuple whose tree is open or that waits for another attempt. It may be less than
    /// before, as for a fresh instance, or where the task was given something to read that is behind: whoever hears it stays
    /// where it is, and goes on once this task has come so far again.
    fn watermark(&self) -> Option<EventTime> {
        None
    }

    /// Brings up to date how far what it has open is spread over each partition that it reads; `shown` is what it showed
    /// last. For the page, so asked before every wait and now and then while tuples flow; whoever takes a snapshot waits.
    fn show_windows(&self, _shown: &mut Vec<WindowSnapshot>) {}

    /// The topology was resumed.
    fn activate(&mut self) {}

    /// The topology was paused, or is about to drain: `next` will not be called until `activate`.
    fn deactivate(&mut self) {}

    /// Called once when the topology stops in order, after the last ack.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
