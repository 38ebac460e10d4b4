//! Where a traced tuple went and waited.
//!
//! One root in 1,024, and every attempt after the first, carries a trace bit in its id. Tasks that execute a tuple of
//! such a root note the hop in a ring of their own; all others cost nothing but the test of a bit. Who owns the ledger
//! notes how traced trees ended, and every tree that failed: see [`EndedTree`]. What is open is told when it is asked for.

mod tree_book;

pub(crate) use tree_book::TreeBook;
pub use tree_book::{EndedTree, OpenTree, OpenTrees, TreeOutcome};

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ledger::RootId;
use crate::runtime::contain;
use crate::schedule::Moment;
use crate::tuple::Tuple;

/// Hops of later attempts, and of what failed, that a task remembers.
const KEPT_HOPS: usize = 192;
/// Other hops that a task remembers.
const SAMPLED_HOPS: usize = 64;
/// Bytes of a tuple's value that a hop remembers.
const VALUE_BYTES: usize = 1_024;

/// One execution of a traced tuple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The tree it belongs to.
    pub root: RootId,
    /// The executing component.
    pub component: Arc<str>,
    /// The executing task, from 0.
    pub task: u32,
    /// When its batch was put into the task's queue.
    pub queued: Moment,
    /// When its execution began.
    pub started: Moment,
    /// How long its execution took; for a bolt that owns its inputs, until it gave control back.
    pub executed: Duration,
    /// What came of it.
    pub outcome: HopOutcome,
    /// The tuple as MessagePack with named fields; empty where it was larger than a kilobyte.
    pub value: Vec<u8>,
}

impl Hop {
    /// How long it waited in the queue and behind others of its batch.
    pub fn waited(&self) -> Duration {
        self.started.since(self.queued)
    }
}

/// What came of one execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HopOutcome {
    /// It was acknowledged, after emitting this many tuples.
    Done {
        /// Tuples that it emitted on all streams.
        emitted: u64,
    },
    /// It failed, for this reason.
    Failed(Arc<str>),
    /// Its bolt owns it and answers later, or has already.
    Held,
}

/// A task's newest hops: of later attempts and of what failed apart from the others, which are many more.
#[derive(Debug, Default)]
pub(crate) struct HopRing(Mutex<Hops>);

#[derive(Debug, Default)]
struct Hops {
    sampled: VecDeque<Hop>,
    kept: VecDeque<Hop>,
}

impl HopRing {
    pub(crate) fn push(&self, hop: Hop) {
        let mut hops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = hop.root.repeated() || matches!(hop.outcome, HopOutcome::Failed(_));
        let (ring, most) = match is_kept {
            true => (&mut hops.kept, KEPT_HOPS),
            false => (&mut hops.sampled, SAMPLED_HOPS),
        };
        if ring.len() == most {
            ring.pop_front();
        }
        ring.push_back(hop);
    }

    pub(crate) fn copy_to(&self, all: &mut Vec<Hop>) {
        let hops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(hops.sampled.iter().chain(&hops.kept).cloned());
    }

    /// Those of one tree.
    pub(crate) fn copy_of(&self, root: RootId, all: &mut Vec<Hop>) {
        let hops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(hops.sampled.iter().chain(&hops.kept).filter(|hop| hop.root == root).cloned());
    }
}

/// The tuple's bytes, as a hop keeps them.
pub(crate) fn value_of<T: Tuple>(tuple: &T) -> Vec<u8> {
    value_within(tuple, VALUE_BYTES)
}

/// The tuple's bytes, where they are no more than `most`.
pub(crate) fn value_within<T: Tuple>(tuple: &T, most: usize) -> Vec<u8> {
    match contain(|| rmp_serde::to_vec_named(tuple)) {
        Ok(Ok(bytes)) if bytes.len() <= most => bytes,
        _ => Vec::new(),
    }
}
