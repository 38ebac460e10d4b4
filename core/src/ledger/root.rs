//! The name of one attempt at one tree, for as long as anybody may still speak of it.

use std::fmt;

use serde::{Deserialize, Serialize};

const REPEATED_SHIFT: u32 = 1;
const SLOT_SHIFT: u32 = 2;
const SLOT_BITS: u32 = 20;
const TASK_SHIFT: u32 = SLOT_SHIFT + SLOT_BITS;
const TASK_BITS: u32 = 11;
const GENERATION_SHIFT: u32 = TASK_SHIFT + TASK_BITS;
const GENERATION_BITS: u32 = 64 - GENERATION_SHIFT;

/// A root in 64 bits: generation (31), task (11), slot (20), repeated (1), trace (1), from the highest bit to the lowest.
///
/// The task names the ledger, the slot is the root's place in it, and the generation tells the root from those that had
/// the slot before. Every attempt at a tuple is a root of its own. A generation is never 0, so neither is a root; 0 is
/// [`UNTRACKED`](Self::UNTRACKED).
///
/// # What remains of the risk
///
/// A slot's generation returns after 2³¹ − 1 openings of that slot, which takes at least seven minutes at five million
/// openings a second of one and the same slot. An update is mistaken for one of a younger root only if it comes exactly
/// that much too late, while that very generation is open: one in 2³¹ for an update that outlives a whole turn.
/// Even then no tree completes too early: the stray edge is independent of the younger tree's edges, so its value stays
/// uniform. That tree would stay open instead, which its age reveals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootId(u64);

impl RootId {
    /// The root of a tuple that nobody tracks.
    pub const UNTRACKED: Self = Self(0);

    /// How many tasks can own a ledger: 2,048.
    pub const MAX_TASKS: usize = 1 << TASK_BITS;

    /// How many roots one ledger can hold open: 1,048,576.
    pub const MAX_SLOTS: usize = 1 << SLOT_BITS;

    /// The last generation; the first comes after it.
    pub(super) const MAX_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

    /// Puts a root together; the parts must be in their bounds.
    pub(super) const fn new(task: u16, slot: u32, generation: u32, repeated: bool, traced: bool) -> Self {
        debug_assert!((task as usize) < Self::MAX_TASKS && (slot as usize) < Self::MAX_SLOTS);
        debug_assert!(generation <= Self::MAX_GENERATION);
        Self(
            (generation as u64) << GENERATION_SHIFT
                | (task as u64) << TASK_SHIFT
                | (slot as u64) << SLOT_SHIFT
                | (repeated as u64) << REPEATED_SHIFT
                | traced as u64,
        )
    }

    /// The task that owns the ledger.
    pub const fn task(self) -> u16 {
        (self.0 >> TASK_SHIFT) as u16 & (Self::MAX_TASKS - 1) as u16
    }

    /// The place in the ledger.
    pub const fn slot(self) -> usize {
        (self.0 >> SLOT_SHIFT) as usize & (Self::MAX_SLOTS - 1)
    }

    /// Which opening of the slot this is, from 1; 0 belongs to no root.
    pub const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Whether the tuples of this tree record their hops.
    pub const fn traced(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether this is an attempt after the first.
    pub const fn repeated(self) -> bool {
        self.0 >> REPEATED_SHIFT & 1 == 1
    }

    /// The 64 bits.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The root of these 64 bits. Any bits will do: a ledger refuses what it did not issue.
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for RootId {
    /// `task/slot@generation`, with a `t` behind it where the root is traced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = if self.traced() { "t" } else { "" };
        write!(f, "{}/{}@{}{trace}", self.task(), self.slot(), self.generation())
    }
}

impl fmt::Debug for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootId({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_part_comes_back(
            task in 0..RootId::MAX_TASKS as u16,
            slot in 0..RootId::MAX_SLOTS as u32,
            generation in 0..=RootId::MAX_GENERATION,
            repeated: bool,
            traced: bool,
        ) {
            let root = RootId::new(task, slot, generation, repeated, traced);
            prop_assert_eq!(root.task(), task);
            prop_assert_eq!(root.slot(), slot as usize);
            prop_assert_eq!(root.generation(), generation);
            prop_assert_eq!(root.traced(), traced);
            prop_assert_eq!(root.repeated(), repeated);
            prop_assert_eq!(RootId::from_u64(root.as_u64()), root);
        }
    }

    #[test]
    fn the_parts_fill_the_word() {
        let all = RootId::new(0x7ff, 0xf_ffff, RootId::MAX_GENERATION, true, true);
        assert_eq!(all.as_u64(), u64::MAX);
        assert_eq!(RootId::new(0, 0, 0, false, false), RootId::UNTRACKED);
    }

    #[test]
    fn a_root_reads_as_task_slot_generation() {
        assert_eq!(RootId::new(3, 17, 2, false, true).to_string(), "3/17@2t");
        assert_eq!(format!("{:?}", RootId::UNTRACKED), "RootId(0/0@0)");
    }
}
