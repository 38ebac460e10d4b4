//! Kills in the middle of open windows, while events are fed.
//!
//! What is demanded: in the end, the last result of each window, and of the windows over these results, holds each event
//! that belongs to it and nothing else; and no key was counted less often than it came. Results may come twice.
//!
//! A kill counts where it came between the first and the last event of that start: the page said that some were
//! acknowledged since, and not all of them were. `TOPO_KILLS` sets how many there are, 10 unless it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use crate::kill_access_log::wait_for_acks;
use crate::ready_made::read;
use crate::topo::{Run, built_example, said};
use crate::words::seed;

/// Events of an input.
const EVENTS: u64 = 12_000;
/// Events that a start acknowledges before it is killed, at the most.
const ACKED: u64 = EVENTS / 8;
const KEYS: u64 = 12;

fn kills() -> usize {
    std::env::var("TOPO_KILLS").map_or(10, |kills| kills.parse().expect("TOPO_KILLS is a number"))
}

/// What each window holds, by its start.
type Windows<K> = BTreeMap<K, BTreeSet<u64>>;

#[derive(Debug, Deserialize)]
struct Fired<K> {
    key: K,
    window: Window,
    value: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
struct Window {
    start: i64,
    end: i64,
}

/// Events, and what their windows of five seconds hold, one each second.
struct Input {
    lines: Vec<String>,
    windows: Windows<(String, i64)>,
    counts: BTreeMap<String, u64>,
}

impl Input {
    fn new(random: &mut Xoshiro256PlusPlus) -> Self {
        let (mut lines, mut windows, mut counts) = (Vec::new(), Windows::new(), BTreeMap::new());
        let mut latest = 1_760_000_000_000_i64;
        for number in 0..EVENTS {
            latest += random.random_range(0..30);
            // Half of the keys come and go, so that what is kept of them does.
            let kind = random.random_range(0..KEYS);
            let key =
                if kind % 2 == 0 { format!("key{kind}") } else { format!("key{kind}-{}", number / 200) };
            let at = latest - random.random_range(0..400);
            lines.push(format!("{key} {at} {number}"));
            let second = at.div_euclid(1_000);
            for start in second - 4..=second {
                windows.entry((key.clone(), 1_000 * start)).or_default().insert(number);
            }
            *counts.entry(key).or_default() += 1;
        }
        Self { lines, windows, counts }
    }

    /// What the windows over all keys hold.
    fn joined(&self) -> Windows<i64> {
        let mut joined = Windows::new();
        for ((_, start), numbers) in &self.windows {
            joined.entry(*start).or_default().extend(numbers);
        }
        joined
    }
}

/// Fails with what differs.
fn assert_same<K: Ord + std::fmt::Debug>(given: &Windows<K>, expected: &Windows<K>, what: &str) {
    let none = BTreeSet::new();
    let keys: BTreeSet<&K> = given.keys().chain(expected.keys()).collect();
    let differ = keys.into_iter().filter_map(|key| {
        let (given, expected) = (given.get(key).unwrap_or(&none), expected.get(key).unwrap_or(&none));
        let missing: Vec<_> = expected.difference(given).take(3).collect();
        let foreign: Vec<_> = given.difference(expected).take(3).collect();
        (given != expected).then(|| {
            format!(
                "{key:?}: {} of {}, missing {missing:?}, foreign {foreign:?}",
                given.len(),
                expected.len()
            )
        })
    });
    let differ: Vec<_> = differ.collect();
    assert!(
        differ.is_empty(),
        "{} {what} are wrong, such as {:#?}",
        differ.len(),
        &differ[..differ.len().min(5)]
    );
}

fn start(program: &Path, dir: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.env_clear().env("TOPO_DATA_DIR", dir.join("data")).env("TOPO_LISTEN", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["--status", "127.0.0.1:0", "--input"]).arg(dir.join("events")).args(arguments);
    Run::start_with(&mut command)
}

/// What is committed, of all partitions together.
fn committed(data: &Path) -> u64 {
    let said = said(data, &["group", "describe", "windows", "--json"]);
    let group: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let partitions = group["partitions"].as_array().expect("a list");
    partitions.iter().filter_map(|partition| partition["committed"].as_u64()).sum()
}

/// Kills the program on one input until it is done or `kills` are; gives how many kills counted, and how many there were.
fn pass(program: &Path, random: &mut Xoshiro256PlusPlus, kills: usize) -> (usize, usize) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let (input, data) = (Input::new(random), dir.path().join("data"));
    fs::write(dir.path().join("events"), input.lines.join("\n")).expect("room for a test");
    said(&data, &["topic", "create", "events", "--partitions", "2"]);
    let (mut counted, mut all, mut done) = (0, 0, 0);
    while counted < kills && done < EVENTS {
        let run = start(program, dir.path(), &[]);
        let acked =
            wait_for_acks(&run, random.random_range(1..=ACKED.min((EVENTS - done) / 2).max(1)), false);
        run.kill();
        all += 1;
        counted += usize::from(acked < EVENTS - done);
        done = committed(&data);
    }
    let ended = start(program, dir.path(), &["--until-idle"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    check(&data, &input);
    (counted, all)
}

fn check(data: &Path, input: &Input) {
    let (mut windows, mut joined, mut counts) = (Windows::new(), Windows::new(), BTreeMap::new());
    for record in read(data, "windows") {
        let fired: Fired<String> =
            rmp_serde::from_slice(record.value.as_deref().expect("a value")).expect("a result");
        windows.insert((fired.key, fired.window.start), fired.value);
    }
    assert_same(&windows, &input.windows, "windows");
    for record in read(data, "joined") {
        let fired: Fired<Window> =
            rmp_serde::from_slice(record.value.as_deref().expect("a value")).expect("a result");
        assert_eq!(fired.window.end, fired.key.end);
        joined.insert(fired.key.start, fired.value);
    }
    assert_same(&joined, &input.joined(), "windows over windows");
    for record in read(data, "counts") {
        let text =
            |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("it is there").to_vec()).expect("text");
        counts.insert(text(record.key.as_deref()), text(record.value.as_deref()).parse().expect("a count"));
    }
    let short: Vec<_> = input.counts.iter().filter(|(key, count)| counts.get(*key) < Some(*count)).collect();
    assert!(short.is_empty(), "counted less often than they came: {short:?} in {counts:?}");
}

#[test]
fn killed_in_open_windows_each_holds_in_the_end_what_belongs_to_it() {
    let program: PathBuf = built_example("windows-to-kill");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let (begun, mut counted, mut all, mut passes) = (Instant::now(), 0, 0, 0);
    while counted < kills() {
        let (these, killed) = pass(&program, &mut random, kills() - counted);
        (counted, all, passes) = (counted + these, all + killed, passes + 1);
        assert!(all < 10 * kills() + 10, "of {all} kills only {counted} were in the middle");
    }
    eprintln!(
        "{counted} kills in open windows ({all} in all), {passes} inputs of {EVENTS} events, {:.0?}: every window whole",
        begun.elapsed()
    );
}
