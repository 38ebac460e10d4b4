//! What moves tuples between tasks.
//!
//! In a tuple's order: a spout emits through [`SpoutEmitter`], which opens the tree; an [`Emitter`] buffers; a route picks
//! tasks and fills batches; an inbox holds them; the bolt's executor executes them in one of two forms; acks go back
//! on their lanes to the spout's executor and its ledger, or to those of a bolt that opened the tree. Signals ride on the
//! batches. Beside them, a watch looks after what takes too long.

mod spout_answers;
mod spout_batch;
mod spout_emitter;
mod spout_executor;
mod spout_trees;

mod emitter;
mod envelope;
mod outbox;
mod route;
mod signal;

mod inbox;

mod bolt_executor;
mod bolt_inputs;
mod chunk;
mod form;
mod held;
mod input;
mod operating;
mod own_trees;
mod trees;

mod acks;

mod holding;
mod watch;

mod contain;
mod control;
mod executor;
mod flushes;
mod launch;
mod micro;
mod room;
mod running;
mod settings;
mod start;
mod witness;

pub use emitter::{Emitter, EmitterReport, Emitters};
pub use input::Input;
pub use route::Flush;
pub use running::{LaunchError, Running, StuckError};
pub use settings::Setting;
pub use signal::Signal;
pub use spout_emitter::{Full, SpoutEmitter};
pub use trees::Trees;

pub(crate) use contain::contain;
pub(crate) use control::{Control, Phase};
pub(crate) use emitter::EmitterContext;
pub(crate) use envelope::JOINT;
pub(crate) use form::{Basic, Form, Rich};
pub(crate) use inbox::Bell;
pub(crate) use launch::launch;
pub(crate) use operating::Operating;
pub(crate) use outbox::serialized_bytes;
pub(crate) use route::{Batching, Route, Subscription};
pub(crate) use start::{BoltStart, InboxSlot, SpoutStart, Start};
pub(crate) use witness::Witness;
