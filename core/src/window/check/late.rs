//! What is late of records that were gathered in part, against the same records one by one.

use std::collections::HashMap;

use proptest::prelude::*;

use super::Spec;
use super::batch::Results;
use super::planted::{Bug, Planted};
use crate::time::Watermark;
use crate::window::{Engine, Fired, Offer, Partials};

/// A task with windows, what it gave last of each, and the numbers of what was late.
struct Task {
    engine: Engine<u8, Planted>,
    newest: Results,
    late: Vec<u32>,
}

impl Task {
    fn new(spec: Spec, lateness: u64) -> Self {
        let engine = Engine::new(spec.windows(), Planted::new(Bug::None)).unwrap();
        let engine = engine.allowed_lateness(std::time::Duration::from_millis(lateness)).unwrap();
        Self { engine, newest: Results::new(), late: Vec::new() }
    }

    fn take(newest: &mut Results, mut fired: Fired<u8, Vec<u32>>) {
        fired.replaces.iter().for_each(|window| drop(newest.remove(&(fired.key, *window))));
        fired.value.sort_unstable();
        newest.insert((fired.key, fired.window), fired.value);
    }

    fn add(&mut self, key: u8, (at, id): (i64, u32)) {
        match self.engine.add(&key, at, id, &mut |_, fired| Self::take(&mut self.newest, fired)) {
            Offer::Added => {}
            Offer::Late(id) => self.late.push(id),
            Offer::Refused(_, why) => panic!("{why}"),
        }
    }

    fn advance(&mut self, to: Watermark) {
        self.engine.advance(to, &mut |_, fired| Self::take(&mut self.newest, fired));
    }

    /// Takes in what was gathered; `records` are those of each key, as they came.
    fn combine(&mut self, partials: &mut Partials<u8, Planted>, mut records: HashMap<u8, Vec<(i64, u32)>>) {
        for partial in partials.drain() {
            let all = records.remove(&partial.key).unwrap_or_default();
            let mut by_time = all.clone();
            by_time.sort_by_key(|(at, _)| *at);
            // Partials of a key come in the order of time.
            let last = by_time[partial.records as usize - 1].0;
            let (own, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= last);
            assert_eq!(own.len() as u64, partial.records);
            records.insert(partial.key, rest);
            if self.engine.would_be_late(&partial.key, partial.first) {
                own.into_iter().for_each(|record| self.add(partial.key, record));
                continue;
            }
            let offer = self.engine.combine(partial, &mut |_, fired| Self::take(&mut self.newest, fired));
            assert_eq!(offer, Offer::Added, "none of it would be late");
        }
        assert!(records.values().all(Vec::is_empty), "what was gathered holds all records");
    }

    /// What is known in the end.
    fn end(mut self) -> (Results, Vec<u32>) {
        self.advance(Watermark(1 << 40));
        self.late.sort_unstable();
        (self.newest, self.late)
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        (1..40i64, 1..40i64).prop_map(|(a, b)| Spec::Time { size: a.max(b), every: a.min(b) }),
        (1..40i64).prop_map(|size| Spec::Time { size, every: size }),
        (1..20i64).prop_map(|gap| Spec::Session { gap }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_same_records_are_late_one_by_one_and_in_part(
        spec in spec(),
        lateness in prop_oneof![Just(0), 1..30u64],
        rounds in prop::collection::vec(
            (prop::collection::vec((0..3u8, -60..60i64), 0..12), 0..30i64, any::<bool>()),
            1..12,
        ),
    ) {
        let (mut one_by_one, mut in_part) = (Task::new(spec, lateness), Task::new(spec, lateness));
        let mut partials = Partials::new(spec.windows(), Planted::new(Bug::None)).unwrap();
        let (mut watermark, mut id) = (-40, 0);
        for (records, step, moves) in rounds {
            let mut gathered: HashMap<u8, Vec<(i64, u32)>> = HashMap::new();
            for (key, offset) in records {
                // About the watermark, on either side of it.
                let at = watermark + offset;
                one_by_one.add(key, (at, id));
                partials.add(&key, at, id);
                gathered.entry(key).or_default().push((at, id));
                id += 1;
            }
            in_part.combine(&mut partials, gathered);
            if moves {
                watermark += step;
                one_by_one.advance(Watermark(watermark));
                in_part.advance(Watermark(watermark));
            }
        }
        prop_assert_eq!(in_part.end(), one_by_one.end());
    }
}
