//! Everything that a user set about windows, checked once.

use super::aggregate::Aggregate;
use super::windows::Assigner;

/// What the keepers of windows go by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) assigner: Assigner,
    /// A result early after so many records of a window.
    pub(super) early_count: Option<u64>,
    /// Milliseconds of processing time between early results.
    pub(super) early_every: Option<i64>,
    /// How long behind its end a window still takes records, in milliseconds.
    pub(super) lateness: i64,
    /// The most slices, or sessions, that a key may have open.
    pub(super) max_slices: usize,
}

/// What is added: a record, or what was gathered of several elsewhere.
pub(super) struct Item<A: Aggregate> {
    /// The times of the first record and of the last.
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) records: u64,
    pub(super) content: Content<A>,
}

pub(super) enum Content<A: Aggregate> {
    Value(A::In),
    Acc(A::Acc),
}

impl<A: Aggregate> Content<A> {
    #[inline]
    pub(super) fn start(self, aggregate: &A) -> A::Acc {
        match self {
            Self::Value(value) => aggregate.start(value),
            Self::Acc(acc) => acc,
        }
    }

    #[inline]
    pub(super) fn add_to(self, aggregate: &A, acc: &mut A::Acc) {
        match self {
            Self::Value(value) => aggregate.add(acc, value),
            Self::Acc(other) => aggregate.merge(acc, &other),
        }
    }
}

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declined {
    Late,
    Refused(super::offer::Refusal),
}

/// Whether adding an item may have brought forward when the key is due next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    AsBefore,
    MayBeSooner,
}

/// The item back with why it was not taken, or what taking it means.
pub(super) type Take<A> = Result<Taken, (Declined, Item<A>)>;
