//! Kills in the middle of `topo run word-count --delivery exactly-once`, at any time from the start of the process on: for
//! every word, what is committed to `counts` is 1, 2, 3 and so on, after every kill, and in the end as often as it was
//! written.
//!
//! Input is added before each start, so that none finds nothing to do. `TOPO_KILLS` sets how many kills there are, 30 unless
//! it is given.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::place::Place;
use crate::topo::{Run, command, said};
use crate::words::{Counts, assert_same, count, seed, text};

const EXACTLY_ONCE: [&str; 4] = ["--delivery", "exactly-once", "--batch-interval", "20ms"];

fn kills() -> u64 {
    let given = std::env::var("TOPO_KILLS").ok();
    given.map_or(30, |kills| kills.parse().expect("TOPO_KILLS is a number"))
}

fn produce(data_dir: &Path, text: &str) {
    let mut produce = command(data_dir, &["produce", "lines"]);
    let mut produce = produce.stdin(Stdio::piped()).spawn().expect("the binary was built for this test");
    let mut stdin = produce.stdin.take().expect("it was piped");
    stdin.write_all(text.as_bytes()).expect("the command reads to the end");
    drop(stdin);
    assert!(produce.wait().expect("the command ends with its input").success());
}

/// How far each word is counted, where every count follows the one before it.
fn counted(data_dir: &Path) -> Counts {
    let arguments =
        ["consume", "counts", "--from-beginning", "-e", "--isolation", "read_committed", "-f", r"%k\t%v\n"];
    let mut counts = Counts::new();
    for line in said(data_dir, &arguments).split_terminator('\n') {
        let (word, count) = line.split_once('\t').expect("a key and a value");
        let last = counts.entry(word.to_owned()).or_default();
        assert_eq!(count, (*last + 1).to_string(), "the next count of `{word}`");
        *last += 1;
    }
    counts
}

#[test]
fn killed_again_and_again_every_word_is_counted_exactly_once() {
    let place = Place::embedded();
    let (log, seed) = (&place.log(), seed());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut written = String::new();
    said(log, &["topic", "create", "lines"]);
    let mut in_work = 0;
    let mut before = 0;
    for kill in 0..kills() {
        let chunk = text(seed.wrapping_add(kill), 4_000) + "\n";
        produce(log, &chunk);
        written.push_str(&chunk);
        let run = Run::start(log, &EXACTLY_ONCE);
        std::thread::sleep(Duration::from_millis(random.random_range(0..400)));
        run.kill();
        let counts = counted(log);
        let (now, all) = (counts.values().sum::<u64>(), count(&written).values().sum::<u64>());
        assert!((before..=all).contains(&now), "{now} of {all} words after {before}");
        in_work += u64::from(now > before && now < all);
        before = now;
    }
    let ended = Run::start(log, &[&EXACTLY_ONCE[..], &["--until-idle"]].concat()).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("transactions committed "), "{}", ended.stdout);
    assert_same(&counted(log), &count(&written));
    eprintln!("{} kills, {in_work} of them between a commit and the end of the input", kills());
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
