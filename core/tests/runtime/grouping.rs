//! Every grouping delivers every tuple to the tasks that it stands for, and to no other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use topo_core::metrics::TopologySnapshot;
use topo_core::{BoltHandle, Direct, Emitter, FailKind, Stream, Targets, TaskContext, Topology, ports};

use crate::lab::{Lab, SEEDS, for_seeds, total};
use crate::part::{Desk, Seen, act, act_to, note, pass};

const COUNT: u64 = 60;

/// Sends numbers through two tasks of a bolt, and on to four by `subscribe`; gives what each task got.
fn delivered(
    seed: u64,
    subscribe: impl Fn(BoltHandle<u64, ()>, &Stream<u64>) -> BoltHandle<u64, ()>,
) -> Vec<(u32, u64)> {
    let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
    let topology = Topology::new("grouping");
    let numbers = topology.spout("numbers", desk.source());
    let passed = topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
    subscribe(topology.bolt("note", note(&seen)).tasks(4), &passed);
    Lab::launch(seed, topology).finish();
    desk.assert_all_acked(COUNT);
    seen.sorted()
}

fn numbers_of(seen: &[(u32, u64)]) -> Vec<u64> {
    let mut numbers: Vec<u64> = seen.iter().map(|&(_, number)| number).collect();
    numbers.sort_unstable();
    numbers
}

fn share_of(seen: &[(u32, u64)], task: u32) -> usize {
    seen.iter().filter(|&&(one, _)| one == task).count()
}

#[test]
fn a_shuffle_gives_every_task_as_many() {
    for_seeds(SEEDS, |seed| {
        let seen = delivered(seed, |bolt, stream| bolt.shuffle(stream));
        assert_eq!(numbers_of(&seen), (0..COUNT).collect::<Vec<_>>());
        // Each of the two emitters deals its thirty out in turn.
        (0..4).for_each(|task| assert!((14..=16).contains(&share_of(&seen, task)), "{seen:?}"));
    });
}

#[test]
fn fields_send_equal_keys_to_one_task() {
    fn last_digit(number: &u64) -> &u64 {
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9][(number % 10) as usize]
    }
    for_seeds(SEEDS, |seed| {
        let borrowed = delivered(seed, |bolt, stream| bolt.fields(stream, last_digit));
        let computed = delivered(seed, |bolt, stream| bolt.fields_by(stream, |number| number % 10));
        assert_eq!(numbers_of(&borrowed), (0..COUNT).collect::<Vec<_>>());
        let tasks: BTreeSet<(u64, u32)> = borrowed.iter().map(|&(task, n)| (n % 10, task)).collect();
        assert_eq!(tasks.len(), 10, "each key has one task: {tasks:?}");
        assert_eq!(borrowed, computed);
    });
}

#[test]
fn a_partial_key_uses_at_most_two_tasks_per_key_and_shares_heavy_ones() {
    for_seeds(SEEDS, |seed| {
        let seen = delivered(seed, |bolt, stream| {
            bolt.partial_key(stream, |number| &[0, 1, 2][(number % 3) as usize])
        });
        assert_eq!(numbers_of(&seen), (0..COUNT).collect::<Vec<_>>());
        let mut tasks: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        for &(task, number) in &seen {
            tasks.entry(number % 3).or_default().insert(task);
        }
        assert!(tasks.values().all(|tasks| tasks.len() <= 2), "{tasks:?}");
        assert!(tasks.values().any(|tasks| tasks.len() == 2), "no key was shared: {tasks:?}");
    });
}

#[test]
fn all_sends_a_copy_to_each_task_in_one_tree() {
    for_seeds(SEEDS, |seed| {
        let seen = delivered(seed, |bolt, stream| bolt.all(stream));
        let expected: Vec<(u32, u64)> =
            (0..4).flat_map(|task| (0..COUNT).map(move |number| (task, number))).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn global_sends_everything_to_task_0() {
    for_seeds(SEEDS, |seed| {
        let seen = delivered(seed, |bolt, stream| bolt.global(stream));
        assert_eq!(seen, (0..COUNT).map(|number| (0, number)).collect::<Vec<_>>());
    });
}

#[test]
fn local_or_shuffle_joins_equals_one_to_one_and_deals_out_between_others() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("local");
        let numbers = topology.spout("numbers", desk.source());
        let tag = act(|number: u64, out: &mut Emitter<u64>, task: &TaskContext| {
            out.emit(number * 10 + u64::from(task.task()));
            Ok(())
        });
        let tagged = topology.bolt("tag", tag).tasks(3).shuffle(&numbers);
        topology.bolt("equal", note(&seen)).tasks(3).local_or_shuffle(&tagged);
        let others = Seen::default();
        topology.bolt("other", note(&others)).tasks(2).local_or_shuffle(&tagged);
        Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert!(seen.all().iter().all(|&(task, tagged)| u64::from(task) == tagged % 10), "{seen:?}");
        assert_eq!(numbers_of(&seen.all()).len(), COUNT as usize);
        (0..2).for_each(|task| assert!((27..=33).contains(&share_of(&others.all(), task))));
    });
}

fn direct(seed: u64, tasks: u64) -> (Desk, Vec<(u32, u64)>, TopologySnapshot) {
    let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
    let topology = Topology::new("direct");
    let numbers = topology.spout("numbers", desk.source());
    let address = act(move |number: u64, out: &mut Emitter<Direct<u64>>, _task| {
        out.emit(Direct::to((number % tasks) as u32, number));
        Ok(())
    });
    let addressed = topology.bolt("address", address).tasks(2).shuffle(&numbers);
    topology.bolt("note", note(&seen)).tasks(3).direct(&addressed);
    let numbers = Lab::launch(seed, topology).finish();
    (desk, seen.sorted(), numbers)
}

#[test]
fn direct_sends_where_the_emitter_says() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen, _) = direct(seed, 3);
        desk.assert_all_acked(COUNT);
        assert_eq!(numbers_of(&seen), (0..COUNT).collect::<Vec<_>>());
        assert!(seen.iter().all(|&(task, number)| u64::from(task) == number % 3));
    });
}

#[test]
fn a_tuple_for_an_absent_task_is_rejected_and_the_others_arrive() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen, numbers) = direct(seed, 4);
        assert_eq!(numbers_of(&seen), (0..COUNT).filter(|number| number % 4 < 3).collect::<Vec<_>>());
        let ledger = desk.lock();
        assert_eq!((ledger.acked.len(), ledger.failed.len()), (45, 15));
        for (number, failure) in &ledger.failed {
            assert_eq!((number % 4, failure.kind, &*failure.component), (3, FailKind::Reject, "address"));
            assert!(failure.reason.contains("task 3 of a component with 3 tasks"), "{failure}");
        }
        let spout =
            |counter: fn(&topo_core::metrics::TaskSnapshot) -> u64| total(&numbers, "numbers", counter);
        assert_eq!((spout(|task| task.failed), spout(|task| task.rejected)), (15, 15));
    });
}

#[test]
fn a_spouts_tuple_for_an_absent_task_fails_once() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(8, 1), Seen::default());
        let topology = Topology::new("absent");
        let numbers = topology.spout("numbers", desk.source());
        topology
            .bolt("note", note(&seen))
            .custom(&numbers, |number: &u64, _tasks: usize| Targets::One((number % 2) as usize));
        let numbers = Lab::launch(seed, topology).finish();
        assert_eq!(desk.lock().failed.len(), 4);
        assert_eq!(total(&numbers, "numbers", |task| task.emitted), 8);
        assert_eq!(total(&numbers, "numbers", |task| task.failed), 4);
        assert_eq!(total(&numbers, "numbers", |task| task.acked), 4);
    });
}

#[test]
fn a_custom_grouping_may_pick_none_several_or_all() {
    for_seeds(SEEDS, |seed| {
        let seen = delivered(seed, |bolt, stream| {
            bolt.custom(stream, |number: &u64, tasks: usize| match number % 4 {
                0 => Targets::Several(Vec::new()),
                1 => Targets::One(tasks - 1),
                2 => Targets::Several(vec![0, 2]),
                _ => Targets::All,
            })
        });
        let expected: BTreeSet<(u32, u64)> = (0..COUNT)
            .flat_map(|number| {
                let tasks: &[u32] = [&[][..], &[3], &[0, 2], &[0, 1, 2, 3]][(number % 4) as usize];
                tasks.iter().map(move |&task| (task, number))
            })
            .collect();
        assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
    });
}

#[test]
fn every_subscriber_of_a_stream_gets_everything() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("several");
        let numbers = topology.spout("numbers", desk.source()).tasks(2);
        let seen: Vec<Seen<(u32, u64)>> = (0..3).map(|_| Seen::default()).collect();
        topology.bolt("a", note(&seen[0])).tasks(2).shuffle(&numbers);
        topology.bolt("b", note(&seen[1])).all(&numbers);
        // The same stream twice is two subscriptions.
        topology.bolt("c", note(&seen[2])).shuffle(&numbers).shuffle(&numbers);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        let counts: Vec<usize> = seen.iter().map(Seen::count).collect();
        assert_eq!(counts, [60, 60, 120]);
        assert_eq!(total(&numbers, "numbers", |task| task.emitted), COUNT);
        assert_eq!(total(&numbers, "numbers", |task| task.transferred), 4 * COUNT);
    });
}

#[test]
fn a_bolts_stream_that_nobody_reads_ends_there() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("unread");
        let numbers = topology.spout("numbers", desk.source());
        topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(total(&numbers, "pass", |task| task.emitted), COUNT);
        assert_eq!(total(&numbers, "pass", |task| task.transferred), 0);
    });
}

ports! {
    /// Numbers by parity, and all of them as text.
    struct Sorted {
        even: u64,
        odd: u64,
        text: String,
    }
}

/// What a bolt takes that reads two streams of different types.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Either {
    Number(u64),
    Text(String),
}

impl From<u64> for Either {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Either {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[test]
fn ports_keep_streams_apart_and_two_types_come_together_in_one_input() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("ports");
        let numbers = topology.spout("numbers", desk.source());
        let sort = act_to::<u64, Sorted, _>(|number, out, _task| {
            out.text.emit(number.to_string());
            if number % 2 == 0 {
                out.even.emit(number)
            } else {
                out.odd.emit(number)
            }
            Ok(())
        });
        let sorted = topology.bolt("sort", sort).tasks(2).shuffle(&numbers);
        let (even, both) = (Seen::default(), Seen::default());
        topology.bolt("even", note(&even)).shuffle(&sorted.even);
        let noted = both.clone();
        let collect = act(move |either: Either, _out: &mut Emitter<()>, _task| {
            noted.note(either);
            Ok(())
        });
        topology
            .bolt("both", collect)
            .tasks(2)
            .shuffle(&sorted.odd)
            .fields(&sorted.text, |text| text.as_str());
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(numbers_of(&even.all()), (0..COUNT).filter(|n| n % 2 == 0).collect::<Vec<_>>());
        let odd = (0..COUNT).filter(|n| n % 2 == 1).map(Either::Number);
        let mut expected: Vec<Either> = odd.chain((0..COUNT).map(|n| Either::Text(n.to_string()))).collect();
        expected.sort();
        assert_eq!(both.sorted(), expected);
        let edges: Vec<(&str, &str)> = numbers.edges.iter().map(|edge| (&*edge.stream, &*edge.to)).collect();
        assert_eq!(edges, [("default", "sort"), ("even", "even"), ("odd", "both"), ("text", "both")]);
        assert_eq!(total(&numbers, "sort", |task| task.emitted), 2 * COUNT);
    });
}
