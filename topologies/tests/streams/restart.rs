//! Steps that go on from their state, and that go on where their functions panic.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use topo::prelude::*;
use topo_core::window::aggregate;

use crate::lab::{Lab, Value, for_seeds, late, values};
use crate::rolling::KEY;
use crate::sorted;
use crate::windows::{by_time, ms, newest, sessions};

#[test]
fn the_next_run_goes_on_with_what_rolls_on_any_number_of_tasks() {
    for_seeds(12, |seed| {
        let (given, lab) = (values(seed, 120), Lab::new(seed));
        let mut last = BTreeMap::new();
        for (part, tasks) in given.chunks(40).zip([1 + seed as usize % 3, 3, 2]) {
            let (out, _) =
                lab.run(part, |stream| stream.key_by_value(KEY).count().name("counts").tasks(tasks));
            last.extend(out.into_iter().map(|timed| timed.value));
        }
        let mut counts = BTreeMap::<u8, u64>::new();
        given.iter().for_each(|timed| *counts.entry(timed.value.0).or_default() += 1);
        assert_eq!(last, counts);
    });
}

#[test]
fn the_next_run_goes_on_with_windows_that_were_open() {
    for_seeds(12, |seed| {
        let given = values(seed, 120);
        for kind in [tumbling(ms(60)), sliding(ms(60), ms(20)), session(ms(6))] {
            let (lab, mut fired) = (Lab::new(seed), Vec::new());
            for (part, tasks) in given.chunks(40).zip([1 + seed as usize % 3, 3, 2]) {
                let (some, numbers) = lab.run(part, |stream| {
                    let windows = stream.key_by_value(KEY).window(kind);
                    let results = windows.aggregate(aggregate::collect()).name("windows").tasks(tasks);
                    (*results).clone()
                });
                assert_eq!(late(&numbers), 0, "{kind:?}");
                fired.extend(some);
            }
            let expected = match kind.length() {
                None => sessions(&given, 6),
                Some(_) if kind == tumbling(ms(60)) => by_time(&given, 60, 60),
                Some(_) => by_time(&given, 60, 20),
            };
            let expected: BTreeMap<_, _> = expected.into_iter().map(|(at, all)| (at, sorted(all))).collect();
            let newest: BTreeMap<_, _> =
                newest(&fired).into_iter().map(|(at, all)| (at, sorted(all))).collect();
            assert_eq!(newest, expected, "{kind:?}");
        }
    });
}

#[test]
fn a_function_that_panics_in_a_window_loses_and_doubles_nothing() {
    for_seeds(12, |seed| {
        let (given, in_part) = (values(seed, 120), seed % 2 == 1);
        let (fired, numbers) = Lab::new(seed).run(&given, |stream| {
            let panicked = std::sync::Arc::new(Mutex::new(HashSet::new()));
            let number = move |value: &Value| {
                let first = panicked.lock().unwrap_or_else(|lock| lock.into_inner()).insert(value.2);
                assert!(!first || !value.2.is_multiple_of(11), "the function panics, as it was told to");
                value.1
            };
            let windows = stream.key_by_value(KEY).window(sliding(ms(60), ms(20)));
            let windows = if in_part { windows.partial() } else { windows };
            (*windows.sum(number).tasks(2)).clone()
        });
        assert_eq!(late(&numbers), 0);
        let sums: BTreeMap<_, _> = by_time(&given, 60, 20)
            .into_iter()
            .map(|(at, all)| (at, all.iter().map(|value| value.1).sum::<i64>()))
            .collect();
        assert_eq!(newest(&fired), sums);
    });
}

#[test]
fn what_was_gathered_in_part_and_could_not_be_merged_comes_again_once() {
    for_seeds(12, |seed| {
        let given = values(seed, 120);
        let (fired, numbers) = Lab::new(seed).run(&given, |stream| {
            let merges = std::sync::Arc::new(AtomicU64::new(0));
            let ids = aggregate::fold(
                Vec::new(),
                |ids: &mut Vec<u32>, value: Value| ids.push(value.2),
                move |ids, others| {
                    let merge = merges.fetch_add(1, Ordering::Relaxed);
                    assert!(!merge.is_multiple_of(9), "the function panics, as it was told to");
                    ids.extend(others);
                },
            );
            let stream = stream.map(|value| value).tasks(2);
            let windows = stream.key_by_value(KEY).window(ms(60)).partial();
            (*windows.aggregate(ids).tasks(2)).clone()
        });
        assert_eq!(late(&numbers), 0);
        let ids: BTreeMap<_, _> = by_time(&given, 60, 60)
            .into_iter()
            .map(|(at, all)| (at, sorted(all.into_iter().map(|value| value.2))))
            .collect();
        let newest: BTreeMap<_, _> = newest(&fired).into_iter().map(|(at, all)| (at, sorted(all))).collect();
        assert_eq!(newest, ids);
    });
}
