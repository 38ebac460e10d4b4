//! Histories of records, time, acknowledgements and restarts: at each step the engine gives what the model does.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::model::Model;
use super::planted::{Bug, Planted};
use super::{Spec, Told};
use crate::time::Watermark;
use crate::window::{Engine, Entry, Fired, Kind, Offer, PaneId, Trigger};

#[derive(Debug, Clone)]
pub(super) enum Step {
    Add {
        key: u8,
        at: i64,
    },
    Advance(i64),
    EndOfTime,
    Processing(i64),
    Ack(usize),
    Fail(usize),
    Flush,
    /// Written out, dropped, and read again.
    Restart,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) spec: Spec,
    lateness: i64,
    count: Option<u64>,
    every: Option<i64>,
}

impl Settings {
    fn engine(self, bug: Bug) -> Engine<u8, Planted> {
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let mut trigger = Trigger::watermark();
        if let Some(n) = self.count {
            trigger = trigger.early_count(n);
        }
        if let Some(every) = self.every {
            trigger = trigger.early_every(ms(every));
        }
        let engine = Engine::new(self.spec.windows(), Planted::new(bug)).unwrap();
        engine.trigger(trigger).unwrap().allowed_lateness(ms(self.lateness)).unwrap()
    }
}

/// The engine with what is known outside of it.
pub(super) struct World {
    settings: Settings,
    bug: Bug,
    engine: Engine<u8, Planted>,
    model: Model,
    awaited: Vec<(PaneId, Fired<u8, Vec<u32>>)>,
    stored: BTreeMap<u8, Vec<u8>>,
    next: u32,
    now: i64,
}

fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort_unstable();
    told
}

impl World {
    pub(super) fn new(settings: Settings, bug: Bug) -> Self {
        let Settings { spec, lateness, count, every } = settings;
        let model = Model::new(spec, lateness, count, every);
        let engine = settings.engine(bug);
        Self { settings, bug, engine, model, awaited: vec![], stored: BTreeMap::new(), next: 0, now: 0 }
    }

    /// Compares what came out with what was to come, and awaits its acknowledgement.
    fn compare(&mut self, came: Vec<(PaneId, Fired<u8, Vec<u32>>)>, model: Vec<Told>) -> Result<(), String> {
        let engine = sorted(came.iter().map(|(_, fired)| Told::of(fired.clone())).collect());
        self.awaited.extend(came);
        let model = sorted(model);
        if engine == model { Ok(()) } else { Err(format!("engine {engine:#?}\nmodel {model:#?}")) }
    }

    pub(super) fn step(&mut self, step: Step) -> Result<(), String> {
        let mut came = vec![];
        let mut sink = |pane, fired| came.push((pane, fired));
        match step {
            Step::Add { key, at } => {
                let id = self.next;
                self.next += 1;
                self.check_shown(key)?;
                let mut sink = |pane, fired| came.push((pane, fired));
                let offer = match self.engine.add(&key, self.bug.time(at), id, &mut sink) {
                    Offer::Late(_) if self.bug == Bug::LateDropped => Offer::Added,
                    offer => offer,
                };
                match (offer, self.model.add(key, at, id)) {
                    (Offer::Added, Some(model)) => self.compare(came, model)?,
                    (Offer::Late(value), None) if value == id => {}
                    (offer, model) => return Err(format!("{offer:?} where the model says {model:?}")),
                }
            }
            Step::Advance(to) => {
                self.engine.advance(Watermark(self.bug.watermark(to)), &mut sink);
                let ends: Vec<_> = came.iter().map(|(_, fired)| fired.window.end).collect();
                if !ends.is_sorted() {
                    return Err(format!("windows fire out of the order of their ends: {ends:?}"));
                }
                let model = self.model.advance(to);
                self.compare(came, model)?;
            }
            Step::EndOfTime => {
                self.engine.advance(Watermark::MAX, &mut sink);
                let model = self.model.end_of_time();
                self.compare(came, model)?;
            }
            Step::Processing(later) => {
                self.now += later;
                self.engine.processing_time(self.now, &mut sink);
                let model = self.model.processing_time(self.now);
                self.compare(came, model)?;
            }
            Step::Ack(nth) if !self.awaited.is_empty() => {
                let (pane, _) = self.awaited.swap_remove(nth % self.awaited.len());
                if self.bug == Bug::AckForgotten {
                    return self.check_keys();
                }
                if !self.engine.acked(pane) || self.engine.acked(pane) || self.engine.failed(pane).is_some() {
                    return Err("a result is not acknowledged just once".into());
                }
            }
            Step::Fail(nth) if !self.awaited.is_empty() => {
                let (pane, fired) = &self.awaited[nth % self.awaited.len()];
                if self.engine.failed(*pane).as_ref() != Some(fired) {
                    return Err(format!("{fired:?} is not given again"));
                }
            }
            Step::Ack(_) | Step::Fail(_) => {}
            Step::Flush => self.flush()?,
            Step::Restart => self.restart()?,
        }
        self.check_keys()
    }

    /// What is shown of a key is what its windows hold, and what awaits its acknowledgement.
    fn check_shown(&self, key: u8) -> Result<(), String> {
        let shown = self.engine.get(&key).map(self.engine.shows());
        let (mut windows, mut undone) = (vec![], 0);
        if let Some(shown) = shown {
            undone = shown.undone.len();
            for mut outcome in shown.windows {
                outcome.value.sort_unstable();
                windows.push(((outcome.window.start, outcome.window.end), outcome.value));
            }
        }
        let model = self.model.windows(key);
        let awaited = self.awaited.iter().filter(|(_, fired)| fired.key == key).count();
        if windows == model && undone == awaited {
            return Ok(());
        }
        Err(format!("key {key} is shown as {windows:?} and {undone} results, not as {model:?} and {awaited}"))
    }

    fn check_keys(&self) -> Result<(), String> {
        if self.engine.awaiting() != self.awaited.len() || self.engine.watermark().0 != self.model.watermark {
            return Err("awaits other results, or has another watermark".into());
        }
        for key in 0..4 {
            let kept = self.model.is_open(key) || self.awaited.iter().any(|(_, fired)| fired.key == key);
            if self.engine.get(&key).is_some() != kept {
                return Err(format!("key {key} should {}be there", if kept { "" } else { "not " }));
            }
        }
        Ok(())
    }

    /// Writes out what changed; then what was written is all that there is.
    fn flush(&mut self) -> Result<(), String> {
        let write = |entry: &Entry<_, _>| rmp_serde::to_vec_named(entry).unwrap();
        let mut seen = vec![];
        self.engine.take_changes(|key, entry| {
            seen.push(*key);
            if self.bug == Bug::FlushSkipsAKey && *key == 1 {
                return;
            }
            match entry {
                Some(entry) => drop(self.stored.insert(*key, write(entry))),
                None => drop(self.stored.remove(key)),
            }
        });
        let all: BTreeMap<u8, Vec<u8>> =
            self.engine.iter().map(|(key, entry)| (*key, write(entry))).collect();
        seen.sort_unstable();
        if !seen.is_sorted_by(|a, b| a < b) || all != self.stored || self.engine.has_changes() {
            return Err(format!("{seen:?} were named as changed"));
        }
        let shows = self.engine.shows();
        let shown = self.engine.iter().flat_map(|(_, entry)| shows(entry).windows);
        let open = shown.filter(|window| window.kind == Kind::Early).count() as u64;
        if self.engine.open_windows() != open {
            return Err(format!("{open} windows are open, not {}", self.engine.open_windows()));
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), String> {
        self.flush()?;
        let watermark = self.bug.kept(self.engine.watermark());
        self.engine = self.settings.engine(self.bug);
        for (key, bytes) in self.stored.iter().skip(usize::from(self.bug == Bug::RestoreLosesAKey)) {
            let entry = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
            self.engine.restore(*key, entry).map_err(|error| error.to_string())?;
        }
        self.model.restarted();
        let model = std::mem::take(&mut self.awaited).into_iter().map(|(_, fired)| Told::of(fired)).collect();
        let mut came = vec![];
        self.engine.resume(watermark, &mut |pane, fired| came.push((pane, fired)));
        self.compare(came, model)
    }
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..4u8, -40..60i64).prop_map(|(key, at)| Step::Add { key, at }),
        4 => (-40..80i64).prop_map(Step::Advance),
        1 => Just(Step::EndOfTime),
        2 => (0..8i64).prop_map(Step::Processing),
        3 => any::<usize>().prop_map(Step::Ack),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        4 => (1..24i64, 1..24i64).prop_map(|(a, b)| Spec::Time { size: a.max(b), every: a.min(b) }),
        1 => (1..12i64).prop_map(|size| Spec::Time { size, every: size }),
        2 => (8..40i64, 1..4i64).prop_map(|(size, every)| Spec::Time { size, every }),
        4 => (1..15i64).prop_map(|gap| Spec::Session { gap }),
        2 => (1..9u64, 1..9u64).prop_map(|(a, b)| Spec::Count { size: a.max(b), every: a.min(b) }),
        1 => Just(Spec::Global),
    ]
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let lateness = prop_oneof![Just(0), 1..30i64];
    (spec(), lateness, prop::option::of(1..5u64), prop::option::of(1..9i64))
        .prop_map(|(spec, lateness, count, every)| Settings { spec, lateness, count, every })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_engine_gives_at_each_step_what_the_model_gives(
        settings in settings(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(settings, Bug::None);
        for (number, step) in steps.into_iter().enumerate() {
            let what = format!("step {number}, {step:?}");
            world.step(step).map_err(|error| TestCaseError::fail(format!("{what}: {error}")))?;
        }
        // At last nothing is kept that is not open.
        world.step(Step::Advance(1_000)).map_err(TestCaseError::fail)?;
        while !world.awaited.is_empty() {
            world.step(Step::Ack(0)).map_err(TestCaseError::fail)?;
        }
        if let Spec::Time { .. } | Spec::Session { .. } = settings.spec {
            prop_assert!(world.engine.is_empty());
            world.flush().map_err(TestCaseError::fail)?;
            prop_assert!(world.stored.is_empty());
        }
    }
}
