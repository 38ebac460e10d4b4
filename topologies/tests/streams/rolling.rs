//! Aggregates that roll, each against the values of a key so far.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use topo::prelude::*;
use topo_core::window::aggregate;
use topo_core::{ByValue, KeyedStream};

use crate::lab::{Lab, Trouble, Value, for_seeds, troubled, values};
use crate::sorted;

type Keyed = KeyedStream<Value, ByValue<fn(&Value) -> u8, u8>>;

/// The key of a value.
pub(crate) const KEY: fn(&Value) -> u8 = |value| value.0;

/// The values of each key, in their order.
fn by_key(values: &[Timed<Value>]) -> BTreeMap<u8, Vec<Value>> {
    let mut keys = BTreeMap::<u8, Vec<Value>>::new();
    values.iter().for_each(|timed| keys.entry(timed.value.0).or_default().push(timed.value));
    keys
}

/// What came out, by key, in its order.
fn out_by_key<V>(out: Vec<Timed<(u8, V)>>) -> BTreeMap<u8, Vec<V>> {
    let mut keys = BTreeMap::<u8, Vec<V>>::new();
    out.into_iter().for_each(|timed| keys.entry(timed.value.0).or_default().push(timed.value.1));
    keys
}

/// `step` gives, for each value, what `batch` makes of the values of its key so far; in trouble, the last is still right.
fn rolls<V: Tuple + PartialEq + std::fmt::Debug>(
    step: impl Fn(&Keyed) -> DataStream<(u8, V)>,
    batch: impl Fn(&[Value]) -> V,
) {
    for_seeds(8, |seed| {
        let given = values(seed, 120);
        for (trouble, tasks) in [(Trouble::None, 1), (Trouble::None, 3), (Trouble::Some, 2)] {
            let (out, _) = Lab::new(seed).run(&given, |stream| {
                let stream = troubled(stream, trouble, seed, |value| u64::from(value.2));
                step(&stream.key_by_value(KEY)).tasks(tasks)
            });
            let out = out_by_key(out);
            for (key, values) in by_key(&given) {
                let rolled = &out[&key];
                assert_eq!(rolled.len(), values.len(), "one result for each value");
                if trouble == Trouble::None {
                    let scan: Vec<V> = (1..=values.len()).map(|end| batch(&values[..end])).collect();
                    assert_eq!(rolled, &scan, "{tasks} tasks, key {key}");
                }
                assert_eq!(rolled.last(), Some(&batch(&values)), "{tasks} tasks, key {key}");
            }
        }
    });
}

fn numbers(values: &[Value]) -> impl Iterator<Item = i64> {
    values.iter().map(|value| value.1)
}

#[test]
fn counts_roll() {
    rolls(KeyedStream::count, |values| values.len() as u64);
}

#[test]
fn sums_roll() {
    rolls(|keyed| keyed.sum(|value| value.1), |values| numbers(values).sum::<i64>());
}

#[test]
fn extremes_and_means_roll() {
    rolls(|keyed| keyed.min(|value| value.1), |values| numbers(values).min().expect("a value"));
    rolls(|keyed| keyed.max(|value| value.1), |values| numbers(values).max().expect("a value"));
    let mean = |values: &[Value]| numbers(values).sum::<i64>() as f64 / values.len() as f64;
    rolls(|keyed| keyed.average(|value| value.1), mean);
}

#[test]
fn functions_of_the_users_roll() {
    // The order of values must not tell, since trouble changes it.
    rolls(
        |keyed| keyed.reduce(|a, b| (a.0, a.1 + b.1, a.2.max(b.2))),
        |values| (values[0].0, numbers(values).sum(), values.iter().map(|value| value.2).max().unwrap_or(0)),
    );
    rolls(
        |keyed| keyed.fold(7, |sum: &mut i64, value| *sum += value.1 / 2),
        |values| 7 + numbers(values).map(|number| number / 2).sum::<i64>(),
    );
    rolls(
        |keyed| keyed.aggregate((aggregate::count(), aggregate::max(|value: &Value| value.2))),
        |values| (values.len() as u64, values.iter().map(|value| value.2).max().unwrap_or(0)),
    );
}

#[test]
fn the_largest_roll() {
    rolls(
        |keyed| keyed.top(3, |value| (value.1, value.2)),
        |values| {
            let mut values = values.to_vec();
            values.sort_by_key(|value| std::cmp::Reverse((value.1, value.2)));
            values.truncate(3);
            values
        },
    );
    // Numbers that compare in part have extremes as well.
    let half = |value: &Value| value.1 as f64 / 2.0;
    let of = |values: &[Value], better: fn(f64, f64) -> f64| values.iter().map(half).reduce(better);
    rolls(move |keyed| keyed.min(half), move |values| of(values, f64::min).expect("a value"));
    rolls(move |keyed| keyed.max(half), move |values| of(values, f64::max).expect("a value"));
}

#[test]
fn the_first_of_each_key_is_distinct() {
    for_seeds(20, |seed| {
        let given = values(seed, 100);
        let (out, _) = Lab::new(seed).run(&given, |stream| {
            stream.key_by_value(|value| value.1 / 100).distinct().tasks(1 + seed as usize % 3)
        });
        let mut known = HashSet::new();
        let first = given.iter().filter(|timed| known.insert(timed.value.1 / 100));
        assert_eq!(sorted(out.into_iter().map(|timed| timed.value)), sorted(first.map(|timed| timed.value)));
    });
}

#[test]
fn each_key_passes_once_whatever_fails_behind_and_in_whichever_run_it_comes() {
    for_seeds(20, |seed| {
        let (given, lab) = (values(seed, 120), Lab::new(seed));
        let mut out = Vec::new();
        for (part, tasks) in given.chunks(40).zip([1 + seed as usize % 3, 3, 2]) {
            let (some, _) = lab.run(part, |stream| {
                let stream = troubled(stream, Trouble::Some, seed, |value| u64::from(value.2));
                let first = stream.key_by_value(|value| value.1 / 100).distinct().name("first").tasks(tasks);
                troubled(&first, Trouble::Some, seed, |value| u64::from(value.2))
            });
            out.extend(some.into_iter().map(|timed| timed.value.1 / 100));
        }
        let known: BTreeSet<_> = given.iter().map(|timed| timed.value.1 / 100).collect();
        assert_eq!(sorted(out), sorted(known));
    });
}

#[test]
fn nothing_comes_of_nothing() {
    let (out, _) = Lab::new(1).run(&[], |stream: &DataStream<Value>| stream.key_by_value(KEY).count());
    assert_eq!(out, []);
}
