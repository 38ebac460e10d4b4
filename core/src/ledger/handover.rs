//! How an executed input's edge passes to what was emitted for it.

/// The edge of an input while it is being handed on.
///
/// Invariant: `rest` XOR all edges given out so far is the edge that came in.
///
/// ```
/// use topo_core::ledger::{EdgeIds, Handover};
/// let mut ids = EdgeIds::new(7, 0);
/// let input = ids.next();
///
/// let mut handover = Handover::of(input);
/// let first = handover.branch(ids.next());
/// let second = handover.last(|| ids.next());
/// assert_eq!(first ^ second.edge, input);
/// assert_eq!(second.delta, 0, "nothing to tell the ledger");
///
/// assert_eq!(Handover::of(input).end(), input, "nothing emitted: the whole edge goes to the ledger");
/// ```
#[derive(Debug)]
#[must_use = "an edge that is not handed on leaves its tree open"]
pub struct Handover {
    rest: u64,
}

/// The edge of the last tuple emitted for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the delta, where it is not 0, has to reach the ledger"]
pub struct LastEdge {
    /// The tuple's edge; never 0.
    pub edge: u64,
    /// What the ledger has to be told; 0, as it all but always is, means nothing.
    pub delta: u64,
}

impl Handover {
    /// Begins to hand on `edge`.
    #[inline]
    pub const fn of(edge: u64) -> Self {
        Self { rest: edge }
    }

    /// Takes in the edge of one more input with the same root.
    #[inline]
    pub const fn join(&mut self, edge: u64) {
        self.rest ^= edge;
    }

    /// Gives the fresh edge `fresh` to a tuple that is not the last.
    #[inline]
    pub const fn branch(&mut self, fresh: u64) -> u64 {
        self.rest ^= fresh;
        fresh
    }

    /// Gives what is left to the last tuple; `fresh` makes a fresh edge for the case that 0 is left.
    #[inline]
    pub fn last(self, fresh: impl FnOnce() -> u64) -> LastEdge {
        if self.rest != 0 {
            return LastEdge { edge: self.rest, delta: 0 };
        }
        let edge = fresh();
        LastEdge { edge, delta: edge }
    }

    /// Ends here: the delta for the ledger, with no tuple after those that were given a fresh edge.
    #[inline]
    pub const fn end(self) -> u64 {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_s_value_stays_as_it_was() {
        let mut handover = Handover::of(0b1000);
        let given = handover.branch(0b0001) ^ handover.branch(0b0010);
        assert_eq!(handover.last(|| unreachable!()), LastEdge { edge: 0b1011, delta: 0 });
        assert_eq!(given ^ 0b1011, 0b1000);
    }

    #[test]
    fn an_edge_of_zero_is_replaced_and_the_ledger_told() {
        let mut handover = Handover::of(9);
        assert_eq!(handover.branch(9), 9);
        let last = handover.last(|| 5);
        assert_eq!(last, LastEdge { edge: 5, delta: 5 });
        // The value was 9; the live edges are 9 and 5; the delta makes the two agree.
        assert_eq!(9 ^ last.delta, 9 ^ 5);
    }

    #[test]
    fn inputs_of_one_root_join() {
        let mut handover = Handover::of(0b100);
        handover.join(0b010);
        assert_eq!(handover.last(|| unreachable!()).edge, 0b110);
    }

    #[test]
    fn without_a_last_tuple_the_ledger_hears_the_difference() {
        let mut handover = Handover::of(0b100);
        let live = handover.branch(0b001);
        assert_eq!(0b100 ^ handover.end(), live);
    }
}
