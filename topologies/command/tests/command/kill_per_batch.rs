//! Kills in the middle of `topo run word-count --delivery exactly-once --emit batch`: after every kill, each word's last count in
//! `counts` is how often it occurs in the lines up to the offset that is committed, and no word's count ever goes back.
//!
//! `TOPO_KILLS` sets how many kills there are, 30 unless it is given.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::exact::produce;
use crate::place::Place;
use crate::topo::{PATIENCE, Run, refused, said, topo};
use crate::words::{Counts, assert_same, count, seed, text};

const PER_BATCH: [&str; 6] = ["--delivery", "exactly-once", "--emit", "batch", "--batch-interval", "20ms"];

fn kills() -> u64 {
    let given = std::env::var("TOPO_KILLS").ok();
    given.map_or(30, |kills| kills.parse().expect("TOPO_KILLS is a number"))
}

/// The last count of each word, and how many counts there are; none is less than the one before it.
fn counted(data_dir: &Path) -> (Counts, usize) {
    let arguments =
        ["consume", "counts", "--from-beginning", "-e", "--isolation", "read_committed", "-f", r"%k\t%v\n"];
    let (mut counts, mut all) = (Counts::new(), 0);
    for line in said(data_dir, &arguments).split_terminator('\n') {
        let (word, count) = line.split_once('\t').expect("a key and a value");
        let count = count.parse().expect("a number");
        let before = counts.insert(word.to_owned(), count).unwrap_or(0);
        assert!(before < count, "`{word}` came to {count} after {before}");
        all += 1;
    }
    (counts, all)
}

/// The lines up to the offset that is committed.
fn committed(data_dir: &Path) -> String {
    let described = topo(data_dir, &["group", "describe", "word-count", "--json"]);
    // Nothing was ever committed where there is no group.
    let described: Value = serde_json::from_slice(&described.stdout).unwrap_or_default();
    let offset = described["partitions"][0]["committed"].as_u64().unwrap_or(0);
    let lines = said(data_dir, &["consume", "lines", "--from-beginning", "-e", "-f", r"%v\n"]);
    lines.split_inclusive('\n').take(offset as usize).collect()
}

/// The counts and the lines that are committed, once a commit that the kill cut short is through in every partition.
fn settled(data_dir: &Path) -> (Counts, String) {
    let begun = Instant::now();
    loop {
        let (counts, done) = (counted(data_dir).0, committed(data_dir));
        if counts == count(&done) || begun.elapsed() > PATIENCE {
            return (counts, done);
        }
    }
}

#[test]
fn killed_again_and_again_the_last_counts_are_those_of_the_lines_that_are_committed() {
    let place = Place::embedded();
    let (log, seed) = (&place.log(), seed());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut written = String::new();
    // A kill may come before the topology has made its topics.
    ["lines", "counts"].iter().for_each(|topic| drop(said(log, &["topic", "create", topic])));
    let mut in_work = 0;
    for kill in 0..kills() {
        let chunk = text(seed.wrapping_add(kill), 4_000) + "\n";
        produce(log, &chunk);
        written.push_str(&chunk);
        let run = Run::start(log, &PER_BATCH);
        std::thread::sleep(Duration::from_millis(random.random_range(0..400)));
        run.kill();
        let (counts, done) = settled(log);
        assert_same(&counts, &count(&done));
        in_work += u64::from(!counts.is_empty() && done.len() < written.len());
    }
    let ended = Run::start(log, &[&PER_BATCH[..], &["--until-idle"]].concat()).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (counts, all) = counted(log);
    assert_same(&counts, &count(&written));
    let words = counts.values().sum::<u64>();
    eprintln!("{} kills, {in_work} of them in the middle; {all} counts of {words} words", kills());
}

#[test]
fn at_least_once_has_no_batches_and_no_other_topology_takes_the_option() {
    let place = Place::embedded();
    let said = refused(&place.log(), &["run", "word-count", "--emit", "batch"]);
    assert!(
        said.contains("`count` emits at the end of each batch") && said.contains("--delivery exactly-once")
    );
    let said = refused(&place.log(), &["run", "trending", "--emit", "batch"]);
    assert!(said.contains("`trending` has no --emit"), "{said}");
}
