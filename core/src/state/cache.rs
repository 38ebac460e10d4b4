//! How much of a store on disk is kept in memory.
//!
//! What was changed stays until the changelog has it: the disk never knows more than the changelog. The rest goes when
//! room is needed, what was used last coming last (the "clock" of Corbató, "A paging experiment with the Multics system",
//! 1968).

use std::collections::VecDeque;

/// What a slot takes beside its key, twice, and its value.
pub(super) const SLOT_BYTES: usize = 128;

/// The keys in memory in the order they are looked at when room is needed.
#[derive(Debug)]
pub(super) struct Cache<K> {
    pub(super) hand: VecDeque<K>,
    /// Bytes that all slots take.
    pub(super) used: usize,
    /// As many as they should take.
    pub(super) budget: usize,
}

impl<K> Cache<K> {
    pub(super) fn new(budget: usize) -> Self {
        Self { hand: VecDeque::new(), used: 0, budget }
    }
}
