//! What comes behind the watermark: updated results while it is allowed for, else the late stream.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use topo::prelude::*;
use topo::testing::Seen;
use topo_core::window::{Kind, aggregate};

use crate::lab::{Lab, Trouble, Value, for_seeds, late, troubled, values};
use crate::rolling::KEY;
use crate::sorted;
use crate::windows::{by_time, is_given_once, ms, newest, sessions};

/// Values of which some come far behind the disorder that is allowed for, as many values later as `behind` says.
fn with_stragglers(seed: u64, count: u32, behind: usize) -> Vec<Timed<Value>> {
    let mut given = values(seed, count);
    for straggler in (0..given.len() * 2 / 3).step_by(7) {
        let value = given.remove(straggler);
        given.insert((straggler + behind).min(given.len()), value);
    }
    given
}

#[test]
fn every_value_is_in_its_window_or_late_and_never_both() {
    let came_late = [AtomicUsize::new(0), AtomicUsize::new(0)];
    for_seeds(12, |seed| {
        // More than may be on their way at a time, so that event time has gone on by then.
        let given = with_stragglers(seed, 120, 60);
        for (lateness, in_part) in [(0, false), (15, false), (0, true), (15, true)] {
            let trouble = if seed % 2 == 0 { Trouble::None } else { Trouble::Some };
            let seen = Seen::<Timed<Value>>::default();
            let (fired, numbers) = Lab::new(seed).run(&given, |stream| {
                let stream = troubled(stream, trouble, seed, |value| u64::from(value.2));
                let windows = stream.key_by_value(KEY).window(ms(20)).allowed_lateness(ms(lateness));
                let windows = if in_part { windows.partial() } else { windows };
                let results = windows.aggregate(aggregate::collect()).tasks(2);
                results.late().bolt("late", seen.bolt()).tasks(1);
                (*results).clone()
            });
            let late_ones = seen.tuples();
            assert_eq!(late(&numbers), late_ones.len() as u64);
            came_late[usize::from(in_part)].fetch_add(late_ones.len(), Ordering::Relaxed);
            let within = newest(&fired).into_values().flatten();
            let all = within.chain(late_ones.into_iter().map(|timed| timed.value));
            let all_given = sorted(given.iter().map(|timed| timed.value));
            assert_eq!(sorted(all), all_given, "lateness {lateness}, in part: {in_part}");
            // A window of which all came behind its end has its first result then.
            is_given_once(&fired);
            assert!(lateness > 0 || fired.iter().all(|one| one.kind != Kind::Late));
        }
    });
    assert!(
        came_late.iter().all(|late| late.load(Ordering::Relaxed) > 0),
        "{came_late:?}: nothing ever came late"
    );
}

#[test]
fn with_enough_lateness_the_last_results_are_those_of_all_values() {
    let (updates, merged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for_seeds(12, |seed| {
        let given = with_stragglers(seed, 120, 30);
        let kinds = [sliding(ms(30), ms(10)), session(ms(8))];
        for (kind, in_part) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let (fired, numbers) = Lab::new(seed).run(&given, |stream| {
                let windows = stream.key_by_value(KEY).window(kind).allowed_lateness(ms(1_000));
                let windows = if in_part { windows.partial() } else { windows };
                (*windows.aggregate(aggregate::collect()).tasks(3)).clone()
            });
            assert_eq!(late(&numbers), 0);
            updates.fetch_add(fired.iter().filter(|one| one.kind == Kind::Late).count(), Ordering::Relaxed);
            merged.fetch_add(fired.iter().filter(|one| one.replaces.len() > 1).count(), Ordering::Relaxed);
            let expected = if kind == session(ms(8)) { sessions(&given, 8) } else { by_time(&given, 30, 10) };
            let expected: BTreeMap<_, _> = expected.into_iter().map(|(at, all)| (at, sorted(all))).collect();
            let newest: BTreeMap<_, _> =
                newest(&fired).into_iter().map(|(at, all)| (at, sorted(all))).collect();
            assert_eq!(newest, expected, "{kind:?}, in part: {in_part}");
        }
    });
    assert!(updates.into_inner() > 0, "no result was ever updated");
    assert!(merged.into_inner() > 0, "no late value ever joined two sessions");
}
