//! Bugs planted on purpose: each must be caught by the same checks that the true engine passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::Spec;
use super::batch::{Record, batch, play};
use super::history::{World, settings, step};
use crate::time::Watermark;
use crate::window::aggregate::Aggregate;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// Windows fire a millisecond before their end.
    EndOffByOne,
    /// Records are a millisecond later than they are.
    TimeOffByOne,
    /// A late record is said to have been added.
    LateDropped,
    /// Two sessions, or slices, merged have one record less.
    MergeLosesOne,
    /// Every third merge is left out.
    MergeSkipped,
    /// A merge counts the later slice twice.
    MergeTwice,
    /// A record that is not its slice's first is left out now and then.
    AddForgotten,
    /// The outcome of a result is not noted.
    AckForgotten,
    /// A flush leaves one key out.
    FlushSkipsAKey,
    /// A restore leaves one key out.
    RestoreLosesAKey,
    /// A restart goes on at the beginning of time.
    WatermarkForgotten,
    /// What was gathered in part is combined twice.
    PartialTwice,
}

impl Bug {
    pub(super) fn time(self, at: i64) -> i64 {
        at + i64::from(self == Self::TimeOffByOne)
    }

    pub(super) fn watermark(self, to: i64) -> i64 {
        to + i64::from(self == Self::EndOffByOne)
    }

    pub(super) fn kept(self, watermark: Watermark) -> Watermark {
        if self == Self::WatermarkForgotten { Watermark::MIN } else { watermark }
    }
}

/// Collects records, as [`collect`](crate::window::aggregate::collect) does where there is no bug in it.
#[derive(Debug, Clone)]
pub(super) struct Planted {
    bug: Bug,
    /// Calls so far.
    calls: Arc<AtomicU32>,
}

impl Planted {
    pub(super) fn new(bug: Bug) -> Self {
        Self { bug, calls: Arc::default() }
    }

    fn is_third(&self) -> bool {
        (self.calls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(3)
    }
}

impl Aggregate for Planted {
    type In = u32;
    type Acc = Vec<u32>;
    type Out = Vec<u32>;

    fn start(&self, first: u32) -> Vec<u32> {
        vec![first]
    }
    fn add(&self, all: &mut Vec<u32>, next: u32) {
        if self.bug != Bug::AddForgotten || !self.is_third() {
            all.push(next);
        }
    }
    fn merge(&self, all: &mut Vec<u32>, later: &Vec<u32>) {
        match self.bug {
            Bug::MergeSkipped if self.is_third() => {}
            Bug::MergeLosesOne => all.extend(&later[1..]),
            Bug::MergeTwice => all.extend(later.iter().chain(later)),
            _ => all.extend(later),
        }
    }
    fn result(&self, all: &Vec<u32>) -> Vec<u32> {
        all.clone()
    }
}

fn drawn<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).expect("it draws").current()
}

/// Plays histories until one is caught; how many of them that took.
fn caught_in_histories(bug: Bug) -> usize {
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 0..120);
    let caught = |_: &usize| {
        let mut world = World::new(drawn(&settings(), &mut runner), bug);
        drawn(&steps, &mut runner).into_iter().any(|step| world.step(step).is_err())
    };
    (0..300).find(caught).unwrap_or_else(|| panic!("300 histories, and {bug:?} was not noticed"))
}

#[test]
fn each_bug_in_an_engine_is_caught_by_a_history() {
    for bug in [
        Bug::EndOffByOne,
        Bug::TimeOffByOne,
        Bug::LateDropped,
        Bug::MergeLosesOne,
        Bug::MergeSkipped,
        Bug::MergeTwice,
        Bug::AddForgotten,
        Bug::AckForgotten,
        Bug::FlushSkipsAKey,
        Bug::RestoreLosesAKey,
        Bug::WatermarkForgotten,
    ] {
        let histories = caught_in_histories(bug);
        println!("{bug:?}: caught in history {histories}");
    }
}

#[test]
fn what_is_combined_twice_or_not_is_caught_by_the_plain_computation() {
    let records: Vec<_> = (0..60).map(|id| Record { key: (id % 3) as u8, at: i64::from(id), id }).collect();
    let sliding = Spec::Time { size: 10, every: 2 };
    for spec in [sliding, Spec::Session { gap: 9 }] {
        for (bug, in_part) in [
            (Bug::None, true),
            (Bug::PartialTwice, true),
            (Bug::MergeTwice, true),
            (Bug::MergeSkipped, true),
            (Bug::AddForgotten, false),
        ] {
            let played = play((spec, bug), &records, 0, (2, in_part), &[(0, 0)]);
            let is_right = played.is_ok_and(|results| results == batch(spec, &records));
            assert_eq!(is_right, bug == Bug::None, "{bug:?}, {spec:?}");
        }
    }
}
