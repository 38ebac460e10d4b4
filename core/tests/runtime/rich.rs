//! Bolts that own their inputs: held, acked later and elsewhere, joined, dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use topo_core::schedule::{Clock, Scheduler, Seeded};
use topo_core::{Emitter, Fail, FailKind, Fault, Input, RichBolt, TaskContext, Topology};

use crate::lab::{Lab, SEEDS, component, config, for_seeds, total};
use crate::part::{Desk, Seen, act, note, pass, rich};

const COUNT: u64 = 40;

/// Gathers inputs and answers them together once the queue is empty, or every ten.
#[derive(Default)]
struct Gather(Vec<Input<u64>>);

impl Gather {
    fn answer(&mut self, out: &mut Emitter<u64>) {
        for input in self.0.drain(..) {
            // An emit before the ack belongs to the tree.
            out.emit_anchored(&[&input], *input);
            input.ack();
        }
    }
}

impl RichBolt for Gather {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, input: Input<u64>, out: &mut Emitter<u64>) -> Result<(), Fault> {
        self.0.push(input);
        if self.0.len() == 10 {
            self.answer(out);
        }
        Ok(())
    }

    async fn idle(&mut self, out: &mut Emitter<u64>) -> Result<(), Fault> {
        self.answer(out);
        Ok(())
    }
}

#[test]
fn inputs_are_held_and_answered_later() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("gather");
        let numbers = topology.spout("numbers", desk.source());
        let gathered = topology.rich_bolt("gather", Gather::default).tasks(2).shuffle(&numbers);
        topology.bolt("note", note(&seen)).tasks(2).shuffle(&gathered);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(seen.count() as u64, COUNT);
        assert_eq!(total(&numbers, "gather", |task| task.acked), COUNT);
    });
}

#[test]
fn inputs_are_answered_by_another_task() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 2);
        let topology = Topology::new("hand-off");
        let numbers = topology.spout("numbers", desk.source());
        let (hand, mut handed) = mpsc::unbounded_channel::<Input<u64>>();
        let off = rich(move |input: Input<u64>, _out: &mut Emitter<()>| Ok(hand.send(input)?));
        topology.rich_bolt("off", off).tasks(2).shuffle(&numbers);
        let lab = Lab::launch(seed, topology);
        let clock: Arc<Seeded> = lab.scheduler.clone();
        lab.scheduler.spawn(
            "answers",
            Box::pin(async move {
                let mut tried = Vec::new();
                while let Some(input) = handed.recv().await {
                    clock.sleep_until(clock.now().after(Duration::from_millis(3))).await;
                    match *input % 4 {
                        0 if !tried.contains(&*input) => {
                            tried.push(*input);
                            input.fail(Fail::retry("not here"));
                        }
                        1 => input.fail(Fail::reject("never")),
                        _ => input.ack(),
                    }
                }
            }),
        );
        let numbers = lab.finish();
        let ledger = desk.lock();
        assert_eq!(ledger.acked.len(), 30);
        assert_eq!(ledger.given_up.len(), 10);
        assert!(ledger.failed.iter().all(|(number, failure)| {
            let (kind, reason) =
                if number % 4 == 0 { (FailKind::Retry, "not here") } else { (FailKind::Reject, "never") };
            (failure.kind, &*failure.reason, &*failure.component) == (kind, reason, "off")
        }));
        assert_eq!(total(&numbers, "off", |task| task.failed), 20);
        assert_eq!(total(&numbers, "off", |task| task.rejected), 10);
        let last = component(&numbers, "off").tasks.iter().find_map(|task| task.last_error.clone());
        assert!(last.is_some_and(|error| ["not here", "never"].contains(&&*error.message)));
    });
}

#[test]
fn an_input_dropped_unanswered_fails() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("forgetful");
        let numbers = topology.spout("numbers", desk.source());
        let forget = rich(|input: Input<u64>, _out: &mut Emitter<()>| {
            if (*input).is_multiple_of(2) {
                input.ack();
            }
            Ok(())
        });
        topology.rich_bolt("forget", forget).shuffle(&numbers);
        Lab::launch(seed, topology).finish();
        let ledger = desk.lock();
        assert_eq!((ledger.acked.len(), ledger.failed.len()), (20, 20));
        for (number, failure) in &ledger.failed {
            assert_eq!(number % 2, 1);
            assert_eq!(failure.to_string(), "the input was dropped unanswered (in forget, attempt 1)");
        }
    });
}

/// Joins numbers that agree but for their last bit.
#[derive(Default)]
struct Join(BTreeMap<u64, Input<u64>>);

impl RichBolt for Join {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, input: Input<u64>, out: &mut Emitter<u64>) -> Result<(), Fault> {
        match self.0.remove(&(*input / 2)) {
            // A replay may come before its partner's: it takes the place of none.
            Some(other) if *other != *input => {
                out.emit_anchored(&[&other, &input], *input / 2);
                other.ack();
                input.ack();
            }
            _ => drop(self.0.insert(*input / 2, input)),
        }
        Ok(())
    }
}

#[test]
fn a_joined_tuple_belongs_to_both_trees() {
    for_seeds(SEEDS, |seed| {
        let (left, right) = (Desk::default(), Desk::default());
        (0..COUNT).for_each(|pair| {
            left.add(pair * 2);
            right.add(pair * 2 + 1);
        });
        let seen = Seen::default();
        let topology = Topology::new("join");
        let lefts = topology.spout("lefts", left.source()).tasks(2);
        let rights = topology.spout("rights", right.source());
        let joined = topology
            .rich_bolt("join", Join::default)
            .tasks(2)
            .fields_by(&lefts, |number| number / 2)
            .fields_by(&rights, |number| number / 2);
        let copied = topology.bolt("copy", pass()).tasks(2).all(&joined);
        let noted = seen.clone();
        let judge = act(move |pair: u64, _out: &mut Emitter<()>, _task: &TaskContext| {
            noted.note(pair);
            if pair.is_multiple_of(3) { Err(Fail::reject("a multiple of three")) } else { Ok(()) }
        });
        topology.bolt("judge", judge).shuffle(&copied);
        let mut config = config(seed);
        // Whoever waits for a partner holds its tree open.
        config.max_pending = 2 * COUNT as usize;
        Lab::launch_with(config, topology).finish();
        assert_eq!(seen.count() as u64, 2 * COUNT);
        for (desk, bit) in [(&left, 0), (&right, 1)] {
            let ledger = desk.lock();
            let acked: Vec<u64> = ledger.acked.keys().copied().collect();
            let kept = (0..COUNT).filter(|pair| pair % 3 != 0).map(|pair| pair * 2 + bit);
            assert_eq!(acked, kept.collect::<Vec<_>>());
            let mut failed: Vec<u64> = ledger.failed.iter().map(|(number, _)| *number).collect();
            failed.sort_unstable();
            let lost = (0..COUNT).filter(|pair| pair % 3 == 0).map(|pair| pair * 2 + bit);
            assert_eq!(failed, lost.collect::<Vec<_>>(), "each once, although two copies failed");
            assert!(ledger.failed.iter().all(|(_, failure)| &*failure.component == "judge"));
        }
    });
}

#[test]
fn joins_of_one_tree_and_joins_of_joins_come_out_even() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("diamond");
        let numbers = topology.spout("numbers", desk.source());
        let fan = act(|number: u64, out: &mut Emitter<u64>, _task: &TaskContext| {
            (0..4).for_each(|part| out.emit(number * 4 + part));
            Ok(())
        });
        let parts = topology.bolt("fan", fan).shuffle(&numbers);
        // Four parts of one tree become two, and these one.
        let pairs = topology.rich_bolt("pair", Join::default).tasks(2).fields_by(&parts, |part| part / 2);
        let wholes = topology.rich_bolt("whole", Join::default).tasks(2).fields_by(&pairs, |pair| pair / 2);
        // Then numbers are joined by twos, and those by twos.
        let twos = topology.rich_bolt("two", Join::default).fields_by(&wholes, |whole| whole / 2);
        let fours = topology.rich_bolt("four", Join::default).fields_by(&twos, |two| two / 2);
        let passed = topology.bolt("pass", pass()).tasks(2).all(&fours);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let mut config = config(seed);
        config.max_pending = COUNT as usize;
        Lab::launch_with(config, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(seen.count() as u64, COUNT / 4 * 2);
    });
}

#[test]
fn what_a_basic_bolt_does_with_a_joint_input_it_does_to_all_of_its_trees() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 4);
        let topology = Topology::new("joint");
        let numbers = topology.spout("numbers", desk.source());
        let joined = topology.rich_bolt("join", Join::default).fields_by(&numbers, |number| number / 2);
        let tried = Seen::default();
        let shaky = act(move |pair: u64, out: &mut Emitter<u64>, _task: &TaskContext| {
            (0..pair % 4).for_each(|_| out.emit(pair));
            tried.note(pair);
            match tried.all().iter().filter(|&&one| one == pair).count() {
                1 if pair.is_multiple_of(5) => panic!("{pair} is a multiple of five"),
                2 if pair.is_multiple_of(5) => Err(Fail::retry("again")),
                _ => Ok(()),
            }
        });
        let fanned = topology.bolt("shaky", shaky).shuffle(&joined);
        topology.bolt("note", note(&Seen::default())).tasks(2).shuffle(&fanned);
        let mut config = config(seed);
        config.max_pending = COUNT as usize;
        let numbers = Lab::launch_with(config, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(desk.lock().failed.len(), 16, "four pairs twice");
        assert_eq!(total(&numbers, "shaky", |task| task.failed), 8);
        assert_eq!(total(&numbers, "shaky", |task| task.restarted), 4);
    });
}

#[test]
fn a_huge_expansion_by_a_rich_bolt_is_counted_once() {
    struct Expand;
    impl RichBolt for Expand {
        type In = u64;
        type Out = u64;
        async fn execute(&mut self, input: Input<u64>, out: &mut Emitter<u64>) -> Result<(), Fault> {
            for part in 0..50 {
                out.emit_anchored(&[&input], part);
                out.ready().await;
            }
            input.ack();
            Ok(())
        }
    }
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(8, 1), Seen::default());
        let topology = Topology::new("expand");
        let numbers = topology.spout("numbers", desk.source());
        let parts = topology.rich_bolt("expand", || Expand).shuffle(&numbers);
        topology.bolt("note", note(&seen)).tasks(2).shuffle(&parts);
        Lab::launch(seed, topology).finish();
        desk.assert_all_acked(8);
        assert_eq!(seen.count(), 400);
    });
}

/// Holds all it gets until it breaks.
#[derive(Default)]
struct Hoard(Vec<Input<u64>>);

impl RichBolt for Hoard {
    type In = u64;
    type Out = ();

    async fn execute(&mut self, input: Input<u64>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        match *input {
            7 => panic!("seven is too much"),
            13 => Err("thirteen is unlucky".into()),
            _ => {
                self.0.push(input);
                Ok(())
            }
        }
    }

    async fn tick(&mut self, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.0.drain(..).for_each(Input::ack);
        Ok(())
    }
}

#[test]
fn what_a_broken_bolt_held_fails_with_what_broke_it() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(20, 1);
        let topology = Topology::new("hoard");
        let numbers = topology.spout("numbers", desk.source());
        topology.rich_bolt("hoard", Hoard::default).shuffle(&numbers).tick_every(Duration::from_secs(1));
        let numbers = Lab::launch(seed, topology).finish();
        let ledger = desk.lock();
        let reasons: BTreeMap<u64, &str> =
            ledger.failed.iter().map(|(number, failure)| (*number, &*failure.reason)).collect();
        let expected = (0..8)
            .map(|number| (number, "panicked: seven is too much"))
            .chain((8..14).map(|number| (number, "thirteen is unlucky")));
        assert_eq!(reasons, expected.collect());
        assert_eq!(ledger.acked.keys().copied().collect::<Vec<_>>(), (14..20).collect::<Vec<_>>());
        assert_eq!(total(&numbers, "hoard", |task| task.restarted), 2);
    });
}
