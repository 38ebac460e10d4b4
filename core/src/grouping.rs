//! How a subscription picks the tasks that a tuple goes to.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

/// The tasks picked for one tuple, numbered from 0 within the subscribing component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// One task.
    One(usize),
    /// Each of these tasks gets a copy; none at all drops the tuple, acknowledged.
    Several(Vec<usize>),
    /// Every task gets a copy.
    All,
}

/// Picks the tasks that each tuple of a stream goes to. Each emitting task owns a clone.
///
/// Implement it for a grouping of your own and pass it to `custom`; closures `Fn(&T, usize) -> Targets` are groupings.
pub trait Grouping<T>: Clone + Send + 'static {
    /// Told once, before the first tuple: which of `emitters` emitting tasks this is, and how many tasks subscribe.
    fn prepare(&mut self, _emitter: usize, _emitters: usize, _tasks: usize) {}

    /// Picks among `tasks` tasks. A task that does not exist rejects the tuple.
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets;

    /// Whether, where there is one task, every tuple goes to it: whole batches are then handed over unlooked at.
    #[doc(hidden)]
    fn is_total(&self) -> bool {
        false
    }
}

impl<T, F: FnMut(&T, usize) -> Targets + Clone + Send + 'static> Grouping<T> for F {
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        self(tuple, tasks)
    }
}

/// Deals tuples out in turn, so that every task gets as many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shuffle {
    next: usize,
}

impl<T> Grouping<T> for Shuffle {
    // Emitters start at different tasks, so that many slow emitters do not all begin with task 0.
    fn prepare(&mut self, emitter: usize, _emitters: usize, tasks: usize) {
        self.next = emitter % tasks;
    }

    #[inline]
    fn pick(&mut self, _tuple: &T, tasks: usize) -> Targets {
        let task = self.next;
        self.next = if task + 1 == tasks { 0 } else { task + 1 };
        Targets::One(task)
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// Task n of the emitting component to task n of the subscribing one where both have as many, else a shuffle.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalOrShuffle {
    partner: Option<usize>,
    shuffle: Shuffle,
}

impl<T> Grouping<T> for LocalOrShuffle {
    fn prepare(&mut self, emitter: usize, emitters: usize, tasks: usize) {
        self.partner = (emitters == tasks).then_some(emitter);
        Grouping::<T>::prepare(&mut self.shuffle, emitter, emitters, tasks);
    }

    #[inline]
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        match self.partner {
            Some(partner) => Targets::One(partner),
            None => self.shuffle.pick(tuple, tasks),
        }
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// A fixed hash, so that every emitter sends a key to the same task.
fn hasher(seed: u64) -> FixedState {
    FixedState::with_seed(seed)
}

/// Maps a hash to one of `tasks` by its high bits, without a division (Lemire, "Fast random integer generation", 2019).
#[inline]
fn scale(hash: u64, tasks: usize) -> usize {
    ((u128::from(hash) * tasks as u128) >> 64) as usize
}

/// Tuples with equal keys go to the same task.
#[derive(Debug, Clone)]
pub(crate) struct Fields<F> {
    key: F,
    hasher: FixedState,
}

impl<F> Fields<F> {
    pub(crate) fn new(key: F) -> Self {
        Self { key, hasher: hasher(0x746f_706f) }
    }
}

impl<T, K: Hash + ?Sized, F: Fn(&T) -> &K + Clone + Send + 'static> Grouping<T> for Fields<F> {
    #[inline]
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        Targets::One(scale(self.hasher.hash_one((self.key)(tuple)), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// As [`Fields`], for keys that are computed rather than borrowed from the tuple.
#[derive(Debug, Clone)]
pub(crate) struct FieldsBy<F>(Fields<F>);

impl<F> FieldsBy<F> {
    pub(crate) fn new(key: F) -> Self {
        Self(Fields::new(key))
    }
}

impl<T, K: Hash, F: Fn(&T) -> K + Clone + Send + 'static> Grouping<T> for FieldsBy<F> {
    #[inline]
    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        Targets::One(scale(self.0.hasher.hash_one((self.0.key)(tuple)), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// Each key may go to two tasks, and goes to the one that this emitter has sent less to, so that a heavy key is shared
/// (Nasir et al., "The Power of Both Choices", ICDE 2015).
#[derive(Debug, Clone)]
pub(crate) struct PartialKey<F> {
    key: F,
    first: FixedState,
    second: FixedState,
    sent: Vec<u64>,
}

impl<F> PartialKey<F> {
    pub(crate) fn new(key: F) -> Self {
        Self { key, first: hasher(0x746f_706f), second: hasher(0x6f70_6f74), sent: Vec::new() }
    }
}

impl<T, K: Hash + ?Sized, F: Fn(&T) -> &K + Clone + Send + 'static> Grouping<T> for PartialKey<F> {
    fn prepare(&mut self, _emitter: usize, _emitters: usize, tasks: usize) {
        self.sent = vec![0; tasks];
    }

    fn pick(&mut self, tuple: &T, tasks: usize) -> Targets {
        let key = (self.key)(tuple);
        let one = scale(self.first.hash_one(key), tasks);
        let other = scale(self.second.hash_one(key), tasks);
        let task = if self.sent[other] < self.sent[one] { other } else { one };
        self.sent[task] += 1;
        Targets::One(task)
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// Every task gets a copy.
#[derive(Debug, Clone)]
pub(crate) struct All;

impl<T> Grouping<T> for All {
    fn pick(&mut self, _tuple: &T, _tasks: usize) -> Targets {
        Targets::All
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// Everything goes to the lowest task.
#[derive(Debug, Clone)]
pub(crate) struct Global;

impl<T> Grouping<T> for Global {
    #[inline]
    fn pick(&mut self, _tuple: &T, _tasks: usize) -> Targets {
        Targets::One(0)
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// A tuple whose emitter names the task that gets it: what a stream read by direct grouping carries.
///
/// Declaring the stream as `Direct<T>` is what makes it direct, so that reading it any other way, or reading an ordinary
/// stream by direct grouping, does not compile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct<T> {
    /// The task, numbered from 0 within the subscribing component.
    pub task: u32,
    /// What it gets.
    pub tuple: T,
}

impl<T> Direct<T> {
    /// Sends `tuple` to task `task`.
    pub fn to(task: u32, tuple: T) -> Self {
        Self { task, tuple }
    }
}

/// Each tuple goes where it says.
#[derive(Debug, Clone)]
pub(crate) struct Directed;

impl<T> Grouping<Direct<T>> for Directed {
    #[inline]
    fn pick(&mut self, tuple: &Direct<T>, _tasks: usize) -> Targets {
        Targets::One(tuple.task as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks<G: Grouping<u32>>(
        mut grouping: G,
        tasks: usize,
        tuples: impl Iterator<Item = u32>,
    ) -> Vec<usize> {
        grouping.prepare(0, 1, tasks);
        tuples
            .map(|tuple| match grouping.pick(&tuple, tasks) {
                Targets::One(task) => task,
                other => panic!("picked {other:?}"),
            })
            .collect()
    }

    fn key(tuple: &u32) -> &u32 {
        tuple
    }

    #[test]
    fn a_shuffle_gives_every_task_as_many() {
        let picked = picks(Shuffle::default(), 3, 0..9);
        assert_eq!(picked, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn fields_keep_keys_together_and_spread_them() {
        let picked = picks(Fields::new(key), 4, (0..4_000).chain(0..4_000));
        assert_eq!(picked[..4_000], picked[4_000..]);
        for task in 0..4 {
            let share = picked.iter().filter(|&&one| one == task).count();
            assert!((1_600..2_400).contains(&share), "task {task} got {share} of 8000");
        }
    }

    #[test]
    fn computed_and_borrowed_keys_go_to_the_same_task() {
        assert_eq!(picks(Fields::new(key), 7, 0..100), picks(FieldsBy::new(|tuple: &u32| *tuple), 7, 0..100));
    }

    #[test]
    fn a_partial_key_shares_one_heavy_key_between_two_tasks() {
        let heavy = (0..100).find(|&k| {
            let picked = picks(PartialKey::new(key), 4, std::iter::repeat_n(k, 100));
            picked.iter().any(|&task| task != picked[0])
        });
        let picked =
            picks(PartialKey::new(key), 4, std::iter::repeat_n(heavy.expect("a key with two choices"), 100));
        let first = picked.iter().filter(|&&task| task == picked[0]).count();
        assert_eq!(first, 50);
    }

    #[test]
    fn local_or_shuffle_joins_equals_one_to_one() {
        let mut grouping = LocalOrShuffle::default();
        Grouping::<u32>::prepare(&mut grouping, 2, 4, 4);
        assert_eq!(grouping.pick(&1, 4), Targets::One(2));
        Grouping::<u32>::prepare(&mut grouping, 0, 2, 3);
        assert_ne!(grouping.pick(&1, 3), grouping.pick(&1, 3));
    }
}
