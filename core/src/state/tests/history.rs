//! Random histories against a map: changes, time, flushes that fail, crashes, and other numbers of tasks after them.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Life, Visits, World};

const TTL: Duration = Duration::from_millis(500);
const KEYS: u16 = 60;

/// A value and when it was written.
type Written = (Visits, i64);

/// What the states should be.
#[derive(Default)]
struct Model {
    now: BTreeMap<u16, Written>,
    flushed: BTreeMap<u16, Written>,
    /// After a flush that failed: what each of its keys may be after a crash.
    uncertain: BTreeMap<u16, Vec<Option<Written>>>,
}

impl Model {
    fn flushed(&mut self) {
        self.flushed = self.now.clone();
        self.uncertain.clear();
    }

    fn flush_failed(&mut self) {
        for key in 0..KEYS {
            let (now, flushed) = (self.now.get(&key), self.flushed.get(&key));
            if now != flushed {
                let may = self.uncertain.entry(key).or_insert_with(|| vec![flushed.cloned()]);
                may.push(now.cloned());
            }
        }
    }

    /// Checks what came back after a crash, and takes it for what is.
    fn crashed(&mut self, life: &mut Life, world: &World, ttl: Option<Duration>) {
        let now_ms = now_ms(world);
        let mut back = BTreeMap::new();
        for key in 0..KEYS {
            let found = life.of(key).get(&key).unwrap();
            let sole = vec![self.flushed.get(&key).cloned()];
            let may = self.uncertain.get(&key).unwrap_or(&sole);
            let live = may.iter().map(|one| one.clone().filter(|one| is_live(one, now_ms, ttl)));
            let written: Option<Option<Written>> =
                live.clone().find(|one| one.as_ref().map(|(value, _)| value) == found.as_ref());
            let written = written.unwrap_or_else(|| panic!("key {key} is {found:?}, not one of {may:?}"));
            if let Some(written) = written {
                back.insert(key, written);
            }
        }
        (self.flushed, self.now) = (back.clone(), back);
        self.uncertain.clear();
    }

    fn live(&self, key: u16, now_ms: i64, ttl: Option<Duration>) -> Option<&Visits> {
        self.now.get(&key).filter(|one| is_live(one, now_ms, ttl)).map(|(value, _)| value)
    }
}

fn is_live((_, written_ms): &Written, now_ms: i64, ttl: Option<Duration>) -> bool {
    ttl.is_none_or(|ttl| written_ms + ttl.as_millis() as i64 > now_ms)
}

fn now_ms(world: &World) -> i64 {
    crate::schedule::Clock::wall_ms(&*world.scheduler)
}

fn play(world: &World, seed: u64, ttl: Option<Duration>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    let mut numbers = [1, 4, 2].into_iter().cycle();
    let mut life = world.start(numbers.next().unwrap(), ttl).unwrap();
    for step in 0..600 {
        let key = rng.random_range(0..KEYS);
        let now_ms = now_ms(world);
        match rng.random_range(0..100) {
            0..25 => {
                let value = Visits { count: step, last: "x".repeat(rng.random_range(0..200)) };
                life.of(key).put(key, value.clone()).unwrap();
                model.now.insert(key, (value, now_ms));
            }
            25..55 => {
                let mut value = model.live(key, now_ms, ttl).cloned().unwrap_or_default();
                value.count += 1;
                let count = life.of(key).update(&key, |visits| {
                    visits.count += 1;
                    visits.count
                });
                assert_eq!(count.unwrap(), value.count, "key {key} at step {step}");
                model.now.insert(key, (value, now_ms));
            }
            55..65 => {
                let removed = life.of(key).remove(&key).unwrap();
                assert_eq!(removed.as_ref(), model.live(key, now_ms, ttl), "key {key} at step {step}");
                model.now.remove(&key);
            }
            65..75 => world.pass(rng.random_range(1..120)),
            75..85 => {
                world.flush(&life).unwrap();
                model.flushed();
                assert_eq!(life.bytes(), world.kept_bytes(), "at step {step}");
            }
            85..90 => {
                *world.log.appends_left.lock().unwrap() = Some(rng.random_range(0..6));
                match world.flush(&life) {
                    Ok(()) => model.flushed(),
                    Err(_) => model.flush_failed(),
                }
                *world.log.appends_left.lock().unwrap() = None;
            }
            90..94 => {
                drop(life);
                life = world.start(numbers.next().unwrap(), ttl).unwrap();
                model.crashed(&mut life, world, ttl);
                assert_eq!(life.bytes(), world.kept_bytes(), "at step {step}");
            }
            _ => {
                let found = life.of(key).get(&key).unwrap();
                assert_eq!(found.as_ref(), model.live(key, now_ms, ttl), "key {key} at step {step}");
            }
        }
        // As the executor does between batches.
        if life.tasks.iter().any(|(task, _)| task.states.wants_flush()) {
            world.flush(&life).unwrap();
            model.flushed();
        }
        if step % 50 == 0 {
            let now_ms = super::history::now_ms(world);
            let live = (0..KEYS).filter_map(|key| Some((key, model.live(key, now_ms, ttl)?.clone())));
            assert_eq!(life.all(), live.collect::<Vec<_>>(), "at step {step}");
            if ttl.is_none() {
                assert_eq!(life.len(), model.now.len() as u64, "at step {step}");
            }
        }
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

/// Plays many seeds in memory, and a few on disk, where each start makes files.
fn for_seeds(first: u64, play: impl Fn(World, u64)) {
    for seed in first..first + 40 {
        let _told = Told(seed);
        let worlds = if seed < first + 5 { World::each() } else { vec![World::new()] };
        worlds.into_iter().for_each(|world| play(world, seed));
    }
}

#[test]
fn a_state_is_what_a_map_would_be_and_after_a_crash_what_was_flushed() {
    for_seeds(0, |mut world, seed| {
        world.settings.keeps_undo = seed % 2 == 0;
        play(&world, seed, None);
    });
}

#[test]
fn values_that_outlive_their_time_are_never_seen() {
    for_seeds(100, |world, seed| play(&world, seed, Some(TTL)));
}
