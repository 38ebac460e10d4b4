//! Windows, each kind and aggregate against the records that a window holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use topo::prelude::*;
use topo::testing::given_in_time;
use topo_core::window::{Engine, Kind, Offer, Windows, aggregate, count};
use topo_core::{ByValue, WindowResults, WindowedStream};

use crate::lab::{DISORDER, Lab, Trouble, Value, for_seeds, hash, late, troubled, values};
use crate::rolling::KEY;

pub(crate) type Windowed = WindowedStream<Value, ByValue<fn(&Value) -> u8, u8>>;
/// Finds what each window holds, from all values.
type Batch = fn(&[Timed<Value>]) -> Held;
/// What each window of each key holds.
pub(crate) type Held = BTreeMap<(u8, Window), Vec<Value>>;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Windows of `size` that begin every `every`, from first principles.
pub(crate) fn by_time(given: &[Timed<Value>], size: i64, every: i64) -> Held {
    let mut held = Held::new();
    for Timed { at, value } in given {
        for start in (at - size + 1..=*at).filter(|start| start.rem_euclid(every) == 0) {
            held.entry((value.0, Window { start, end: start + size })).or_default().push(*value);
        }
    }
    held
}

/// Sessions that end where `gap` passes without a value.
pub(crate) fn sessions(given: &[Timed<Value>], gap: i64) -> Held {
    let mut given = given.to_vec();
    given.sort_by_key(|timed| (timed.value.0, timed.at));
    let mut held = Held::new();
    let mut open: Option<(u8, Window, Vec<Value>)> = None;
    for Timed { at, value } in given {
        match &mut open {
            Some((key, window, values)) if *key == value.0 && at < window.end => {
                window.end = at + gap;
                values.push(value);
            }
            _ => {
                let next = (value.0, Window { start: at, end: at + gap }, vec![value]);
                held.extend(open.replace(next).map(|(key, window, values)| ((key, window), values)));
            }
        }
    }
    held.extend(open.map(|(key, window, values)| ((key, window), values)));
    held
}

/// The last result of each window, without those that others replaced. Each is given once, and replaces the one before.
pub(crate) fn newest<V: Clone>(fired: &[Timed<Fired<u8, V>>]) -> BTreeMap<(u8, Window), V> {
    let mut newest = BTreeMap::<_, (u32, V)>::new();
    let mut replaced = Vec::new();
    for one in fired {
        let place = newest.entry((one.key, one.window)).or_insert((one.revision, one.value.value.clone()));
        if one.revision > place.0 {
            *place = (one.revision, one.value.value.clone());
        }
        replaced.extend(one.replaces.iter().map(|window| (one.key, *window, one.revision)));
    }
    for (key, window, by) in replaced {
        if newest.get(&(key, window)).is_some_and(|(revision, _)| *revision < by) {
            newest.remove(&(key, window));
        }
    }
    newest.into_iter().map(|(place, (_, value))| (place, value)).collect()
}

pub(crate) fn is_given_once<V>(fired: &[Timed<Fired<u8, V>>]) {
    let mut names: Vec<_> = fired.iter().map(|one| (one.key, one.window, one.revision)).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a result was given twice");
}

/// `step` over each kind of windows by time gives what `batch` makes of the values in each, each once, none late, in any
/// order within the disorder, on any number of tasks, in trouble or not.
fn over_windows<V: Tuple + PartialEq + Debug>(
    seeds: u64,
    step: impl Fn(&Windowed) -> WindowResults<Value, u8, V>,
    batch: impl Fn(&[Value]) -> V,
) {
    let kinds: [(Windows, Batch); 4] = [
        (tumbling(ms(30)), |given| by_time(given, 30, 30)),
        (sliding(ms(30), ms(10)), |given| by_time(given, 30, 10)),
        (sliding(ms(25), ms(10)), |given| by_time(given, 25, 10)),
        (session(ms(4)), |given| sessions(given, 4)),
    ];
    for_seeds(seeds, |seed| {
        for (windows, held) in kinds {
            let runs = [
                (Trouble::None, 1, false),
                (Trouble::Some, 3, false),
                (Trouble::None, 2, true),
                (Trouble::Some, 2, true),
            ];
            for (trouble, tasks, in_part) in runs {
                let given = values(seed, 100);
                let (fired, numbers) = Lab::new(seed).run(&given, |stream| {
                    let stream = troubled(stream, trouble, seed, |value| u64::from(value.2));
                    let windows = stream.tasks(tasks).key_by_value(KEY).window(windows);
                    let windows = if in_part { windows.partial() } else { windows };
                    let results = step(&windows);
                    let of = |one: &Fired<u8, V>| hash(&(one.key, one.window, one.revision));
                    troubled(&results.tasks(tasks), trouble, seed, of)
                });
                assert_eq!(
                    late(&numbers),
                    0,
                    "nothing is late: {windows:?}, {tasks} tasks, {trouble:?}, in part: {in_part}"
                );
                let gathers =
                    numbers.components.iter().any(|component| component.name.starts_with("partial"));
                assert_eq!(gathers, in_part);
                is_given_once(&fired);
                assert!(fired.iter().all(|one| one.at == one.window.end - 1 && one.revision == 0));
                let expected = held(&given);
                let expected: BTreeMap<_, _> =
                    expected.into_iter().map(|(place, values)| (place, batch(&values))).collect();
                assert_eq!(
                    newest(&fired),
                    expected,
                    "{windows:?}, {tasks} tasks, {trouble:?}, in part: {in_part}"
                );
                let complete = fired.iter().filter(|one| one.kind == Kind::OnTime).count();
                assert!(complete > fired.len() / 3, "{complete} of {} complete in time", fired.len());
            }
        }
    });
}

fn numbers(values: &[Value]) -> impl Iterator<Item = i64> {
    values.iter().map(|value| value.1)
}

fn ids(values: &[Value]) -> Vec<u32> {
    crate::sorted(values.iter().map(|value| value.2))
}

#[test]
fn windows_count_and_sum() {
    over_windows(6, WindowedStream::count, |values| values.len() as u64);
    over_windows(6, |windows| windows.sum(|value| value.1), |values| numbers(values).sum::<i64>());
}

#[test]
fn windows_have_extremes_and_means() {
    over_windows(3, |windows| windows.min(|v| v.1), |values| numbers(values).min().expect("a value"));
    over_windows(3, |windows| windows.max(|v| v.1), |values| numbers(values).max().expect("a value"));
    let mean = |values: &[Value]| numbers(values).sum::<i64>() as f64 / values.len() as f64;
    over_windows(3, |windows| windows.average(|value| value.1), mean);
}

#[test]
fn windows_reduce_fold_collect_and_choose() {
    let two = |a: Value, b: Value| (a.0, a.1 + b.1, a.2.max(b.2));
    over_windows(
        3,
        |windows| windows.reduce(two),
        |values| values.iter().copied().reduce(two).expect("a value"),
    );
    over_windows(
        3,
        |windows| windows.top(3, |value| (value.1, value.2)),
        |values| {
            let mut values = values.to_vec();
            values.sort_by_key(|value| std::cmp::Reverse((value.1, value.2)));
            values.truncate(3);
            values
        },
    );
    over_windows(
        3,
        |windows| {
            windows.fold(
                BTreeSet::new(),
                |ids: &mut BTreeSet<u32>, value| _ = ids.insert(value.2),
                |ids, others| ids.extend(others),
            )
        },
        |values| values.iter().map(|value| value.2).collect(),
    );
    over_windows(
        3,
        |windows| windows.distinct(|value| value.1 / 300),
        |values| values.iter().map(|value| value.1 / 300).collect(),
    );
}

#[test]
fn windows_by_count_are_by_the_order_of_arrival() {
    for_seeds(10, |seed| {
        let given = values(seed, 100);
        for (size, every) in [(7, 7), (6, 2), (5, 3)] {
            let (fired, _) = Lab::new(seed).run(&given, |stream| {
                let windows = if size == every { count(size) } else { count_sliding(size, every) };
                let results = stream.key_by_value(KEY).window(windows).aggregate(aggregate::collect());
                (*results.tasks(1 + seed as usize % 3)).clone()
            });
            is_complete_by_count(&given, &fired, size as usize, every as usize);
        }
    });
}

/// Full windows on time, and what is left at the end of time.
fn is_complete_by_count(
    given: &[Timed<Value>],
    fired: &[Timed<Fired<u8, Vec<Value>>>],
    size: usize,
    every: usize,
) {
    for key in 0..5 {
        let mine: Vec<_> =
            given.iter().filter(|timed| timed.value.0 == key).map(|timed| timed.value.2).collect();
        let mut expected = Vec::new();
        let mut end = 0;
        while end < mine.len() {
            let kind = if end + every <= mine.len() { Kind::OnTime } else { Kind::Early };
            end += every;
            let window = &mine[end.saturating_sub(size)..end.min(mine.len())];
            expected.push((crate::sorted(window.iter().copied()), kind));
        }
        let of_key = fired.iter().filter(|one| one.key == key);
        let told: Vec<_> = of_key.map(|one| (ids(&one.value.value), one.kind)).collect();
        assert_eq!(told, expected, "key {key}, {size} every {every}");
    }
}

#[test]
fn early_results_lead_to_the_same_last_ones() {
    for_seeds(8, |seed| {
        let given = values(seed, 100);
        for windows in [tumbling(ms(50)), sliding(ms(50), ms(20)), session(ms(6))] {
            let (fired, _) = Lab::new(seed).run(&given, |stream| {
                let trigger = Trigger::watermark().early_count(2).early_every(ms(1));
                let windows = stream.key_by_value(KEY).window(windows).trigger(trigger);
                (*windows.aggregate(aggregate::collect()).tasks(2)).clone()
            });
            is_given_once(&fired);
            let held = match windows.length() {
                Some(_) if windows == tumbling(ms(50)) => by_time(&given, 50, 50),
                Some(_) => by_time(&given, 50, 20),
                None => sessions(&given, 6),
            };
            let held: BTreeMap<_, _> =
                held.into_iter().map(|(place, values)| (place, ids(&values))).collect();
            let newest: BTreeMap<_, _> =
                newest(&fired).into_iter().map(|(place, values)| (place, ids(&values))).collect();
            assert_eq!(newest, held, "{windows:?}");
            assert!(fired.iter().any(|one| one.kind == Kind::Early && one.revision > 0), "{windows:?}");
        }
    });
}

#[test]
fn the_global_window_gives_what_its_trigger_asks_for_and_the_end() {
    for_seeds(10, |seed| {
        let given = values(seed, 100);
        let (fired, _) = Lab::new(seed).run(&given, |stream| {
            let windows = stream.key_by_value(KEY).window(global());
            let windows = windows.trigger(Trigger::watermark().early_count(10));
            (*windows.aggregate(aggregate::collect()).tasks(2)).clone()
        });
        for key in 0..5 {
            let mine: Vec<_> = given.iter().filter(|timed| timed.value.0 == key).collect();
            let told: Vec<_> = fired.iter().filter(|one| one.key == key).collect();
            let lengths: BTreeSet<_> = told.iter().map(|one| one.value.value.len()).collect();
            let expected = (1..=mine.len()).filter(|count| count.is_multiple_of(10) || *count == mine.len());
            assert_eq!(lengths, expected.collect(), "key {key}");
            assert!(told.iter().all(|one| one.window == Window::ALL));
        }
    });
}

#[test]
fn windows_do_not_wait_for_a_source_that_has_fallen_silent() {
    for_seeds(10, |seed| {
        let given = values(seed, 100);
        let early: Vec<_> = vec![Timed { at: -170, value: (9, 0, 1_000) }];
        let topology = Topology::new("test");
        let quiet = topology.spout("quiet", given_in_time(early.clone(), ms(DISORDER as u64)));
        let empty = topology.spout("empty", given_in_time(Vec::<Timed<Value>>::new(), Duration::ZERO));
        let (quiet, empty) = (DataStream::of(&quiet), DataStream::of(&empty));
        let (fired, numbers) = Lab::new(seed).run_with(topology, &given, |stream| {
            let all = stream.merge(&quiet).merge(&empty);
            (*all.key_by_value(KEY).window(ms(30)).count()).clone()
        });
        let all: Vec<_> = given.iter().chain(&early).copied().collect();
        let held = by_time(&all, 30, 30);
        let expected: BTreeMap<_, _> =
            held.into_iter().map(|(place, values)| (place, values.len() as u64)).collect();
        assert_eq!(late(&numbers), 0);
        assert_eq!(newest(&fired), expected);
        let complete = fired.iter().filter(|one| one.kind == Kind::OnTime).count();
        assert!(complete > fired.len() / 3, "{complete} of {} complete in time", fired.len());
    });
}

/// A bolt written by hand that has windows: sessions of each key.
struct ByHand(Engine<u8, aggregate::Collect<Value>>);

impl Bolt for ByHand {
    type In = Timed<Value>;
    type Out = Timed<Fired<u8, Vec<Value>>>;

    async fn execute(&mut self, timed: Timed<Value>, out: &mut Emitter<Self::Out>) -> Result<(), Fail> {
        let sink = &mut |_, fired: Fired<_, _>| out.emit(Timed { at: fired.window.end - 1, value: fired });
        match self.0.add(&timed.value.0, timed.at, timed.value, sink) {
            Offer::Added => Ok(()),
            Offer::Late(_) => Err(Fail::reject("the session is over")),
            Offer::Refused(_, why) => Err(Fail::reject(why)),
        }
    }

    async fn on_watermark(&mut self, at: Watermark, out: &mut Emitter<Self::Out>) -> Result<(), Fault> {
        self.0.advance(at, &mut |_, fired| out.emit(Timed { at: fired.window.end - 1, value: fired }));
        Ok(())
    }
}

#[test]
fn a_bolt_written_by_hand_has_the_same_windows() {
    for_seeds(15, |seed| {
        let given = values(seed, 100);
        let topology = Topology::new("test");
        let (fired, _) = Lab::new(seed).run_with(topology.clone(), &given, |stream| {
            let by_hand = || {
                let sessions = Engine::new(session(ms(4)), aggregate::collect()).expect("a gap of 4 ms");
                ByHand(sessions.unacknowledged())
            };
            let bolt = topology.bolt("by-hand", by_hand).tasks(1 + seed as usize % 3);
            DataStream::of(&bolt.fields(&stream.streams()[0], |timed| &timed.value.0))
        });
        let expected: BTreeMap<_, _> =
            sessions(&given, 4).into_iter().map(|(place, values)| (place, crate::sorted(values))).collect();
        let newest: BTreeMap<_, _> =
            newest(&fired).into_iter().map(|(place, values)| (place, crate::sorted(values))).collect();
        assert_eq!(newest, expected);
    });
}

#[test]
fn what_is_complete_by_the_last_value_is_so_however_soon_the_end_comes() {
    for_seeds(40, |seed| {
        let given = values(seed, 60);
        let tasks = 1 + seed as usize % 3;
        let (fired, _) = Lab::new(seed).run(&given, |stream| {
            let windows =
                stream.repartition().map(|value| value).tasks(tasks).key_by_value(KEY).window(ms(10));
            (*windows.count().tasks(3)).clone()
        });
        let latest = given.iter().map(|timed| timed.at).max().expect("a value") - DISORDER;
        for one in &fired {
            let kind = if one.window.end <= latest { Kind::OnTime } else { Kind::Early };
            assert_eq!(one.kind, kind, "{:?} at {latest}", one.value);
        }
    });
}

#[test]
fn no_values_give_no_windows() {
    let (fired, _) = Lab::new(1)
        .run(&[], |stream: &DataStream<Value>| (*stream.key_by_value(KEY).window(ms(10)).count()).clone());
    assert_eq!(fired, []);
}
