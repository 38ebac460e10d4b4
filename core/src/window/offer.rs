//! What became of a record that an engine was offered.

use thiserror::Error;

/// What became of a record; one that was not taken is given back, so that nothing is lost unsaid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a record that was not taken is in here"]
pub enum Offer<V> {
    /// It is in every window that covers it and is still open.
    Added,
    /// All its windows are complete, and the allowed lateness is over.
    Late(V),
    /// It cannot be taken, ever.
    Refused(V, Refusal),
}

/// Why a record cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The key has as many slices or sessions open as it may, and this would be one more.
    #[error(
        "the key has too many windows open: mend its records' times, or raise the bound on slices per key"
    )]
    Full,
    /// A partial aggregate for windows by count, which need the records one by one.
    #[error("windows by count take no partial aggregates: send them the records")]
    Counted,
    /// A partial aggregate over more than one slice: it was made for other windows.
    #[error("a partial aggregate spans several slices: make it for the same windows as it is sent to")]
    Split,
}
