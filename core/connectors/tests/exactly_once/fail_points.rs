//! A failure, or a kill, at each step of a micro-transaction, and again at each step of what follows it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::lab::{Lab, Step, Trouble, for_seeds, lines};

const STEPS: [Step; 10] = [
    Step::TakeOver,
    Step::Fetch,
    Step::Split,
    Step::Count,
    Step::Prepare,
    Step::Append,
    Step::Offsets,
    Step::Commit,
    Step::Answer,
    Step::Abort,
];

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// It fails.
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

/// Runs through `points`, one after the other; how many of them were come to.
fn run_through(seed: u64, points: &[Point]) -> usize {
    let _told = Told(points);
    let mut lab = Lab::new(seed, 2);
    lab.feed(lines(seed, 50));
    let killed = Arc::new(Notify::new());
    let left = Arc::new(std::sync::Mutex::new(points.iter().copied().collect::<VecDeque<Point>>()));
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
    lab.demand_truth(|_| false);
    points.len() - left.lock().unwrap().len()
}

fn blows() -> impl Iterator<Item = (Step, Blow)> {
    STEPS.into_iter().flat_map(|step| [(step, Blow::Fails), (step, Blow::Kills)])
}

#[test]
fn a_blow_at_any_step_leaves_the_counts_true() {
    for_seeds(3, |seed| {
        for (step, blow) in blows() {
            // What happens once in a life, and what happens in every batch.
            let is_often = !matches!(step, Step::TakeOver | Step::Fetch | Step::Prepare | Step::Abort);
            let come_to = run_through(seed, &[(step, if is_often { 1 + seed } else { 1 }, blow)]);
            // Nothing is aborted where nothing fails.
            assert!(come_to == 1 || step == Step::Abort, "{blow:?} at {step:?}");
        }
    });
}

#[test]
fn a_second_blow_at_any_step_after_the_first_leaves_the_counts_true() {
    for_seeds(1, |seed| {
        let mut both = 0;
        for (first, blow) in blows() {
            for (second, again) in blows() {
                both += usize::from(run_through(seed, &[(first, 1, blow), (second, 1, again)]) == 2);
            }
        }
        assert!(both > 250, "{both} pairs of 400 were come to");
    });
}
