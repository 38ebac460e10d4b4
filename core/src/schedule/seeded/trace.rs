//! What a seeded run did: a hash over all of it, and the last few steps for people.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::Moment;

/// How many steps a message shows.
const SHOWN: usize = 12;

/// Why a seeded run did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stall {
    /// Nothing is ready and no timer is set: the tasks wait for each other, or for something outside.
    #[error("deadlock with {trace}: all of {} wait, and no timer is set", waiting.join(", "))]
    Deadlock {
        /// The tasks' names, in the order they were spawned; `block_on` is the future given to it.
        waiting: Vec<Arc<str>>,
        /// The seed and the last steps.
        trace: String,
    },
    /// The limit of steps was reached.
    #[error("the limit of steps was reached with {trace}")]
    StepLimit {
        /// The seed and the last steps.
        trace: String,
    },
}

/// The record of a run.
#[derive(Debug)]
pub(super) struct Trace {
    seed: u64,
    steps: u64,
    /// How many steps had been taken when the current drive began.
    begun_at: u64,
    hash: u64,
    /// The latest steps: name, time, and whether the task was finished.
    latest: VecDeque<(Arc<str>, Moment, bool)>,
}

impl Trace {
    pub(super) fn new(seed: u64) -> Self {
        // FNV-1a, whose hashes stay the same from version to version.
        let hash = 0xcbf2_9ce4_8422_2325;
        Self { seed, steps: 0, begun_at: 0, hash, latest: VecDeque::with_capacity(SHOWN) }
    }

    pub(super) fn begin(&mut self) {
        self.begun_at = self.steps;
    }

    pub(super) fn step(&mut self, name: &Arc<str>, now: Moment, finished: bool) {
        self.steps += 1;
        let bytes =
            name.bytes().chain([0xff]).chain(now.as_nanos().to_le_bytes()).chain([u8::from(finished)]);
        self.hash =
            bytes.fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        if self.latest.len() == SHOWN {
            self.latest.pop_front();
        }
        self.latest.push_back((Arc::clone(name), now, finished));
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn steps_of_this_drive(&self) -> u64 {
        self.steps - self.begun_at
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for Trace {
    /// `seed 42 after 3 steps (latest: a at 0s, b at 0s, a at 1ms, finished)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} after {} steps (latest:", self.seed, self.steps)?;
        for (name, now, finished) in &self.latest {
            let end = if *finished { ", finished" } else { "" };
            write!(f, " {name} at {:?}{end};", now.since(Moment::default()))?;
        }
        f.write_str(")")
    }
}
