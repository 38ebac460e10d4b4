//! The ack ledger: which trees are open, and when each one is complete.
//!
//! A tuple that a spout emits is the *root* of an ack tree. Every copy of a tuple on its way to a task is an *edge* of
//! that tree and carries a random 64-bit id. The ledger keeps one value per root: the XOR of the edges that are still
//! alive. When it reaches zero the tree is complete. The ledger is a state machine without clock, lock or I/O; the
//! spout's task owns it, so that opening and closing a root is a push and a pop on memory that is already in the cache.
//!
//! # Who tells the ledger what
//!
//! The conventions for edges are topo's own; they save nearly all of the traffic that Storm sends to its ackers.
//!
//! - A root opens with the edge `e` of its one tuple, and with the value `e`.
//! - A bolt that executes an input with edge `e` and emits `k ≥ 1` tuples anchored to it gives each a fresh edge, and in
//!   the end XORs into the last one what is missing, so that together they XOR to `e`: **the tree's value has not
//!   changed, so nobody has to be told**. A chain of maps hands one and the same edge through, and the ledger hears of it
//!   once.
//! - With `k = 0` the edge ends here: the *delta* `e` goes to the ledger.
//! - A tuple copied to several subscribers splits its edge in the same way: fresh ones for the copies, the rest stays.
//! - A tuple anchored to several inputs has one edge per root; inputs of one and the same root go in as their XOR.
//! - An edge is never 0. Where the last edge would come out as 0 (one time in 2⁶⁴), it keeps its fresh value, and what is
//!   missing goes to the ledger as a delta.
//!
//! Deltas of one root may be XORed together on the way, and they may arrive in any order; but each must arrive exactly
//! once while its root is open, since XOR is not idempotent. Lanes inside a process neither lose nor repeat.
//!
//! # Why zero means complete
//!
//! Take the edges alive in a tree to be independent and uniform. Executing one of them replaces `e` by `f₁ … fₖ`, where
//! `f₁ … fₖ₋₁` are fresh and `fₖ = e ⊕ f₁ ⊕ … ⊕ fₖ₋₁`. The map from `(f₁, …, fₖ₋₁, e)` to `(f₁, …, fₖ₋₁, fₖ)` is a
//! bijection (it is its own inverse), so it takes uniform and independent to uniform and independent, of each other and
//! of all other edges in the tree. By induction the edges that end are so, too, however the tree has grown, as long as
//! the shape of the tree does not depend on the ids (user code does not see them). What the ledger holds after any set of
//! deltas is the XOR of the ends it has not heard of yet; of a set that is not empty that is uniform, and therefore zero
//! by accident with probability 2⁻⁶⁴ per update. At a billion updates a second, that is once in 585 years.
//!
//! It stands and falls with the generator: see [`EdgeIds`].
//!
//! # Late updates
//!
//! A root is closed by its last delta or by the first fail, whichever comes first, and either is final: whatever arrives
//! later is [`Update::Late`]. A slot's generation advances with every opening, and an update must match the whole
//! [`RootId`]. See there for what remains of the risk.

mod edges;
mod pending;
mod root;
mod shadow;

#[cfg(test)]
mod history;
#[cfg(test)]
mod planted;

pub use edges::EdgeIds;
pub use pending::{Closed, Ledger, OpenRoot, Update};
pub use root::RootId;
pub use shadow::{Disagreement, Shadow};
