//! Where a spout puts its tuples: anchored to nothing, or opening a tree in the ledger beside it.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::emitter::Emitters;
use super::envelope::{Anchor, Joints};
use super::witness::Witness;
use crate::ledger::{Closed, EdgeIds, Ledger, RootId, Update};
use crate::schedule::Moment;
use crate::stream::Output;
use crate::tuple::Tuple;

/// The task has as many trees open as it may: the emit was refused, and what was not emitted is handed back.
///
/// `next` is only called while there is room for one tree. A spout that emits several trees in one call asks
/// [`SpoutEmitter::room`] or keeps what it gets back for the next call.
#[derive(Clone, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full")
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the spout emitted past max_pending; ask out.room() before emitting several trees in one call",
        )
    }
}

impl<T> Error for Full<T> {}

/// A spout's way out. It outlives the instance: trees that are open when a spout is replaced stay open.
pub struct SpoutEmitter<O: Output, Id> {
    pub(crate) out: O::Emitter,
    pub(crate) ledger: Ledger<Id>,
    edges: EdgeIds,
    /// Whether trees are tracked; otherwise every emit is acknowledged at once.
    tracked: bool,
    /// The time that roots are opened at: read once per burst of `next` calls.
    pub(crate) now: Moment,
    /// Ids of trees that were done as soon as they were emitted.
    pub(crate) done: VecDeque<Done<Id>>,
    max_pending: usize,
    /// The tree whose tuples are being emitted right now.
    opening: Option<RootId>,
    witness: Option<Arc<Witness>>,
}

/// A tree that ended while its spout was emitting.
pub(crate) enum Done<Id> {
    /// Not tracked.
    Untracked(Id),
    /// Opened, and nobody subscribed.
    Closed(Closed<Id>),
}

impl<O: Output, Id> SpoutEmitter<O, Id> {
    pub(crate) fn new(
        out: O::Emitter,
        ledger: Ledger<Id>,
        edges: EdgeIds,
        tracked: bool,
        witness: Option<Arc<Witness>>,
    ) -> Self {
        let max_pending = ledger.max_pending();
        Self {
            out,
            ledger,
            edges,
            tracked,
            now: Moment::default(),
            done: VecDeque::new(),
            max_pending,
            opening: None,
            witness,
        }
    }

    /// How many more trees may be opened now.
    pub fn room(&self) -> usize {
        if self.tracked {
            self.ledger.capacity_left()
        } else {
            self.max_pending.saturating_sub(self.done.len())
        }
    }

    /// The streams, for tuples that nobody tracks.
    pub fn untracked(&mut self) -> &mut O::Emitter {
        &mut self.out
    }

    /// Opens one tree over all that `emit` emits, on any stream, known by `id`. `attempt` counts from 1.
    ///
    /// # Errors
    /// [`Full`] with the id, and `emit` was not called, where `max_pending` trees are open.
    pub fn track(
        &mut self,
        id: Id,
        attempt: u32,
        emit: impl FnOnce(&mut O::Emitter),
    ) -> Result<(), Full<Id>> {
        if self.room() == 0 {
            return Err(Full(id));
        }
        if !self.tracked {
            emit(&mut self.out);
            self.done.push_back(Done::Untracked(id));
            return Ok(());
        }
        let edge = self.edges.next();
        let Some(root) = self.ledger.open(id, edge, attempt, self.now) else { return Ok(()) };
        if let Some(witness) = &self.witness {
            witness.lock().opened(root, edge);
        }
        self.opening = Some(root);
        self.out.begin(root);
        emit(&mut self.out);
        self.opening = None;
        let rest = edge ^ self.out.xor();
        let to_tell = rest != 0 && !self.out.absorb(rest);
        if self.witness.is_some() {
            self.testify(Anchor { root, edge });
        }
        if to_tell {
            self.update(Anchor { root, edge: rest });
        }
        self.out.begin(RootId::UNTRACKED);
        Ok(())
    }
}

impl<O: Output, Id> SpoutEmitter<O, Id> {
    /// Reports that the tree's first edge became those of the tuples emitted.
    #[cold]
    fn testify(&mut self, first: Anchor) {
        self.out.settle_outputs();
        if let Some(witness) = &self.witness {
            witness.consumed(first, &Joints::new());
        }
    }

    /// Tells the ledger at once; only for a tree that emitted nothing, or whose tuples have all left.
    #[cold]
    fn update(&mut self, update: Anchor) {
        let answer = self.ledger.update(update.root, update.edge);
        if let Some(witness) = &self.witness {
            witness.lock().updated(update.root, update.edge, &answer, self.ledger.value(update.root));
        }
        if let Update::Acked(closed) = answer {
            self.done.push_back(Done::Closed(closed));
        }
    }

    /// After a panic: takes back what was emitted of the tree that was being opened, if one was. It has to fail.
    pub(crate) fn abandon(&mut self) -> Option<RootId> {
        let root = self.opening.take()?;
        self.out.roll_back();
        self.out.begin(RootId::UNTRACKED);
        Some(root)
    }
}

impl<T: Tuple, Id> SpoutEmitter<T, Id> {
    /// Emits a tuple that nobody tracks: its spout hears nothing of it.
    pub fn emit(&mut self, tuple: T) {
        self.out.emit(tuple);
    }

    /// Emits a tuple and opens its tree: the spout hears `ack(id)` or `fail(id, …)` once.
    ///
    /// # Errors
    /// [`Full`] with id and tuple where `max_pending` trees are open.
    #[inline]
    pub fn emit_with(&mut self, id: Id, tuple: T) -> Result<(), Full<(Id, T)>> {
        self.replay(id, 1, tuple)
    }

    /// Emits a tuple again after its tree failed; `attempt` is one more than the failed one's. Later attempts are traced.
    ///
    /// # Errors
    /// As [`emit_with`](Self::emit_with).
    #[inline]
    pub fn replay(&mut self, id: Id, attempt: u32, tuple: T) -> Result<(), Full<(Id, T)>> {
        if self.room() == 0 {
            return Err(Full((id, tuple)));
        }
        if !self.tracked {
            self.out.emit(tuple);
            self.done.push_back(Done::Untracked(id));
            return Ok(());
        }
        // The one tuple has the tree's first edge: what `track` comes to, without the way round.
        let edge = self.edges.next();
        let Some(root) = self.ledger.open(id, edge, attempt, self.now) else { return Ok(()) };
        if let Some(witness) = &self.witness {
            witness.lock().opened(root, edge);
        }
        self.out.emit_first(Anchor { root, edge }, tuple);
        Ok(())
    }
}

impl<O: Output, Id> fmt::Debug for SpoutEmitter<O, Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoutEmitter").field("pending", &self.ledger.pending()).finish_non_exhaustive()
    }
}
