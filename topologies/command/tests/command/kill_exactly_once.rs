//! Kills in the middle of `topo run word-count --delivery exactly-once`, at any time from the start of the process on: for
//! every word, what is committed to `counts` is 1, 2, 3 and so on, after every kill, and in the end as often as it was
//! written. At a broker in another process, that one is killed too.
//!
//! Input is added before each start, so that none finds nothing to do. `TOPO_KILLS` sets how many kills there are on a
//! data directory, 30 unless it is given, and `TOPO_BROKER_KILLS` how many at a broker, 6 unless it is given.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::exact::{EXACTLY_ONCE, all, counted, produce, words};
use crate::place::Place;
use crate::topo::{Run, said};
use crate::words::{assert_same, count, seed, text};

fn set(name: &str, unless_given: u64) -> u64 {
    std::env::var(name).map_or(unless_given, |number| number.parse().expect("a number"))
}

/// Has a last run do what is left, and demands the truth of `written`.
fn finish(place: &Place, written: &str) {
    let ended = Run::start(&place.log(), &[&EXACTLY_ONCE[..], &["--until-idle"]].concat()).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("transactions committed "), "{}", ended.stdout);
    assert_same(&counted(&place.log()), &count(written));
}

#[test]
fn killed_again_and_again_every_word_is_counted_exactly_once() {
    let place = Place::embedded();
    let (log, seed, kills) = (&place.log(), seed(), set("TOPO_KILLS", 30));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut written = String::new();
    said(log, &["topic", "create", "lines"]);
    let mut in_work = 0;
    let mut before = 0;
    for kill in 0..kills {
        let chunk = text(seed.wrapping_add(kill), 4_000) + "\n";
        produce(log, &chunk);
        written.push_str(&chunk);
        let run = Run::start(log, &EXACTLY_ONCE);
        // Any time from the start on, and any time from the first line on.
        let within = if kill % 2 == 0 {
            400
        } else {
            run.wait_for_acked(1);
            60
        };
        std::thread::sleep(Duration::from_millis(random.random_range(0..within)));
        run.kill();
        let (now, given) = (all(&counted(log)), words(&written));
        assert!((before..=given).contains(&now), "{now} of {given} words after {before}");
        in_work += u64::from(now < given);
        before = now;
    }
    finish(&place, &written);
    eprintln!("{kills} kills, {in_work} of them before the end of the input; 0 lost, 0 duplicated");
}

/// The group of a topology that was killed waits for its member, so that each kill takes a session timeout.
#[test]
fn at_a_broker_that_is_killed_too_every_word_is_counted_exactly_once() {
    let mut place = Place::served();
    let (log, seed, kills) = (place.log(), seed(), set("TOPO_BROKER_KILLS", 6));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut written = String::new();
    said(&log, &["topic", "create", "lines"]);
    let (mut before, mut in_work) = (0, 0);
    let mut run = Run::start(&log, &EXACTLY_ONCE);
    for kill in 0..kills {
        let (acked, chunk) = (run.acked(), text(seed.wrapping_add(kill), 10_000) + "\n");
        produce(&log, &chunk);
        written.push_str(&chunk);
        run.wait_for_acked(acked + 1);
        std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
        if kill % 3 == 2 {
            place.replace_broker();
        } else {
            run.kill();
            run = Run::start(&log, &EXACTLY_ONCE);
        }
        let (now, given) = (all(&counted(&log)), words(&written));
        assert!((before..=given).contains(&now), "{now} of {given} words after {before}");
        in_work += u64::from(now < given);
        before = now;
    }
    run.terminate();
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    finish(&place, &written);
    place.end();
    eprintln!(
        "{kills} kills at a broker, a third of them its own, {in_work} before the end of the input; 0 lost, 0 duplicated"
    );
}

#[test]
fn what_was_counted_at_least_once_goes_on_exactly_once() {
    let place = Place::embedded();
    let (log, seed) = (&place.log(), seed());
    said(log, &["topic", "create", "lines"]);
    let mut written = String::new();
    for (round, delivery) in
        ["at-least-once", "exactly-once", "exactly-once", "at-least-once"].iter().enumerate()
    {
        let chunk = text(seed.wrapping_add(round as u64), 500) + "\n";
        produce(log, &chunk);
        written.push_str(&chunk);
        let ended = Run::start(log, &["--delivery", delivery, "--until-idle"]).end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_same(&counted(log), &count(&written));
}
