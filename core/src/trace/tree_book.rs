//! What a task that opens trees tells of them: how they ended, and which are open.
//!
//! Ends are noted where they are cold: a fail, or the ack of a traced tree. What is open is the ledger's, which its executor
//! owns; it makes a list of it when it was asked for one, and looks at a flag once per turn otherwise.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::fail::Failure;
use crate::ledger::{Ledger, RootId};
use crate::schedule::Moment;

/// Trees that failed, or were tried again, that a task remembers.
const KEPT_TREES: usize = 256;
/// Other traced trees that a task remembers.
const SAMPLED_TREES: usize = 64;
/// Open trees that are told one by one: the oldest.
const OLDEST_TREES: usize = 50;
/// Open trees are counted by age, up to each of these; the last count is of those that are older.
const AGES: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// A tree that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedTree {
    /// Its root; each attempt at a tuple has its own.
    pub root: RootId,
    /// Who opened it.
    pub component: Arc<str>,
    /// Which of its tasks, from 0.
    pub task: u32,
    /// Which attempt this was, from 1.
    pub attempt: u32,
    /// What its spout calls the tuple, where it says so.
    pub id: Option<Arc<str>>,
    /// When it was opened.
    pub opened: Moment,
    /// When it ended.
    pub ended: Moment,
    /// How.
    pub outcome: TreeOutcome,
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeOutcome {
    /// All of it is done.
    Acked,
    /// Part of it failed.
    Failed(Failure),
}

/// A tree that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTree {
    /// Its root.
    pub root: RootId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What its spout calls the tuple, where it says so.
    pub id: Option<Arc<str>>,
    /// When it was opened.
    pub opened: Moment,
}

/// The trees that one task had open when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenTrees {
    /// Who opened them.
    pub component: Arc<str>,
    /// Which of its tasks, from 0.
    pub task: u32,
    /// When that was; `None` where it has not answered yet.
    pub as_of: Option<Moment>,
    /// How many there were.
    pub count: u64,
    /// How many were at most so old, with the bound; `None` is the bound of the oldest. No tree is counted twice.
    pub by_age: Vec<(Option<Duration>, u64)>,
    /// The oldest, oldest first.
    pub oldest: Vec<OpenTree>,
}

#[derive(Debug, Default)]
struct Ends {
    sampled: VecDeque<EndedTree>,
    kept: VecDeque<EndedTree>,
}

/// What one task that owns a ledger tells of its trees.
#[derive(Debug, Default)]
pub(crate) struct TreeBook {
    ends: Mutex<Ends>,
    open: Mutex<OpenTrees>,
    asked: AtomicBool,
}

impl TreeBook {
    /// A tree ended that was traced or failed.
    #[cold]
    pub(crate) fn note(&self, tree: EndedTree) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = tree.attempt > 1 || tree.outcome != TreeOutcome::Acked;
        let (ring, most) = match is_kept {
            true => (&mut ends.kept, KEPT_TREES),
            false => (&mut ends.sampled, SAMPLED_TREES),
        };
        if ring.len() == most {
            ring.pop_front();
        }
        ring.push_back(tree);
    }

    /// The trees that it remembers.
    pub(crate) fn copy_to(&self, all: &mut Vec<EndedTree>) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(ends.sampled.iter().chain(&ends.kept).cloned());
    }

    /// Asks for a list of what is open.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Whether somebody asked.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// The list that was made last.
    pub(crate) fn open(&self) -> OpenTrees {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a list of what is open in `ledger`. `name` says what a message id stands for.
    #[cold]
    pub(crate) fn answer<M>(&self, ledger: &Ledger<M>, now: Moment, name: impl Fn(&M) -> Option<Arc<str>>) {
        self.asked.store(false, Relaxed);
        let mut by_age: Vec<(Option<Duration>, u64)> =
            AGES.into_iter().map(Some).chain([None]).map(|age| (age, 0)).collect();
        let mut all: Vec<_> = ledger.iter().collect();
        for tree in &all {
            let age = now.since(tree.opened);
            let place = AGES.iter().position(|bound| age <= *bound).unwrap_or(AGES.len());
            by_age[place].1 += 1;
        }
        let count = all.len() as u64;
        if all.len() > OLDEST_TREES {
            all.select_nth_unstable_by_key(OLDEST_TREES, |tree| (tree.opened, tree.root));
            all.truncate(OLDEST_TREES);
        }
        all.sort_by_key(|tree| (tree.opened, tree.root));
        let oldest = (all.into_iter())
            .map(|tree| {
                let id = name(tree.id);
                OpenTree { root: tree.root, attempt: tree.attempt, id, opened: tree.opened }
            })
            .collect();
        let list = OpenTrees { as_of: Some(now), count, by_age, oldest, ..OpenTrees::default() };
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = list;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fail::FailKind;

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    fn ended(number: u64, attempt: u32, outcome: TreeOutcome) -> EndedTree {
        let root = RootId::from_u64(number << 2);
        let (opened, ended) = (at(number), at(number + 1));
        EndedTree { root, component: "lines".into(), task: 0, attempt, id: None, opened, ended, outcome }
    }

    #[test]
    fn what_failed_or_was_tried_again_is_not_pushed_out_by_what_went_well() {
        let book = TreeBook::default();
        let failure =
            Failure { kind: FailKind::Retry, reason: "no".into(), component: "split".into(), attempt: 1 };
        book.note(ended(1, 1, TreeOutcome::Failed(failure)));
        book.note(ended(2, 2, TreeOutcome::Acked));
        for number in 3..10_000 {
            book.note(ended(number, 1, TreeOutcome::Acked));
        }
        let mut all = Vec::new();
        book.copy_to(&mut all);
        assert_eq!(all.len(), SAMPLED_TREES + 2);
        assert_eq!(
            all.iter().filter(|tree| tree.attempt > 1 || tree.outcome != TreeOutcome::Acked).count(),
            2
        );
        for number in 0..10_000 {
            book.note(ended(number, 2, TreeOutcome::Acked));
        }
        all.clear();
        book.copy_to(&mut all);
        assert_eq!(all.len(), SAMPLED_TREES + KEPT_TREES);
    }

    #[test]
    fn open_trees_are_counted_by_age_and_the_oldest_told() {
        let mut ledger = Ledger::new(0, 1_000);
        for second in 0..100 {
            ledger.open(second, 1, 1, at(second)).unwrap();
        }
        let book = TreeBook::default();
        book.ask();
        assert!(book.is_asked());
        book.answer(&ledger, at(99), |id| Some(format!("line {id}").into()));
        let open = book.open();
        assert!(!book.is_asked());
        assert_eq!((open.count, open.as_of), (100, Some(at(99))));
        assert_eq!(open.by_age.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 0, 1, 9, 50, 39]);
        assert_eq!(open.oldest.len(), OLDEST_TREES);
        assert!(open.oldest.is_sorted_by_key(|tree| tree.opened));
        assert_eq!(open.oldest[0].id.as_deref(), Some("line 0"));
    }
}
