//! What can be wrong with a topology before it runs.

use std::sync::Arc;

/// A topology that cannot run, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A step that cannot be, for a reason of its own.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: Arc<str>,
    },
    /// A component has an empty name.
    #[error("a component has no name; give every spout and bolt one")]
    NoName,
    /// Two components share a name.
    #[error("two components are named `{name}`; give each a name of its own")]
    NameTwice {
        /// The name.
        name: Arc<str>,
    },
    /// A component has no tasks.
    #[error("`{component}` has zero tasks; give it at least one with .tasks(n)")]
    ZeroTasks {
        /// The component.
        component: Arc<str>,
    },
    /// A topology has no source.
    #[error("the topology has no spout; add one with topology.spout(name, factory)")]
    NoSpout,
    /// A spout's stream goes nowhere.
    #[error("nobody reads stream `{stream}` of spout `{spout}`; subscribe a bolt to it")]
    NoSubscriber {
        /// The spout.
        spout: Arc<str>,
        /// Its stream.
        stream: Arc<str>,
    },
    /// A bolt has no input.
    #[error("bolt `{bolt}` reads no stream; subscribe it to one, for example with .shuffle(&stream)")]
    NoInput {
        /// The bolt.
        bolt: Arc<str>,
    },
    /// A loop was declared and never closed.
    #[error("feedback `{name}` is not connected; close the loop with feedback.connect(&stream)")]
    LoopOpen {
        /// The loop's name.
        name: Arc<str>,
    },
    /// A loop was connected to another loop's entry, which no component emits.
    #[error("feedback `{name}` is connected to a feedback; connect it to the stream of a bolt")]
    LoopOfLoop {
        /// The loop's name.
        name: Arc<str>,
    },
    /// A loop was closed, and nobody subscribed to its entry.
    #[error("nobody reads feedback `{name}`; subscribe a bolt to it, or leave it out")]
    LoopUnread {
        /// The loop's name.
        name: Arc<str>,
    },
    /// A component reads what came of its own output, and no feedback lies between.
    #[error(
        "`{component}` reads its own output; close the cycle with topology.feedback(name), which cannot deadlock"
    )]
    Cycle {
        /// A component of the cycle.
        component: Arc<str>,
    },
    /// A bolt ticks without a pause.
    #[error("bolt `{bolt}` ticks every 0 s; give .tick_every an interval above zero")]
    ZeroTick {
        /// The bolt.
        bolt: Arc<str>,
    },
    /// A stream of one topology was used in another.
    #[error("`{component}` subscribes to a stream of another topology; use streams of its own")]
    ForeignStream {
        /// The subscribing component.
        component: Arc<str>,
    },
    /// A setting names a component that is not there.
    #[error("there is no component `{name}`; this topology has {there_are}")]
    NoSuchComponent {
        /// The name asked for.
        name: Arc<str>,
        /// The names that there are.
        there_are: Arc<str>,
    },
    /// More tasks of spouts and operators than there are ledgers.
    #[error(
        "{tasks} tasks of spouts and operators are more than the {limit} that one topology can have; give them fewer"
    )]
    TooManyTasks {
        /// How many were asked for.
        tasks: usize,
        /// How many there can be.
        limit: usize,
    },
    /// `max_pending` is out of its range.
    #[error("spout `{spout}` has max_pending {asked}; it must lie between 1 and {limit}")]
    MaxPending {
        /// The spout.
        spout: Arc<str>,
        /// What was asked for.
        asked: usize,
        /// The most there can be.
        limit: usize,
    },
}
