//! A failure, or a kill, at each step of a micro-transaction, and again at each step of what follows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use topo_tests::seeds::for_seeds;

use crate::lab::{Lab, lines};
use crate::tally::Tally;
use crate::trouble::{Step, Trouble};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// It fails, so that its batch is aborted.
    Fails,
    /// The process is killed there.
    Kills,
}

/// A step, which time after the point before it, and what happens then.
type Point = (Step, u64, Blow);

/// Says, where the test fails, what it had come to.
struct Told<'a>(&'a [Point]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {:?}", self.0);
        }
    }
}

/// Runs through `points`, one after the other; how many of them were come to, and what was run.
fn run_through(seed: u64, points: &[Point]) -> (usize, Tally) {
    let _told = Told(points);
    let mut lab = Lab::new(seed, 2);
    lab.feed(lines(seed, 30));
    let killed = Arc::new(Notify::new());
    let left = Arc::new(Mutex::new(points.iter().copied().collect::<VecDeque<Point>>()));
    let (kill, mut times) = (Arc::clone(&killed), 0);
    let to_come = Arc::clone(&left);
    let trouble = Trouble::new(move |step| {
        let mut left = to_come.lock().unwrap();
        let Some(&(at, nth, blow)) = left.front().filter(|point| point.0 == step) else { return false };
        times += 1;
        if times < nth {
            return false;
        }
        times = 0;
        left.pop_front();
        if blow == Blow::Kills {
            kill.notify_one();
        }
        // What is killed as the answer is awaited has committed.
        blow == Blow::Fails || at == Step::Answer
    });
    lab.trouble(seed, &trouble);
    lab.launch();
    loop {
        let is_over = lab.block_on(async {
            tokio::select! {
                biased;
                () = killed.notified() => false,
                () = lab.committed_all() => true,
            }
        });
        if is_over {
            break;
        }
        lab.crash();
        lab.launch();
    }
    lab.stop();
    let tally = lab.demand_truth(|_| false);
    (points.len() - left.lock().unwrap().len(), tally)
}

fn blows() -> impl Iterator<Item = (Step, Blow)> {
    Step::ALL.into_iter().flat_map(|step| [(step, Blow::Fails), (step, Blow::Kills)])
}

#[test]
fn a_blow_at_any_step_leaves_the_counts_true() {
    let mut all = Tally::default();
    for_seeds(3, |seed| {
        for (step, blow) in blows().filter(|(step, _)| !step.is_recovery()) {
            // There are no fewer batches.
            let nth = if step.is_often() { 1 + seed % 2 } else { 1 };
            let (come_to, tally) = run_through(seed, &[(step, nth, blow)]);
            assert_eq!(come_to, 1, "{blow:?} at {step:?}");
            all += tally;
        }
    });
    eprintln!("a blow at each step: {all}");
}

#[test]
fn a_second_blow_at_any_step_after_the_first_leaves_the_counts_true() {
    let (mut all, mut both, mut pairs) = (Tally::default(), 0, 0);
    for_seeds(1, |seed| {
        for (first, blow) in blows().filter(|(step, _)| !step.is_recovery()) {
            for (second, again) in blows() {
                let nth = if first.is_often() { 1 + seed % 2 } else { 1 };
                let (come_to, tally) = run_through(seed, &[(first, nth, blow), (second, 1, again)]);
                (pairs, both) = (pairs + 1, both + usize::from(come_to == 2));
                all += tally;
            }
        }
    });
    eprintln!("two blows: {all}; the second was come to in {both} of {pairs}");
    // A kill leaves nothing to be taken back, and nothing is taken over where nothing was killed.
    assert!(both * 10 > pairs * 7, "{both} pairs of {pairs} were come to");
}

#[test]
fn a_blow_as_a_batch_is_taken_back_leaves_the_counts_true() {
    let (mut all, mut third) = (Tally::default(), 0);
    for_seeds(1, |seed| {
        for (step, again) in blows().filter(|(step, _)| step.is_recovery()) {
            for (after, last) in blows() {
                let points = [(Step::Output, 2, Blow::Fails), (step, 1, again), (after, 1, last)];
                let (come_to, tally) = run_through(seed, &points);
                assert!(come_to >= 2, "{again:?} at {step:?}");
                third += usize::from(come_to == 3);
                all += tally;
            }
        }
    });
    eprintln!("a blow as a batch is taken back, and another: {all}");
    assert!(third > 0, "nothing was come to behind it");
}
