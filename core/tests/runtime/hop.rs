//! Where a traced tuple went, waited, and what became of it.

use std::time::Duration;

use topo_core::trace::{Hop, HopOutcome};
use topo_core::{Bolt, Emitter, Fail, Fault, Input, TaskContext, Topology, ports};

use crate::lab::{Lab, SEEDS, config, for_seeds};
use crate::part::{Desk, Seen, act, act_to, note, pass, rich};

fn value(hop: &Hop) -> u64 {
    rmp_serde::from_slice(&hop.value).unwrap()
}

/// Takes ten milliseconds for each tuple, and emits it twice.
struct Slow(Option<TaskContext>);

impl Bolt for Slow {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.0 = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        self.0.as_ref().unwrap().sleep(Duration::from_millis(10)).await;
        out.emit(number);
        out.emit(number);
        Ok(())
    }
}

#[test]
fn hops_say_where_a_tuple_waited_and_what_it_was() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(20, 2);
        let topology = Topology::new("waits");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).shuffle(&numbers);
        let slowed = topology.bolt("slow", || Slow(None)).shuffle(&passed);
        let tried = Seen::default();
        let judge = act(move |number: u64, _out: &mut Emitter<()>, _task: &TaskContext| {
            tried.note(number);
            // The nineteenth comes back, and waits behind others then.
            match tried.all().iter().filter(|&&one| one == number).count() {
                1 if number == 18 => Err(Fail::retry("again")),
                _ => Ok(()),
            }
        });
        topology.bolt("judge", judge).shuffle(&slowed);
        let mut config = config(seed);
        config.queue_tuples = 64;
        let lab = Lab::launch_with(config, topology);
        lab.block_on(lab.running.finished());
        desk.assert_all_acked(20);
        let hops = lab.running.hops();
        let roots: Vec<_> = hops.iter().map(|hop| hop.root).collect();
        assert!(roots.is_sorted() && roots.iter().all(|root| root.traced()));

        // The first of all is traced, and so is the second attempt at the nineteenth; nothing else.
        let numbers: std::collections::BTreeSet<u64> = hops.iter().map(value).collect();
        assert_eq!(numbers, [0, 18].into());
        let of = |number: u64| hops.iter().filter(move |hop| value(hop) == number).collect::<Vec<_>>();
        for number in [0, 18] {
            let path: Vec<(&str, HopOutcome)> =
                of(number).iter().map(|hop| (&*hop.component, hop.outcome.clone())).collect();
            let done = |emitted| HopOutcome::Done { emitted };
            let expected = [("pass", done(1)), ("slow", done(2)), ("judge", done(0)), ("judge", done(0))];
            assert_eq!(path, expected, "the way of {number}");
        }
        let slow = of(18)[1];
        assert_eq!(slow.executed, Duration::from_millis(10));
        let (first, last) = (of(0)[1], of(18)[1]);
        assert_eq!(first.waited(), Duration::ZERO);
        assert!(last.waited() <= Duration::from_millis(20), "{:?}", last.waited());
        lab.stop();
    });
}

#[test]
fn a_tuple_that_waits_behind_others_shows_how_long() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(16, 2);
        let topology = Topology::new("behind");
        let numbers = topology.spout("numbers", desk.source());
        let tried = Seen::default();
        // All fail at first, so that all second attempts are traced and come together.
        let fail = act(move |number: u64, out: &mut Emitter<u64>, _task: &TaskContext| {
            let again = tried.all().contains(&number);
            tried.note(number);
            out.emit(number);
            if again { Ok(()) } else { Err(Fail::retry("the first time")) }
        });
        let failed = topology.bolt("fail", fail).shuffle(&numbers);
        topology.bolt("slow", || Slow(None)).shuffle(&failed);
        let mut config = config(seed);
        config.queue_tuples = 64;
        let lab = Lab::launch_with(config, topology);
        lab.block_on(lab.running.finished());
        let mut waits: Vec<u128> = lab
            .running
            .hops()
            .iter()
            .filter(|hop| &*hop.component == "slow")
            .map(|hop| hop.waited().as_millis())
            .collect();
        waits.sort_unstable();
        assert_eq!(waits.len(), 16);
        // They came in batches of four at once, ten milliseconds apiece.
        assert_eq!((waits[0], waits[15]), (0, 150), "{waits:?}");
        lab.stop();
    });
}

ports! {
    /// Two ways out.
    struct Ways {
        one: u64,
        other: u64,
    }
}

#[test]
fn every_outcome_is_noted_even_of_what_broke_its_bolt() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(1, 9);
        let topology = Topology::new("outcomes");
        let numbers = topology.spout("numbers", desk.source());
        let tried = Seen::default();
        let ways = act_to::<u64, Ways, _>(move |number, out, _task| {
            tried.note(());
            out.one.emit(number);
            out.other.emit(number);
            out.other.emit(number);
            match tried.count() {
                1 => Err(Fail::reject("no").reason().to_string().parse::<u64>().unwrap_err().into()),
                2 => panic!("broken"),
                _ => Ok(()),
            }
        });
        let ways = topology.bolt("ways", ways).shuffle(&numbers);
        let erred = Seen::default();
        let hold = rich(move |input: Input<u64>, _out: &mut Emitter<()>| {
            erred.note(());
            if erred.count() == 1 {
                return Err("not now".into());
            }
            input.ack();
            Ok(())
        });
        topology.rich_bolt("hold", hold).shuffle(&ways.one);
        topology.bolt("note", note(&Seen::default())).shuffle(&ways.other);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        desk.assert_all_acked(1);
        let hops = lab.running.hops();
        let outcomes = |name: &str| -> Vec<HopOutcome> {
            let mut own: Vec<&Hop> = hops.iter().filter(|hop| &*hop.component == name).collect();
            own.sort_by_key(|hop| (hop.started, hop.root));
            own.into_iter().map(|hop| hop.outcome.clone()).collect()
        };
        let failed = |why: &str| HopOutcome::Failed(why.into());
        let done = HopOutcome::Done { emitted: 3 };
        let expected =
            [failed("invalid digit found in string"), failed("panicked: broken"), done.clone(), done];
        assert_eq!(outcomes("ways"), expected);
        assert_eq!(outcomes("hold"), [failed("not now"), HopOutcome::Held]);
        lab.stop();
    });
}
