//! Tuples, topologies, the ack ledger and the runtime that moves tuples between tasks.
//!
//! A [`Topology`] is wired from [`Spout`]s and [`Bolt`]s by typed [`Stream`] handles and launched on a
//! [`Scheduler`](schedule::Scheduler). Each tuple that a spout tracks opens a tree in the [`ledger`] beside that spout;
//! the tree is complete when everything that came of the tuple is done.

mod tuple;

mod backoff;
mod bolt;
mod context;
mod fail;
mod operator;
mod spout;
mod store;

mod grouping;
mod stream;
mod topology;

mod config;
mod runtime;

mod time;
mod transaction;

pub mod ledger;
pub mod log;
pub mod metrics;
pub mod schedule;
pub mod state;
pub mod streams;
pub mod trace;
pub mod window;

pub use backoff::Backoff;
pub use bolt::{Bolt, RichBolt};
pub use config::{Config, Delivery, MicroTransactions, RestoreWatch, StateBackend, StateSettings};
pub use context::TaskContext;
pub use fail::{Fail, FailKind, Failure};
pub use grouping::{Direct, Grouping, Targets};
pub use operator::Operator;
pub use runtime::{Emitter, Full, Input, LaunchError, Running, SpoutEmitter, StuckError, Trees};
pub use spout::{Fault, Next, Spout};
pub use store::TaskStore;
pub use stream::{Emitting, Feeds, Output, Reading, Side, Stream};
pub use streams::{
    Branches, ByReference, ByValue, DataStream, KeySelector, KeyedStream, Order, Process, ProcessContext,
    Step, Timer, WindowResults, Windowed, WindowedStream,
};
pub use time::{EventTime, Timed, Watermark};
pub use topology::{BoltHandle, BuildError, Feedback, SpoutHandle, Topology};
pub use transaction::{InputOffsets, LastBatch};
pub use tuple::Tuple;

#[doc(hidden)]
pub use runtime::{EmitterReport, Emitters, Flush, Signal};
#[doc(hidden)]
pub use stream::{Connection, Declaration};
