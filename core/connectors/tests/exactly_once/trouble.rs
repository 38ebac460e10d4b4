//! Where something may fail in a micro-transaction, who decides that, and what it does to the log's calls.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_core::log::LogError;
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{DEAD, OUT};

/// Where something may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The transactional id is taken over, as the topology starts.
    TakeOver,
    /// A line is fetched.
    Fetch,
    /// A line was emitted.
    Emit,
    /// A line is split.
    Split,
    /// A word is counted; its count was changed.
    Count,
    /// A spout ends a batch: its marker is about to be sent.
    Marker,
    /// A count is handed over, as its counter passes the marker.
    Flush,
    /// A change of state is appended.
    Changelog,
    /// An output is appended.
    Output,
    /// The offsets are added to the transaction.
    Offsets,
    /// The transaction is committed.
    Commit,
    /// The transaction is committed, and the answer is lost.
    Answer,
    /// A spout hears that its batch is committed.
    AfterCommit,
    /// The transaction is aborted.
    Abort,
    /// A spout goes back to what is committed.
    Cleanup,
    /// A counter is started, as at the beginning and whenever everybody goes back.
    Prepare,
}

impl Step {
    pub(crate) const ALL: [Self; 16] = [
        Self::TakeOver,
        Self::Fetch,
        Self::Emit,
        Self::Split,
        Self::Count,
        Self::Marker,
        Self::Flush,
        Self::Changelog,
        Self::Output,
        Self::Offsets,
        Self::Commit,
        Self::Answer,
        Self::AfterCommit,
        Self::Abort,
        Self::Cleanup,
        Self::Prepare,
    ];

    /// Whether it is come to in every batch.
    pub(crate) fn is_often(self) -> bool {
        !matches!(self, Self::TakeOver | Self::Fetch | Self::Abort | Self::Cleanup | Self::Prepare)
    }

    /// Whether it is come to only where something failed before.
    pub(crate) fn is_recovery(self) -> bool {
        matches!(self, Self::Abort | Self::Cleanup)
    }
}

/// Decides what fails.
type Decide = Box<dyn FnMut(Step) -> bool + Send>;

/// Makes things fail, at random or as it is told.
#[derive(Clone)]
pub(crate) struct Trouble(Arc<Mutex<Decide>>);

thread_local! {
    /// The trouble of the test on this thread, for what is handed no other way; the scheduler has one thread.
    static HERE: RefCell<Trouble> = RefCell::new(Trouble::none());
}

impl Trouble {
    pub(crate) fn none() -> Self {
        Self::new(|_| false)
    }

    pub(crate) fn new(decide: impl FnMut(Step) -> bool + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(decide))))
    }

    /// At most `faults` of all steps, each with a probability of one in `odds`.
    pub(crate) fn random(seed: u64, mut faults: u32, odds: u32) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        Self::new(move |_| {
            let fails = faults > 0 && random.random_ratio(1, odds);
            faults -= u32::from(fails);
            fails
        })
    }

    pub(crate) fn strikes(&self, step: Step) -> bool {
        (*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))(step)
    }

    /// Makes it that of the test on this thread.
    pub(crate) fn be_here(&self) {
        HERE.set(self.clone());
    }

    /// Whether what has no other way to ask fails at `step`.
    pub(crate) fn strikes_here(step: Step) -> bool {
        let here = HERE.with_borrow(Self::clone);
        here.strikes(step)
    }

    /// The judge of a log that takes a random time for each call, and fails where this strikes.
    pub(crate) fn judge(&self, seed: u64) -> impl FnMut(Call<'_>) -> Fate + Send + use<> {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x5eed);
        let (trouble, mut is_undecided) = (self.clone(), false);
        move |call| {
            let takes = Duration::from_micros(random.random_range(0..3_000));
            let fails = match call {
                Call::TakeOver(_) => {
                    is_undecided = false;
                    trouble.strikes(Step::TakeOver)
                }
                Call::Fetch(..) => trouble.strikes(Step::Fetch),
                Call::Append(to, _) if *to.topic == *OUT || *to.topic == *DEAD => {
                    trouble.strikes(Step::Output)
                }
                Call::Append(..) => trouble.strikes(Step::Changelog),
                Call::Commit(_) => trouble.strikes(Step::Offsets),
                // Asked again after its answer was lost, a log does not say that nothing is committed.
                Call::CommitTransaction if !is_undecided && trouble.strikes(Step::Commit) => true,
                Call::CommitTransaction => {
                    is_undecided = trouble.strikes(Step::Answer);
                    if is_undecided {
                        return Fate::unanswered();
                    }
                    false
                }
                Call::AbortTransaction => trouble.strikes(Step::Abort),
                Call::Flush => false,
            };
            if fails { Fate::fails() } else { Fate { takes, ..Fate::default() } }
        }
    }
}

/// What a connection to a broker has lost so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lost {
    /// Requests that never arrived.
    pub(crate) requests: u64,
    /// Answers to what was done, but for those to commits.
    pub(crate) answers: u64,
    /// Answers to commits that were done.
    pub(crate) commits: u64,
}

/// The judge of a log that is reached through a bad connection: calls are late, they or their answers are lost, and that of a
/// commit above all.
pub(crate) fn bad_connection(seed: u64, lost: Arc<Mutex<Lost>>) -> impl FnMut(Call<'_>) -> Fate + Send {
    let mut random = SmallRng::seed_from_u64(seed ^ 0xbad);
    let unheard = || Fate { error: Some(LogError::Unavailable("nobody answers".into())), ..Fate::default() };
    move |call| {
        let mut lost = lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_commit = matches!(call, Call::CommitTransaction);
        // A call that is sent in every batch meets trouble more seldom than those by which one ends.
        let odds = match call {
            Call::CommitTransaction => 3,
            Call::AbortTransaction | Call::TakeOver(_) => 6,
            Call::Append(..) | Call::Flush | Call::Commit(_) | Call::Fetch(..) => 60,
        };
        let slowness = if random.random_ratio(1, 30) { 200_000 } else { 3_000 };
        let takes = Duration::from_micros(random.random_range(0..slowness));
        let fate = match random.random_range(0..odds * 2) {
            0 => {
                lost.requests += 1;
                unheard()
            }
            1 | 2 => {
                *(if is_commit { &mut lost.commits } else { &mut lost.answers }) += 1;
                Fate::unanswered()
            }
            _ => Fate::default(),
        };
        Fate { takes, ..fate }
    }
}
