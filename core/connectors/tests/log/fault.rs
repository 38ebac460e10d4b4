//! A bolt that panics on some records, hangs on some, and fails some for ever: a thousand panics in one run, and every
//! record ends where it belongs.

use std::collections::BTreeMap;
use std::time::Duration;

use topo_core::metrics::{TaskSnapshot, TopologySnapshot};
use topo_core::schedule::Moment;
use topo_core::{Bolt, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};

use crate::lab::{Answer, DEAD, IN, Lab, OUT, for_seeds, now, text};
use crate::retry::headers;

const RECORDS: usize = 2_000;
/// What one step of any task costs: the scheduler's turns are the time that everybody shares.
const STEP: Duration = Duration::from_millis(1);

/// What ends a record, by its number: 750 panic once and 50 always, 10 hang once and 5 always, 60 always fail, 40 are
/// rejected. Those that always break are tried five times: 1,000 panics, 35 hangs, 300 fails.
fn answer(value: &str, times: usize) -> Answer {
    let number: usize = value.split_once('/').map_or(0, |(_, number)| number.parse().unwrap());
    match number % 400 {
        0..150 if times == 1 => Answer::Panic,
        150..160 => Answer::Panic,
        160..162 if times == 1 => Answer::Hang,
        162 => Answer::Hang,
        163..175 => Answer::Retry,
        175..183 => Answer::Reject,
        _ => Answer::Ok,
    }
}

/// Where a record has to be found, and why, if it is dead: the reason and its kind.
fn verdict(number: usize) -> Option<(&'static str, &'static str)> {
    match number % 400 {
        150..160 => Some(("panicked: ", "exhausted")),
        162 => Some(("was still executing it after 1s", "exhausted")),
        163..175 => Some(("not yet", "exhausted")),
        175..183 => Some(("never", "rejected")),
        _ => None,
    }
}

/// Counts, without an end.
struct Beats(u64);

impl Spout for Beats {
    type Out = u64;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        out.emit_with(self.0, self.0)?;
        self.0 += 1;
        Ok(Next::Emitted)
    }
}

/// Hands its number on.
struct Pass;

impl Bolt for Pass {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        out.emit(number);
        Ok(())
    }
}

/// Two bolts that have nothing to do with the one that breaks but the scheduler.
fn others(topology: &Topology) {
    let beats = topology.spout("beats", || Beats(0));
    let passed = topology.bolt("other", || Pass).shuffle(&beats);
    topology.bolt("another", || Pass).shuffle(&passed);
}

fn lab(seed: u64) -> Lab {
    let mut lab = Lab::new(seed, 1);
    lab.scheduler.set_step_cost(STEP);
    lab.setup.work_tasks = 4;
    lab.setup.runtime.execute_timeout = Some(Duration::from_secs(1));
    lab.setup.runtime.witness = false;
    lab.beside(others);
    lab
}

fn total(numbers: &TopologySnapshot, name: &str, counter: fn(&TaskSnapshot) -> u64) -> u64 {
    numbers.components.iter().find(|one| &*one.name == name).unwrap().total(counter)
}

/// What the others executed for each turn of the scheduler since the launch.
fn rate(lab: &Lab, launched: Moment) -> f64 {
    let numbers = lab.running().snapshot();
    let executed = ["other", "another"].map(|name| total(&numbers, name, |task| task.executed));
    let turns = now(lab).since(launched).as_nanos() / STEP.as_nanos();
    executed.iter().sum::<u64>() as f64 / turns as f64
}

/// The same topology, as busy, on records that are all good.
fn rate_without_faults(seed: u64) -> f64 {
    let mut lab = lab(seed);
    lab.feed_all(1, 30_000);
    lab.launch();
    let launched = now(&lab);
    lab.pass(Duration::from_secs(10));
    assert!(lab.values(OUT).len() < 30_000, "it ran out of records");
    rate(&lab, launched)
}

/// The rate of the others is not timed but counted: what they execute for each turn of the seeded scheduler, on which all
/// tasks share one thread and every turn costs the same, against a run of the same topology at full load without faults.
/// The broken bolt rests more than a healthy one works, so theirs is higher. It shows that a bolt that breaks takes no turns
/// from others, by spinning or by restarting, and holds no queue of theirs; it says nothing of what
/// unwinding a panic costs a processor.
#[test]
fn a_thousand_panics_and_hangs_and_fails_for_ever_cost_nobody_else_anything_and_lose_nothing() {
    for_seeds(1, |seed| {
        let mut lab = lab(seed);
        lab.feed_all(1, RECORDS);
        lab.answer(answer);
        lab.launch();
        let launched = now(&lab);
        lab.finish();
        let (faulty, healthy) = (rate(&lab, launched), rate_without_faults(seed));
        println!("others executed {faulty:.3} tuples a turn beside the faults, {healthy:.3} without");
        assert!(faulty >= healthy * 0.95, "{faulty} is not 95% of {healthy}");
        let (rejected, exhausted) = (lab.progress.rejected(), lab.progress.exhausted());
        let numbers = lab.stop();

        assert_eq!(total(&numbers, "work", |task| task.restarted), 1_000 + 35, "panics and hangs");
        assert_eq!(total(&numbers, "work", |task| task.timed_out), 35);
        let spout = |counter: fn(&TaskSnapshot) -> u64| total(&numbers, IN, counter);
        assert_eq!(spout(|task| task.timed_out), 35);
        assert_eq!(spout(|task| task.failed), 1_000 + 35 + 300 + 40);
        assert_eq!(spout(|task| task.emitted), spout(|task| task.acked) + spout(|task| task.failed));
        assert_eq!((rejected, exhausted), (40, 50 + 5 + 60));
        assert_eq!(RECORDS as u64, spout(|task| task.acked) + rejected + exhausted);
        assert!(numbers.components.iter().all(|one| one.total(|task| task.pending) == 0));

        // Each record once: in the output, or in the dead letters with its reason.
        let dead: BTreeMap<String, BTreeMap<String, String>> =
            lab.log.records(DEAD, 0).iter().map(|record| (text(record), headers(record))).collect();
        let out = lab.values(OUT);
        assert_eq!((out.len(), lab.values(DEAD).len()), (RECORDS - dead.len(), dead.len()));
        let out: std::collections::BTreeSet<String> = out.into_iter().collect();
        for number in 0..RECORDS {
            let value = format!("0/{number}");
            let Some((reason, kind)) = verdict(number) else {
                assert!(out.contains(&value), "{value} is not in the output");
                continue;
            };
            let headers = &dead[&value];
            assert!(headers["topo.reason"].contains(reason), "{value}: {}", headers["topo.reason"]);
            let attempt = if kind == "rejected" { "1" } else { "5" };
            let expected = [("kind", kind), ("component", "work"), ("attempt", attempt)];
            assert!(expected.iter().all(|(key, value)| headers[&format!("topo.{key}")] == *value));
        }
    });
}
