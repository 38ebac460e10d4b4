//! A tracked tuple is acked once or failed once, with who failed it, why, and on which attempt.

use std::sync::{Arc, Mutex};

use topo_core::{
    Delivery, Emitter, Fail, FailKind, Failure, Fault, Full, Next, Spout, SpoutEmitter, Topology, ports,
};

use crate::lab::{Lab, SEEDS, component, config, for_seeds, total};
use crate::part::{Desk, Seen, act, act_to, note, pass};

const COUNT: u64 = 40;

#[test]
fn a_retry_comes_back_as_the_next_attempt_and_a_reject_does_not() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 3);
        let topology = Topology::new("fails");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
        let tries = Arc::new(Mutex::new(vec![0; COUNT as usize]));
        let judge = act(move |number: u64, _out: &mut Emitter<()>, _task| {
            let mut tries = tries.lock().unwrap();
            tries[number as usize] += 1;
            match number % 4 {
                0 => Ok(()),
                1 if tries[number as usize] == 2 => Ok(()),
                1 => Err(Fail::retry("not yet")),
                2 => Err(Fail::reject(format_args!("{number} is no good"))),
                _ => Err("x".parse::<u64>().unwrap_err().into()),
            }
        });
        topology.bolt("judge", judge).tasks(2).shuffle(&passed);
        let numbers = Lab::launch(seed, topology).finish();
        let ledger = desk.lock();
        for number in 0..COUNT {
            let fails: Vec<&Failure> =
                ledger.failed.iter().filter(|(one, _)| *one == number).map(|(_, failure)| failure).collect();
            assert!(fails.iter().all(|failure| &*failure.component == "judge"));
            let fails: Vec<(FailKind, &str, u32)> =
                fails.iter().map(|failure| (failure.kind, &*failure.reason, failure.attempt)).collect();
            let acked = ledger.acked.contains_key(&number);
            match number % 4 {
                0 => assert!(acked && fails.is_empty()),
                1 => assert!(acked && fails == [(FailKind::Retry, "not yet", 1)]),
                2 => {
                    let reason = format!("{number} is no good");
                    assert!(!acked && fails == [(FailKind::Reject, &*reason, 1)]);
                }
                _ => {
                    let reason = "invalid digit found in string";
                    assert!(!acked);
                    assert_eq!(fails, [1, 2, 3].map(|attempt| (FailKind::Retry, reason, attempt)));
                }
            }
        }
        let spout = component(&numbers, "numbers");
        assert_eq!(spout.total(|task| task.emitted), 10 + 20 + 10 + 30);
        assert_eq!(spout.total(|task| task.acked), 20);
        assert_eq!(spout.total(|task| task.failed), 10 + 10 + 30);
        assert_eq!(spout.total(|task| task.rejected), 10);
        assert_eq!(total(&numbers, "judge", |task| task.rejected), 10);
        assert_eq!(spout.latency(|task| &task.complete).count(), 20);
    });
}

ports! {
    /// Two streams to take back from.
    struct Halves {
        low: u64,
        high: u64,
    }
}

#[test]
fn what_a_failed_execute_emitted_is_taken_back() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 2), Seen::default());
        let topology = Topology::new("taken-back");
        let numbers = topology.spout("numbers", desk.source());
        let failed = Seen::default();
        let noted = failed.clone();
        let fan = act_to::<u64, Halves, _>(move |number, out, _task| {
            (0..3).for_each(|_| out.low.emit(number));
            out.high.emit(number);
            if number % 3 == 0 && !noted.all().contains(&number) {
                noted.note(number);
                return Err(Fail::retry("the first time"));
            }
            Ok(())
        });
        let halves = topology.bolt("fan", fan).shuffle(&numbers);
        topology.bolt("note", note(&seen)).tasks(2).shuffle(&halves.low).shuffle(&halves.high);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(failed.count(), 14);
        assert_eq!(seen.count(), 4 * COUNT as usize, "each number four times, not once more");
        assert_eq!(total(&numbers, "fan", |task| task.emitted), 4 * COUNT);
    });
}

#[test]
fn a_tree_over_many_tuples_is_acked_once_all_of_them_are() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("deep");
        let numbers = topology.spout("numbers", desk.source()).tasks(2);
        let fan = |times: u64| {
            act(move |number: u64, out: &mut Emitter<u64>, _task| {
                // Some end here, some go on as one, some as many.
                (0..number % times).for_each(|_| out.emit(number));
                Ok(())
            })
        };
        let first = topology.bolt("first", fan(5)).tasks(3).shuffle(&numbers);
        let second = topology.bolt("second", fan(7)).tasks(2).all(&first);
        topology.bolt("last", note(&seen)).tasks(3).fields(&second, |number| number);
        Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        let expected: u64 = (0..COUNT).map(|number| (number % 5) * 2 * (number % 7)).sum();
        assert_eq!(seen.count() as u64, expected);
    });
}

/// Emits in bursts past the bound, and keeps what is handed back.
struct Greedy {
    desk: Desk,
    refused: Option<(u64, u32)>,
    fulls: Seen<usize>,
}

impl Spout for Greedy {
    type Out = u64;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        while let Some((number, attempt)) = self.refused.take().or_else(|| self.desk.take()) {
            let room = out.room();
            if let Err(Full((number, tuple))) = out.replay(number, attempt, number) {
                assert_eq!((room, number), (0, tuple));
                self.fulls.note(1);
                self.refused = Some((number, attempt));
                return Ok(Next::Emitted);
            }
            assert_eq!(out.room(), room - 1);
        }
        Ok(self.desk.rest())
    }

    fn ack(&mut self, number: u64) {
        self.desk.ack(number);
    }

    fn fail(&mut self, number: u64, failure: &Failure) {
        self.desk.fail(number, failure);
    }
}

#[test]
fn max_pending_is_enforced_in_emit() {
    for_seeds(SEEDS, |seed| {
        let (desk, fulls) = (Desk::new(200, 1), Seen::default());
        let topology = Topology::new("greedy");
        let (greedy, noted) = (desk.clone(), fulls.clone());
        let numbers = topology
            .spout("numbers", move || Greedy { desk: greedy.clone(), refused: None, fulls: noted.clone() })
            .max_pending(7);
        topology.bolt("end", note(&Seen::default())).shuffle(&numbers);
        Lab::launch(seed, topology).finish();
        desk.assert_all_acked(200);
        assert!(fulls.count() > 0);
        // The refused one was taken from the desk and is not open.
        assert!((7..=8).contains(&desk.lock().most_open), "{} were open", desk.lock().most_open);
    });
}

#[test]
fn a_spout_task_keeps_to_its_max_pending_alone() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(200, 1);
        let topology = Topology::new("bounded");
        let numbers = topology.spout("numbers", desk.source()).tasks(3);
        topology.bolt("end", note(&Seen::default())).shuffle(&numbers);
        let mut config = config(seed);
        config.max_pending = 2;
        Lab::launch_with(config, topology).finish();
        desk.assert_all_acked(200);
        assert!(desk.lock().most_open <= 6);
    });
}

#[test]
fn at_most_once_acks_at_once_and_hears_of_no_fail() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("at-most-once");
        let numbers = topology.spout("numbers", desk.source());
        let noted = seen.clone();
        let odd = act(move |number: u64, out: &mut Emitter<u64>, _task| {
            out.emit(number);
            assert!(number % 5 != 4, "{number} is a multiple of five less one");
            if number % 2 == 1 { Err(Fail::retry("odd")) } else { Ok(()) }
        });
        let even = topology.bolt("odd", odd).shuffle(&numbers);
        topology.bolt("note", note(&noted)).shuffle(&even);
        let mut config = config(seed);
        config.delivery = Delivery::AtMostOnce;
        let numbers = Lab::launch_with(config, topology).finish();
        desk.assert_all_acked(COUNT);
        let kept: Vec<(u32, u64)> = (0..COUNT).filter(|n| n % 2 == 0 && n % 5 != 4).map(|n| (0, n)).collect();
        assert_eq!(seen.sorted(), kept, "what failed was taken back");
        assert!(!numbers.acked_delivery);
        assert_eq!(total(&numbers, "numbers", |task| task.acked), COUNT);
        assert_eq!(total(&numbers, "odd", |task| task.failed), COUNT - kept.len() as u64);
    });
}

/// Opens one tree over several tuples, over none, and emits one that nobody tracks.
struct Groups {
    groups: Vec<u64>,
    acked: Seen<u64>,
}

impl Spout for Groups {
    type Out = Halves;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<Halves, u64>) -> Result<Next, Fault> {
        let Some(size) = self.groups.pop() else { return Ok(Next::Finished) };
        out.untracked().high.emit(1_000);
        out.track(size, 1, |out| {
            (0..size).for_each(|number| out.low.emit(number));
            out.high.emit_unanchored(2_000);
        })?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, size: u64) {
        self.acked.note(size);
    }
}

#[test]
fn a_spout_may_open_one_tree_over_many_tuples_or_none() {
    for_seeds(SEEDS, |seed| {
        let (acked, low, high) = (Seen::default(), Seen::default(), Seen::default());
        let topology = Topology::new("groups");
        let heard = acked.clone();
        let groups =
            topology.spout("groups", move || Groups { groups: vec![3, 0, 9, 1], acked: heard.clone() });
        topology.bolt("low", note(&low)).tasks(2).shuffle(&groups.low);
        topology.bolt("high", note(&high)).shuffle(&groups.high);
        Lab::launch(seed, topology).finish();
        assert_eq!(acked.sorted(), [0, 1, 3, 9]);
        assert_eq!((low.count(), high.count()), (13, 8));
    });
}
