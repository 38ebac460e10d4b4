//! Functions of the user's own with timers, against a plain computation.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use topo::prelude::*;
use topo::testing::{Seen, given_in_time};
use topo_core::schedule::Scheduler;
use topo_core::state::State;
use topo_core::window::Clock;
use topo_core::{Process, ProcessContext, Timer};

use crate::lab::{DISORDER, Lab, Trouble, Value, for_seeds, hash, late, troubled, values};
use crate::rolling::KEY;
use crate::windows::by_time;

const BUCKET: i64 = 20;

/// Counts the values of each stretch of [`BUCKET`] ms, and gives them as the stretch is over.
#[derive(Default)]
struct Buckets {
    counts: Option<State<u8, BTreeMap<i64, u64>>>,
    /// What it has panicked or failed at.
    troubled: Arc<Mutex<HashSet<(u8, i64)>>>,
    trouble: bool,
}

impl Process for Buckets {
    type Key = u8;
    type In = Value;
    type Out = (u8, i64, u64);

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.counts = Some(task.state("buckets").await?);
        Ok(())
    }

    fn process(&mut self, value: Timed<Value>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        assert!(value.at >= context.watermark().0, "a late value");
        let end = (value.at.div_euclid(BUCKET) + 1) * BUCKET;
        let counts = self.counts.as_mut().expect("it is prepared");
        counts.update(context.key(), |counts| *counts.entry(end).or_default() += 1)?;
        context.set_timer(Clock::Event, end);
        // One that is deleted is not due.
        context.set_timer(Clock::Event, end + 1);
        context.delete_timer(Clock::Event, end + 1);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        assert_eq!((timer.clock, timer.at % BUCKET, context.at()), (Clock::Event, 0, timer.at));
        let key = *context.key();
        let counts = self.counts.as_mut().expect("it is prepared");
        let count = counts.get(&key)?.and_then(|counts| counts.get(&timer.at).copied());
        context.emit((key, timer.at, count.expect("a count")));
        let number = hash(&(key, timer.at));
        let first = self.troubled.lock().unwrap_or_else(|lock| lock.into_inner()).insert((key, timer.at));
        if self.trouble && first && number.is_multiple_of(4) {
            assert!(!number.is_multiple_of(8), "the function panics, as it was told to");
            return Err(Fail::retry("not now"));
        }
        counts.update(&key, |counts| counts.remove(&timer.at))?;
        Ok(())
    }
}

#[test]
fn timers_in_event_time_give_each_stretch_once_in_trouble_and_across_restarts() {
    for_seeds(15, |seed| {
        let mut given = values(seed, 120);
        for (trouble, runs) in [(Trouble::None, 1), (Trouble::Some, 1), (Trouble::Some, 3)] {
            let (lab, mut out) = (Lab::new(seed), Vec::new());
            // Brings event time past all stretches but its own.
            given.push(Timed { at: 10_000, value: (0, 0, u32::MAX) });
            for (part, tasks) in given.chunks(given.len().div_ceil(runs)).zip([1 + seed as usize % 3, 3, 2]) {
                let troubles = Arc::<Mutex<HashSet<(u8, i64)>>>::default();
                let (some, numbers) = lab.run(part, |stream| {
                    let stream = troubled(stream, trouble, seed, |value| u64::from(value.2));
                    let buckets = stream.key_by_value(KEY).process(move || Buckets {
                        troubled: Arc::clone(&troubles),
                        trouble: trouble == Trouble::Some,
                        ..Buckets::default()
                    });
                    troubled(&buckets.name("buckets").tasks(tasks), trouble, seed, hash)
                });
                assert_eq!(late(&numbers), 0);
                out.extend(some);
            }
            given.pop();
            let expected = by_time(&given, BUCKET, BUCKET).into_iter();
            let expected: Vec<_> =
                expected.map(|((key, window), values)| (key, window.end, values.len() as u64)).collect();
            assert!(out.iter().all(|one| one.at == one.value.1));
            assert_eq!(
                crate::sorted(out.into_iter().map(|timed| timed.value)),
                expected,
                "{trouble:?}, {runs}"
            );
        }
    });
}

/// Gives a value again at its time and 100 ms.
struct Later;

impl Process for Later {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&mut self, value: Timed<u64>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        context.set_timer(Clock::Event, value.at + 100);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        context.emit(*context.key());
        Ok(())
    }
}

#[test]
fn the_end_of_event_time_calls_what_is_due_by_the_last_value_and_leaves_the_rest_to_the_next_run() {
    for_seeds(20, |seed| {
        let lab = Lab::new(seed);
        let build = |stream: &DataStream<u64>| {
            stream.key_by(|number| number).process(|| Later).name("later").tasks(1 + seed as usize % 3)
        };
        // Event time comes as far as 500 ms, less the disorder.
        let given: Vec<_> = (0..=50).map(|number| Timed { at: 10 * number as i64, value: number }).collect();
        let out = |(out, _): (Vec<Timed<u64>>, _)| crate::sorted(out.into_iter().map(|timed| timed.value));
        let due = (500 - DISORDER - 100) as u64 / 10;
        assert_eq!(out(lab.run(&given, build)), crate::sorted(0..=due));
        assert_eq!(out(lab.run(&[], build)), Vec::<u64>::new(), "nothing that came makes them due");
        let later = [Timed { at: 1_000, value: 1_000 }];
        assert_eq!(out(lab.run(&later, build)), crate::sorted(due + 1..=50));
    });
}

/// Repeats each value after a while of the machine's clock.
struct Echo(Duration);

impl Process for Echo {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&mut self, _: Timed<u64>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        context.set_timer(Clock::Processing, context.now_ms() + self.0.as_millis() as i64);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        assert!(timer.clock == Clock::Processing && timer.at <= context.now_ms());
        context.emit(*context.key());
        Ok(())
    }
}

fn ten() -> Vec<Timed<u64>> {
    (0..10).map(|number| Timed { at: 0, value: number }).collect()
}

#[test]
fn timers_in_processing_time_are_due_by_the_clock() {
    for_seeds(15, |seed| {
        let lab = Lab::new(seed);
        let topology = Topology::new("test");
        let source = topology.spout("source", given_in_time(ten(), Duration::ZERO));
        let seen = Seen::<Timed<u64>>::default();
        let echo = DataStream::of(&source).key_by(|number| number).process(|| Echo(Duration::from_secs(5)));
        echo.tasks(2).bolt("seen", seen.bolt()).tasks(1);
        lab.scheduler.block_on(async {
            let running = topology.launch(lab.scheduler.clone(), lab.config()).await.expect("it starts");
            running.finished().await;
            let begin = lab.scheduler.clock().now();
            assert!(seen.tuples().is_empty());
            lab.scheduler.sleep_until(begin.after(Duration::from_secs(4))).await;
            assert!(seen.tuples().is_empty());
            lab.scheduler.sleep_until(begin.after(Duration::from_secs(6))).await;
            running.finished().await;
            assert_eq!(
                crate::sorted(seen.tuples().into_iter().map(|timed| timed.value)),
                crate::sorted(0..10)
            );
            running.kill(Duration::from_secs(60)).await.expect("it stops");
        });
    });
}

#[test]
fn a_timer_that_came_while_nothing_ran_is_due_at_the_next_start() {
    for_seeds(15, |seed| {
        let lab = Lab::new(seed);
        let build = |tasks: usize| {
            move |stream: &DataStream<u64>| {
                let echo = stream.key_by(|number| number).process(|| Echo(Duration::from_secs(3_600)));
                echo.name("echo").tasks(tasks)
            }
        };
        assert_eq!(lab.run(&ten(), build(2)).0, []);
        let later = lab.scheduler.clock().now().after(Duration::from_secs(7_200));
        lab.scheduler.block_on(async { lab.scheduler.sleep_until(later).await });
        let (out, _) = lab.run(&[], build(3));
        assert_eq!(crate::sorted(out.into_iter().map(|timed| timed.value)), crate::sorted(0..10));
        assert_eq!(lab.run(&[], build(1)).0, [], "what was done is not done again");
    });
}

/// Fails at the timers of some keys for ever.
struct Stubborn;

impl Process for Stubborn {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&mut self, value: Timed<u64>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        context.set_timer(Clock::Event, value.at);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        context.emit(*context.key());
        match context.key() {
            3 => Err(Fail::retry("never")),
            5 => panic!("the function panics, as it was told to"),
            7 => Err(Fail::reject("no")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_timer_that_fails_for_ever_is_given_up_and_told_and_the_others_go_on() {
    for_seeds(10, |seed| {
        let mut given = ten();
        given.push(Timed { at: 1_000, value: 1_000 });
        let (out, numbers) = Lab::new(seed).run(&given, |stream| {
            stream.key_by(|number| number).process(|| Stubborn).name("stubborn").tasks(2)
        });
        let kept = [0, 1, 2, 4, 6, 8, 9];
        assert_eq!(crate::sorted(out.into_iter().map(|timed| timed.value)), kept);
        let stubborn = numbers.components.iter().find(|one| &*one.name == "stubborn").expect("its numbers");
        assert_eq!(stubborn.total(|task| task.restarted), 5);
    });
}
