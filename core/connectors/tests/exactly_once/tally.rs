//! What came of many runs.

use std::fmt;
use std::ops::AddAssign;

/// How much was run, and what was missing or there too often among what was committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    /// Batches that were committed, as far as the topology heard of it before it was killed.
    pub(crate) batches: u64,
    /// How often a topology took back what was not committed.
    pub(crate) aborts: u64,
    /// How often one was killed.
    pub(crate) kills: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.batches += other.batches;
        self.aborts += other.aborts;
        self.kills += other.kills;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, batches, aborts, kills, lost, duplicated } = self;
        write!(
            f,
            "{runs} runs, {batches} batches, {aborts} aborts, {kills} kills, {lost} lost, {duplicated} duplicated"
        )
    }
}
