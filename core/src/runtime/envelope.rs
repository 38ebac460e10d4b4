//! A tuple on its way: what it carries and whose tree it belongs to.
//!
//! Nearly every tuple belongs to one tree, so an envelope holds one anchor inline. A tuple anchored to several trees
//! (the result of a join) holds [`JOINT`] as its root and, as its edge, an index into the anchors kept beside its batch.

use crate::ledger::RootId;

/// The root that stands for "several, kept beside the batch". Generation 0 is never live, so no ledger issues it; its
/// trace bit is clear.
pub(crate) const JOINT: RootId = RootId::from_u64(0xffff_fffe);

/// One edge of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) root: RootId,
    pub(crate) edge: u64,
}

impl Anchor {
    pub(crate) const UNTRACKED: Self = Self { root: RootId::UNTRACKED, edge: 0 };
}

/// A tuple and its anchor.
#[derive(Debug, Clone)]
pub(crate) struct Envelope<T> {
    pub(crate) anchor: Anchor,
    pub(crate) tuple: T,
}

/// The anchors of a batch's joint envelopes, by index.
pub(crate) type Joints = Vec<Vec<Anchor>>;

/// Calls `each` with every anchor of `anchor`, one or many; an untracked tuple has none.
pub(crate) fn for_each_anchor(anchor: Anchor, joints: &Joints, mut each: impl FnMut(Anchor)) {
    if anchor.root == JOINT {
        joints[anchor.edge as usize].iter().copied().for_each(each);
    } else if anchor.root != RootId::UNTRACKED {
        each(anchor);
    }
}
