//! Windows over keyed streams: which there are, when they fire, what is computed over them, and the engine that does it.
//!
//! A stream is cut by [`tumbling`], [`sliding`], [`session`], [`count`], [`count_sliding`] or [`global`]; a [`Trigger`] says
//! what is given before a window is complete; an [`Aggregate`] says what is computed ([`aggregate`] has the usual ones); each
//! result is a [`Fired`]. The [`Engine`] puts them together for the keys of one task. The operators of keyed streams drive
//! it, and bolts written by hand may, too.
//!
//! # Time
//!
//! A window is complete as the [`Watermark`](crate::Watermark) reaches its end, since whatever is earlier has come then.
//! What comes for it later is late: within the allowed lateness the window gives another result with the next `revision`
//! (Akidau et al., "The Dataflow Model", VLDB 2015), after that the record is handed back. A record that is late for some of
//! the windows over it counts in the others, and is handed back only where none is left. Records less than `gap` apart
//! are of one session; records just `gap` apart are not, since by then the first may have been given.
//!
//! The results do not depend on the order in which records come, as long as none is late, nor on when the watermark moves,
//! nor on how keys are spread over tasks; floating-point sums may differ in the last digits. Early results do, of course,
//! as do windows by count, which are by the order of arrival.
//!
//! # State
//!
//! All that an engine knows of a key is one serializable [`Entry`]; what is computed from it (deadlines, running
//! aggregates) is computed again after a restore. An entry says up to which watermark it has fired, so that it may move to
//! a task where time has not come as far. Keys without an open window, or a result that awaits its acknowledgement, vanish;
//! those of [`global`] and [`count_sliding`] never do.
//!
//! ```
//! use std::time::Duration;
//! use topo_core::Watermark;
//! use topo_core::window::aggregate::{count, max};
//! use topo_core::window::{Engine, Kind, Offer, Trigger, session};
//!
//! let mut engine = Engine::new(session(Duration::from_millis(10)), (count(), max(|load: &u64| *load)))?
//!     .trigger(Trigger::watermark().early_count(2))?
//!     .allowed_lateness(Duration::from_millis(100))?;
//! let mut fired = Vec::new();
//! for (at, load) in [(0, 7), (15, 3), (30, 5)] {
//!     let _ = engine.add(&"host", at, load, &mut |_, result| fired.push(result));
//! }
//! engine.advance(Watermark(27), &mut |_, result| fired.push(result));
//! assert_eq!(fired.len(), 2);
//! assert_eq!((fired[0].window.start, fired[0].window.end, fired[0].value), (0, 10, (1, 7)));
//!
//! // A late record joins the two sessions that have been given.
//! let _ = engine.add(&"host", 8, 9, &mut |_, result| fired.push(result));
//! let joined = &fired[2];
//! assert_eq!((joined.window.start, joined.window.end, joined.value), (0, 25, (3, 9)));
//! assert_eq!((joined.kind, joined.revision, joined.replaces.len()), (Kind::Late, 1, 2));
//!
//! // Within 100 ms of its end a session still takes records, afterwards no more.
//! engine.advance(Watermark(1_000), &mut |_, result| fired.push(result));
//! assert_eq!(engine.add(&"host", 8, 9, &mut |_, _| ()), Offer::Late(9));
//! # Ok::<(), topo_core::window::WindowError>(())
//! ```

mod counted;
mod deadlines;
mod engine;
mod entry;
mod fired;
mod offer;
mod partial;
mod plan;
mod running;
mod sessions;
mod shown;
mod slices;
mod slots;
mod span;
mod timers;
mod trigger;
mod whole;
mod windows;

pub mod aggregate;

#[cfg(test)]
mod check;

pub use aggregate::Aggregate;
pub use engine::{Engine, RestoreError};
pub use entry::Entry;
pub use fired::{Fired, Kind, PaneId};
pub use offer::{Offer, Refusal};
pub use partial::{Partial, Partials};
pub use shown::Shown;
pub use span::Window;
pub use timers::{Clock, KeyTimers, Timers};
pub use trigger::Trigger;
pub use windows::{WindowError, Windows, count, count_sliding, global, session, sliding, tumbling};
