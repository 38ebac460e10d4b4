//! The explicit truth beside the XOR: every live edge of every tree, kept in a set and compared with the ledger.
//!
//! For tests, of the ledger alone and of whole systems. It costs a hash map and an allocation per tree.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::pending::{Closed, Update};
use super::root::RootId;

/// Keeps the live edges of every tree and checks each answer of the ledger against them.
///
/// # Protocol
///
/// Whoever acts on a tree **reports first and sends second**, whether a tuple to another task or a delta to the ledger.
/// The reports of different tasks may interleave in any way, and those about one tree in any order that this leaves
/// open. Whoever owns the ledger reports each [`updated`](Self::updated) and [`failed`](Self::failed) with the ledger's
/// answer. Then everything that ever happened to a tree has been reported when its last delta arrives, and the shadow
/// can demand:
///
/// - a root is acked exactly if its set is empty and no delta is under way, not one update sooner or later;
/// - until then the ledger's value is the XOR of the set and of the deltas under way;
/// - a root that was failed, acked or never opened is late;
/// - every opening is a new root, no edge is 0, and nobody consumes an edge of an acked tree.
///
/// The set counts each edge: a consumption reported before its production leaves −1 until that comes. The first
/// disagreement is kept, with the root; [`settle`](Self::settle) gives it at the end, and also what stays open for ever.
///
/// Shared between tasks it goes into an `Arc<Mutex<Shadow>>`.
///
/// ```
/// use topo_core::ledger::{Disagreement, EdgeIds, Ledger, Shadow};
/// use topo_core::schedule::Moment;
///
/// let (mut ids, mut shadow) = (EdgeIds::new(7, 0), Shadow::default());
/// let mut ledger = Ledger::new(0, 8);
/// let edge = ids.next();
/// let root = ledger.open("message", edge, 1, Moment::default()).unwrap();
/// shadow.opened(root, edge);
///
/// shadow.consumed(root, edge);
/// assert!(matches!(shadow.settle(), Err(Disagreement::Stuck { .. })));
/// let answer = ledger.update(root, edge);
/// shadow.updated(root, edge, &answer, ledger.value(root));
/// assert_eq!(shadow.settle(), Ok(()));
/// ```
#[derive(Debug, Default)]
pub struct Shadow {
    trees: HashMap<RootId, Tree, FixedState>,
    disagreement: Option<Disagreement>,
}

/// What the shadow knows of one root. Closed ones stay, to recognise what is late and what is early.
#[derive(Debug)]
enum Tree {
    Open(Box<OpenTree>),
    Acked,
    Failed,
}

#[derive(Debug, Default)]
struct OpenTree {
    /// Productions less consumptions per edge. Invariant: no count is 0.
    edges: HashMap<u64, i64, FixedState>,
    /// The XOR of the deltas that were reported but did not reach the ledger yet.
    under_way: u64,
}

/// A step at which the ledger, or somebody who uses it, was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// A tree was acked although it was not complete.
    #[error("root {root} was acked with the edges {edges:x?} alive")]
    AckedTooEarly {
        /// The root.
        root: RootId,
        /// The edges still alive.
        edges: Vec<u64>,
    },
    /// A tree was complete and was not acked.
    #[error("root {root} is complete but was not acked")]
    NotAcked {
        /// The root.
        root: RootId,
    },
    /// The ledger's value is not the XOR of the live edges.
    #[error("root {root} has the value {found:x?} where its edges give {expected:x}")]
    WrongValue {
        /// The root.
        root: RootId,
        /// The XOR of the live edges and of the deltas under way.
        expected: u64,
        /// What the ledger holds.
        found: Option<u64>,
    },
    /// An open root was refused.
    #[error("root {root} is open but was refused")]
    OpenRootRefused {
        /// The root.
        root: RootId,
    },
    /// A closed root, or one that was never opened, was updated or failed.
    #[error("root {root} is not open but was not refused")]
    ClosedRootAccepted {
        /// The root.
        root: RootId,
    },
    /// A root was opened twice.
    #[error("root {root} was opened before")]
    RootReused {
        /// The root.
        root: RootId,
    },
    /// Somebody held an edge of a root that nobody opened.
    #[error("root {root} was never opened")]
    NeverOpened {
        /// The root.
        root: RootId,
    },
    /// An edge was 0.
    #[error("an edge of root {root} is 0")]
    ZeroEdge {
        /// The root.
        root: RootId,
    },
    /// Somebody held an edge of a tree that was already acked.
    #[error("root {root} was acked while its edge {edge:x} was alive")]
    LiveAfterAck {
        /// The root.
        root: RootId,
        /// The edge.
        edge: u64,
    },
    /// A tree was still open at the end.
    #[error(
        "root {root} was never closed; its edges are {edges:x?}, its deltas under way give {under_way:x}"
    )]
    Stuck {
        /// The root.
        root: RootId,
        /// The edges still alive; empty where a delta was lost or counted twice.
        edges: Vec<u64>,
        /// The XOR of the deltas that did not reach the ledger.
        under_way: u64,
    },
}

impl Shadow {
    /// A root was opened, and its one tuple has the edge `edge`.
    pub fn opened(&mut self, root: RootId, edge: u64) {
        if edge == 0 {
            self.disagree(Disagreement::ZeroEdge { root });
        }
        let mut tree = OpenTree::default();
        tree.count(edge, 1);
        if self.trees.insert(root, Tree::Open(Box::new(tree))).is_some() {
            self.disagree(Disagreement::RootReused { root });
        }
    }

    /// An input with the edge `consumed` was executed, and the tuples emitted for it have the edges `produced`. Where
    /// these do not XOR to zero together, the difference is a delta under way from now on.
    pub fn handed_on(&mut self, root: RootId, consumed: u64, produced: &[u64]) {
        self.consumed(root, consumed);
        produced.iter().for_each(|&edge| self.emitted(root, edge));
    }

    /// A tuple was emitted with the edge `edge`, on behalf of an input that is still in work: `edge` is a delta under way
    /// from now on.
    pub fn emitted(&mut self, root: RootId, edge: u64) {
        self.count(root, edge, 1);
    }

    /// An input with the edge `edge` was executed and nothing was emitted for it: `edge` is a delta under way.
    pub fn consumed(&mut self, root: RootId, edge: u64) {
        self.count(root, edge, -1);
    }

    fn count(&mut self, root: RootId, edge: u64, by: i64) {
        if edge == 0 {
            self.disagree(Disagreement::ZeroEdge { root });
        }
        match self.trees.get_mut(&root) {
            Some(Tree::Open(tree)) => {
                tree.count(edge, by);
                tree.under_way ^= edge;
            }
            Some(Tree::Failed) => {}
            Some(Tree::Acked) => self.disagree(Disagreement::LiveAfterAck { root, edge }),
            None => self.disagree(Disagreement::NeverOpened { root }),
        }
    }

    /// The ledger was given the delta `xor`, said `answer`, and now holds `value` for the root.
    pub fn updated<M>(&mut self, root: RootId, xor: u64, answer: &Update<M>, value: Option<u64>) {
        let Some(Tree::Open(tree)) = self.trees.get_mut(&root) else {
            if !matches!(answer, Update::Late) {
                self.disagree(Disagreement::ClosedRootAccepted { root });
            }
            return;
        };
        tree.under_way ^= xor;
        let complete = tree.edges.is_empty() && tree.under_way == 0;
        let expected = tree.value();
        match answer {
            Update::Late => self.disagree(Disagreement::OpenRootRefused { root }),
            Update::Pending if complete => self.disagree(Disagreement::NotAcked { root }),
            Update::Pending if value != Some(expected) => {
                self.disagree(Disagreement::WrongValue { root, expected, found: value });
            }
            Update::Pending => {}
            Update::Acked(_) => {
                let edges = tree.sorted_edges();
                self.trees.insert(root, Tree::Acked);
                if !complete {
                    self.disagree(Disagreement::AckedTooEarly { root, edges });
                }
            }
        }
    }

    /// The ledger was told to fail the root (or drained it), and said `answer`.
    pub fn failed<M>(&mut self, root: RootId, answer: Option<&Closed<M>>) {
        let open = matches!(self.trees.get(&root), Some(Tree::Open(_)));
        match answer {
            Some(_) if open => drop(self.trees.insert(root, Tree::Failed)),
            Some(_) => self.disagree(Disagreement::ClosedRootAccepted { root }),
            None if open => self.disagree(Disagreement::OpenRootRefused { root }),
            None => {}
        }
    }

    /// How many trees are open.
    pub fn pending(&self) -> usize {
        self.trees.values().filter(|tree| matches!(tree, Tree::Open(_))).count()
    }

    /// The first disagreement so far.
    pub fn disagreement(&self) -> Option<&Disagreement> {
        self.disagreement.as_ref()
    }

    /// The verdict when all is quiet: every tuple executed, every delta delivered.
    ///
    /// # Errors
    ///
    /// The first disagreement, or [`Disagreement::Stuck`] for a tree that is still open.
    pub fn settle(&self) -> Result<(), Disagreement> {
        if let Some(first) = &self.disagreement {
            return Err(first.clone());
        }
        let open = self.trees.iter().filter_map(|(&root, tree)| match tree {
            Tree::Open(tree) => Some((root, tree)),
            Tree::Acked | Tree::Failed => None,
        });
        match open.min_by_key(|(root, _)| *root) {
            None => Ok(()),
            Some((root, tree)) => {
                Err(Disagreement::Stuck { root, edges: tree.sorted_edges(), under_way: tree.under_way })
            }
        }
    }

    fn disagree(&mut self, disagreement: Disagreement) {
        self.disagreement.get_or_insert(disagreement);
    }
}

impl OpenTree {
    fn count(&mut self, edge: u64, by: i64) {
        let count = self.edges.entry(edge).or_insert(0);
        *count += by;
        if *count == 0 {
            self.edges.remove(&edge);
        }
    }

    /// What the ledger must hold: an edge counts where its number is odd.
    fn value(&self) -> u64 {
        let odd = self.edges.iter().filter(|(_, count)| *count % 2 != 0);
        odd.fold(self.under_way, |value, (edge, _)| value ^ edge)
    }

    fn sorted_edges(&self) -> Vec<u64> {
        let mut edges: Vec<u64> = self.edges.keys().copied().collect();
        edges.sort_unstable();
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Moment;

    const ROOT: RootId = RootId::from_u64(1 << 33);

    fn acked() -> Update<()> {
        Update::Acked(Closed { id: (), root: ROOT, attempt: 1, opened: Moment::default() })
    }

    fn opened() -> Shadow {
        let mut shadow = Shadow::default();
        shadow.opened(ROOT, 0b111);
        shadow
    }

    #[test]
    fn a_consumption_may_be_reported_before_its_production() {
        let mut shadow = opened();
        shadow.consumed(ROOT, 0b001);
        shadow.updated::<()>(ROOT, 0b001, &Update::Pending, Some(0b110));
        shadow.handed_on(ROOT, 0b111, &[0b001, 0b110]);
        shadow.consumed(ROOT, 0b110);
        shadow.updated(ROOT, 0b110, &acked(), None);
        assert_eq!(shadow.settle(), Ok(()));
        assert_eq!(shadow.pending(), 0);
    }

    #[test]
    fn deltas_may_be_joined_and_come_in_any_order() {
        let mut shadow = opened();
        shadow.handed_on(ROOT, 0b111, &[0b001, 0b010, 0b100]);
        for edge in [0b001, 0b010, 0b100] {
            shadow.consumed(ROOT, edge);
        }
        shadow.updated::<()>(ROOT, 0b101, &Update::Pending, Some(0b010));
        shadow.updated(ROOT, 0b010, &acked(), None);
        assert_eq!(shadow.settle(), Ok(()));
    }

    #[test]
    fn a_delta_that_went_missing_or_came_twice_leaves_the_tree_stuck() {
        let mut shadow = opened();
        shadow.consumed(ROOT, 0b111);
        let stuck = Err(Disagreement::Stuck { root: ROOT, edges: vec![], under_way: 0b111 });
        assert_eq!(shadow.settle(), stuck);
        shadow.handed_on(ROOT, 0b010, &[0b001, 0b011]);
        let stuck = Err(Disagreement::Stuck { root: ROOT, edges: vec![1, 2, 3], under_way: 0b111 });
        assert_eq!(shadow.settle(), stuck);
    }

    #[test]
    fn each_wrong_answer_is_named() {
        let verdict = |tell: &dyn Fn(&mut Shadow)| {
            let mut shadow = opened();
            tell(&mut shadow);
            shadow.disagreement().expect("a disagreement").to_string()
        };
        let root = "root 0/0@1";
        let closed = Closed { id: (), root: ROOT, attempt: 1, opened: Moment::default() };
        assert_eq!(
            verdict(&|shadow| shadow.updated(ROOT, 0b111, &acked(), None)),
            format!("{root} was acked with the edges [7] alive")
        );
        assert_eq!(
            verdict(&|shadow| {
                shadow.consumed(ROOT, 0b111);
                shadow.updated::<()>(ROOT, 0b111, &Update::Pending, Some(1));
            }),
            format!("{root} is complete but was not acked")
        );
        assert_eq!(
            verdict(&|shadow| shadow.updated::<()>(ROOT, 0b001, &Update::Pending, Some(7))),
            format!("{root} has the value Some(7) where its edges give 6")
        );
        assert_eq!(
            verdict(&|shadow| shadow.updated::<()>(ROOT, 1, &Update::Late, None)),
            format!("{root} is open but was refused")
        );
        assert_eq!(
            verdict(&|shadow| shadow.failed::<()>(ROOT, None)),
            format!("{root} is open but was refused")
        );
        assert_eq!(
            verdict(&|shadow| {
                shadow.failed(ROOT, Some(&closed));
                shadow.failed(ROOT, Some(&closed));
            }),
            format!("{root} is not open but was not refused")
        );
        assert_eq!(
            verdict(&|shadow| shadow.updated::<()>(RootId::UNTRACKED, 1, &Update::Pending, None)),
            "root 0/0@0 is not open but was not refused"
        );
        assert_eq!(verdict(&|shadow| shadow.consumed(RootId::UNTRACKED, 1)), "root 0/0@0 was never opened");
        assert_eq!(verdict(&|shadow| shadow.opened(ROOT, 1)), format!("{root} was opened before"));
        assert_eq!(
            verdict(&|shadow| shadow.handed_on(ROOT, 0b111, &[0, 0b111])),
            format!("an edge of {root} is 0")
        );
        assert_eq!(
            verdict(&|shadow| {
                shadow.consumed(ROOT, 0b111);
                shadow.updated(ROOT, 0b111, &acked(), None);
                shadow.consumed(ROOT, 0b111);
            }),
            format!("{root} was acked while its edge 7 was alive")
        );
    }

    #[test]
    fn what_is_reported_of_a_failed_root_is_nobody_s_business() {
        let mut shadow = opened();
        let closed = Closed { id: (), root: ROOT, attempt: 1, opened: Moment::default() };
        shadow.failed(ROOT, Some(&closed));
        shadow.handed_on(ROOT, 0b111, &[1, 6]);
        shadow.updated::<()>(ROOT, 1, &Update::Late, None);
        assert_eq!(shadow.settle(), Ok(()));
    }
}
