//! The last result of each window against a plain computation over all records at once.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::Spec;
use super::planted::{Bug, Planted};
use crate::time::Watermark;
use crate::window::{Engine, Fired, Offer, Partials, Window};

pub(super) type Results = BTreeMap<(u8, Window), Vec<u32>>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) key: u8,
    pub(super) at: i64,
    pub(super) id: u32,
}

/// Every window with its records, from all of them at once.
pub(super) fn batch(spec: Spec, records: &[Record]) -> Results {
    let mut results = Results::new();
    match spec {
        Spec::Time { size, every } => {
            for record in records {
                for start in (record.at - size + 1..=record.at).filter(|start| start.rem_euclid(every) == 0) {
                    let window = Window { start, end: start + size };
                    results.entry((record.key, window)).or_default().push(record.id);
                }
            }
        }
        Spec::Session { gap } => {
            for key in 0..8 {
                let mut own: Vec<_> = records.iter().filter(|record| record.key == key).collect();
                own.sort_by_key(|record| record.at);
                for session in own.chunk_by(|a, b| b.at - a.at < gap) {
                    let window = Window { start: session[0].at, end: session[session.len() - 1].at + gap };
                    results.insert((key, window), session.iter().map(|record| record.id).collect());
                }
            }
        }
        Spec::Count { .. } | Spec::Global => {}
    }
    results.values_mut().for_each(|ids| ids.sort_unstable());
    results
}

/// What a sink holds that keeps the last result of each key and window.
#[derive(Default)]
struct Table(Results);

impl Table {
    fn take(&mut self, mut fired: Fired<u8, Vec<u32>>) {
        fired.replaces.iter().for_each(|window| drop(self.0.remove(&(fired.key, *window))));
        fired.value.sort_unstable();
        self.0.insert((fired.key, fired.window), fired.value);
    }
}

type Task = Engine<u8, Planted>;

/// Plays records in this order over tasks by key; all are within `disorder` of the latest so far. `schedule` says at each
/// record how far the watermark lags behind what it could be, if it moves, and whether the task is started anew.
pub(super) fn play(
    (spec, bug): (Spec, Bug),
    records: &[Record],
    disorder: i64,
    (tasks, partial): (u8, bool),
    schedule: &[(u8, i64)],
) -> Result<Results, TestCaseError> {
    let new = || -> Task { Engine::new(spec.windows(), Planted::new(bug)).unwrap() };
    let mut engines: Vec<Task> = (0..tasks).map(|_| new()).collect();
    let mut partials = Partials::new(spec.windows(), Planted::new(bug)).unwrap();
    let mut table = Table::default();
    let mut latest = i64::MIN;
    for (record, (what, lag)) in records.iter().zip(schedule.iter().cycle()) {
        latest = latest.max(record.at);
        let task = &mut engines[usize::from(record.key % tasks)];
        if partial {
            partials.add(&record.key, record.at, record.id);
        } else {
            let offer = task.add(&record.key, record.at, record.id, &mut |_, fired| table.take(fired));
            prop_assert_eq!(offer, Offer::Added, "{:?}", record);
        }
        if what % 4 == 0 {
            for partial in partials.drain() {
                let task = &mut engines[usize::from(partial.key % tasks)];
                if bug == Bug::PartialTwice {
                    let _ = task.combine(partial.clone(), &mut |_, fired| table.take(fired));
                }
                let offer = task.combine(partial, &mut |_, fired| table.take(fired));
                prop_assert_eq!(offer, Offer::Added);
            }
            for engine in &mut engines {
                engine.advance(Watermark(latest - disorder - lag), &mut |_, fired| table.take(fired));
            }
        }
        if what % 16 == 1 && !partial {
            let task = &mut engines[usize::from(record.key % tasks)];
            let (mut next, watermark) = (new(), task.watermark());
            for (key, entry) in task.iter() {
                next.restore(*key, rmp_serde::from_slice(&rmp_serde::to_vec_named(entry).unwrap()).unwrap())
                    .unwrap();
            }
            next.resume(watermark, &mut |_, fired| table.take(fired));
            *task = next;
        }
    }
    for partial in partials.drain() {
        let task = &mut engines[usize::from(partial.key % tasks)];
        let _ = task.combine(partial, &mut |_, fired| table.take(fired));
    }
    for engine in &mut engines {
        engine.advance(Watermark::MAX, &mut |_, fired| table.take(fired));
    }
    let early = table.0.clone();
    for engine in &mut engines {
        engine.advance(Watermark(i64::MAX - 1), &mut |_, fired| table.take(fired));
    }
    prop_assert_eq!(&early, &table.0, "the end of time gives other results than its coming");
    Ok(table.0)
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        (1..40i64, 1..40i64).prop_map(|(a, b)| Spec::Time { size: a.max(b), every: a.min(b) }),
        (20..60i64, 1..4i64).prop_map(|(size, every)| Spec::Time { size, every }),
        (1..40i64).prop_map(|size| Spec::Time { size, every: size }),
        (1..20i64).prop_map(|gap| Spec::Session { gap }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn neither_order_nor_watermarks_nor_tasks_tell(
        spec in spec(),
        records in prop::collection::vec((0..8u8, -150..150i64, 0..=30i64), 0..150),
        disorder in 0..=30i64,
        tasks in 1..5u8,
        partial: bool,
        schedule in prop::collection::vec((any::<u8>(), 0..40i64), 1..20),
    ) {
        let mut records: Vec<_> = records;
        // Each comes at its time and some more, up to the disorder.
        records.sort_by_key(|(_, at, more)| at + more.min(&disorder));
        let records: Vec<_> = records.iter().zip(0..).map(|((key, at, _), id)| Record { key: *key, at: *at, id }).collect();
        let results = play((spec, Bug::None), &records, disorder, (tasks, partial), &schedule)?;
        prop_assert_eq!(results, batch(spec, &records));
    }
}

/// The engine over `records`, all added before the watermark moves.
fn whole(spec: Spec, records: &[Record]) -> Results {
    let mut engine: Task = Engine::new(spec.windows(), Planted::new(Bug::None)).unwrap();
    let mut table = Table::default();
    for record in records {
        let offer = engine.add(&record.key, record.at, record.id, &mut |_, fired| table.take(fired));
        assert_eq!(offer, Offer::Added);
    }
    engine.advance(Watermark(i64::MAX - 1), &mut |_, fired| table.take(fired));
    table.0
}

#[test]
fn times_at_the_ends_of_what_can_be_written_have_their_windows() {
    let times = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];
    let records: Vec<_> = times.iter().zip(0..).map(|(at, id)| Record { key: 0, at: *at, id }).collect();
    for spec in [
        Spec::Time { size: 10, every: 10 },
        Spec::Time { size: 1 << 61, every: 1 << 61 },
        Spec::Time { size: 10, every: 3 },
        Spec::Session { gap: 1 << 61 },
        Spec::Session { gap: 1 },
    ] {
        let results = whole(spec, &records);
        let found: usize = results.values().map(Vec::len).sum();
        assert!(found >= records.len(), "{spec:?} {results:?}");
    }
}

#[test]
fn nothing_gives_nothing() {
    for spec in [Spec::Time { size: 10, every: 5 }, Spec::Session { gap: 5 }] {
        assert!(whole(spec, &[]).is_empty());
        let mut engine: Task = Engine::new(spec.windows(), Planted::new(Bug::None)).unwrap();
        // Idle: time goes on, and nothing comes.
        for at in [Watermark::MIN, Watermark(0), Watermark(0), Watermark(1 << 50), Watermark::MAX] {
            engine.advance(at, &mut |_, fired| panic!("{fired:?}"));
        }
        assert_eq!(engine.watermark(), Watermark(1 << 50));
    }
}

#[test]
fn records_of_one_time_are_all_in_its_windows() {
    let records: Vec<_> = (0..50).map(|id| Record { key: 3, at: -7, id }).collect();
    for spec in [Spec::Time { size: 10, every: 2 }, Spec::Session { gap: 1 }] {
        assert_eq!(whole(spec, &records), batch(spec, &records));
    }
}

#[test]
fn a_record_far_ahead_costs_one_slice_and_too_many_are_refused() {
    let windows = Spec::Time { size: 10, every: 10 }.windows();
    let mut engine = Engine::new(windows, Planted::new(Bug::None)).unwrap().max_slices(3);
    for far in [1i64 << 40, 1 << 50, 1 << 60] {
        assert_eq!(engine.add(&0u8, far, 0u32, &mut |_, _| ()), Offer::Added);
    }
    let refused = engine.add(&0, 5, 7, &mut |_, _| ());
    assert!(matches!(refused, Offer::Refused(7, why) if why.to_string().contains("too many")), "{refused:?}");
    assert_eq!(engine.add(&0, 1 << 40, 8, &mut |_, _| ()), Offer::Added);
    assert_eq!(engine.add(&1, 5, 9, &mut |_, _| ()), Offer::Added);
    let mut fired = vec![];
    engine.advance(Watermark(1 << 62), &mut |_, result| fired.push(result));
    assert_eq!(fired.len(), 4, "the empty windows in between are passed over");
}

#[test]
fn state_of_other_windows_is_refused() {
    let mut engine: Task =
        Engine::new(Spec::Time { size: 10, every: 10 }.windows(), Planted::new(Bug::None)).unwrap();
    let _ = engine.add(&0, 15, 0, &mut |_, _| ());
    let entry = engine.get(&0).unwrap().clone();
    for other in
        [Spec::Session { gap: 5 }, Spec::Time { size: 7, every: 7 }, Spec::Count { size: 1, every: 1 }]
    {
        let mut other: Task = Engine::new(other.windows(), Planted::new(Bug::None)).unwrap();
        assert!(other.restore(0, entry.clone()).unwrap_err().to_string().contains("other windows"));
    }
    let mut same: Task =
        Engine::new(Spec::Time { size: 10, every: 10 }.windows(), Planted::new(Bug::None)).unwrap();
    same.restore(0, entry.clone()).unwrap();
    assert!(same.restore(0, entry).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_key_that_moves_to_a_task_behind_in_time_is_late_by_its_own() {
    let windows = Spec::Time { size: 10, every: 10 }.windows();
    let new = || -> Task { Engine::new(windows, Planted::new(Bug::None)).unwrap() };
    let mut ahead = new();
    for (at, id) in [(5, 0), (25, 1)] {
        let _ = ahead.add(&0, at, id, &mut |_, _| ());
    }
    ahead.advance(Watermark(20), &mut |_, _| ());
    let mut behind = new();
    behind.advance(Watermark(3), &mut |_, _| ());
    behind.restore(0, ahead.get(&0).unwrap().clone()).unwrap();
    let mut fired = vec![];
    behind.resume(Watermark(3), &mut |_, result| fired.push(result.window.start));
    assert_eq!(fired, [0], "it has not been acknowledged");
    assert_eq!(behind.add(&0, 6, 2, &mut |_, _| ()), Offer::Late(2), "its window was given");
    behind.advance(Watermark(30), &mut |_, result| fired.push(result.window.start));
    assert_eq!(fired, [0, 20]);
}

#[test]
fn lists_over_sliding_windows_are_in_the_order_of_time() {
    let windows = crate::window::sliding(Duration::from_millis(20), Duration::from_millis(2));
    let mut engine: Task = Engine::new(windows, Planted::new(Bug::None)).unwrap();
    let mut fired = vec![];
    for at in 0..200i64 {
        let _ = engine.add(&0, at, at as u32, &mut |_, _| ());
        engine.advance(Watermark(at), &mut |_, result| fired.push(result));
    }
    assert_eq!(fired.len(), 99);
    for result in fired {
        let times: Vec<u32> = (result.window.start.max(0)..result.window.end).map(|at| at as u32).collect();
        assert_eq!(result.value, times);
    }
}
