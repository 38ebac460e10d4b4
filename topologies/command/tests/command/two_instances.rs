//! Two processes of one topology, exactly once at a broker: the younger takes over, and the older commits nothing any more.

use std::time::{Duration, Instant};

use crate::exact::{EXACTLY_ONCE, all, counted, produce, words};
use crate::place::Place;
use crate::topo::{PATIENCE, Run, said};
use crate::words::{assert_same, count, seed, text};

fn wait_until_counted(place: &Place, at_least: u64) {
    let begun = Instant::now();
    while all(&counted(&place.log())) < at_least {
        assert!(begun.elapsed() < PATIENCE * 2, "{at_least} words are not counted");
    }
}

fn wait_until_ended(run: &mut Run) {
    let begun = Instant::now();
    while !run.has_ended() {
        assert!(begun.elapsed() < PATIENCE * 2, "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As a process that stood still: it wakes up behind a transaction that was aborted, in a group that went on without it.
#[test]
fn who_was_replaced_while_it_stood_still_commits_nothing_and_says_why_it_stops() {
    let place = Place::served();
    let (log, seed) = (place.log(), seed());
    said(&log, &["topic", "create", "lines"]);
    let mut written = String::new();
    let mut give = |round: u64| {
        let chunk = text(seed.wrapping_add(round), 3_000) + "\n";
        produce(&log, &chunk);
        written.push_str(&chunk);
        words(&written)
    };
    give(0);
    let mut old = Run::start(&log, &EXACTLY_ONCE);
    wait_until_counted(&place, 1);
    old.signal("STOP");
    give(1);
    let new = Run::start(&log, &EXACTLY_ONCE);
    let given = give(2);
    wait_until_counted(&place, given);
    old.signal("CONT");
    // There is more to be committed, by whoever still may.
    let given = give(3);
    wait_until_ended(&mut old);
    let ended = old.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "the topology lost its transactions: another instance has the transactional id";
    assert!(ended.stderr.contains(why), "{ended:?}");
    wait_until_counted(&place, given);
    new.terminate();
    let ended = new.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_same(&counted(&log), &count(&written));
    place.end();
}

#[test]
fn who_is_replaced_while_it_runs_stops_and_says_why() {
    let place = Place::served();
    let (log, seed) = (place.log(), seed());
    said(&log, &["topic", "create", "lines"]);
    let chunk = text(seed, 3_000) + "\n";
    produce(&log, &chunk);
    let mut old = Run::start(&log, &EXACTLY_ONCE);
    wait_until_counted(&place, words(&chunk));
    let new = Run::start(&log, &EXACTLY_ONCE);
    let more = text(seed.wrapping_add(1), 3_000) + "\n";
    produce(&log, &more);
    wait_until_counted(&place, words(&chunk) + words(&more));
    // It hears of the other one from its group, whether or not it is given anything that it could commit.
    wait_until_ended(&mut old);
    let ended = old.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("another instance has the transactional id"), "{ended:?}");
    new.terminate();
    assert_eq!(new.end().code, Some(0));
    assert_same(&counted(&log), &count(&(chunk + &more)));
    place.end();
}
