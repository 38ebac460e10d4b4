//! Texts of words, and what counts them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::topo::said;

/// How often each word occurs.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Words that a careless split or a careless encoding would get wrong.
const ODD: [&str; 16] = [
    "naïve",
    "Ünïcödé",
    "東京",
    "слово",
    "λόγος",
    "🦀🦀",
    "e\u{301}",
    "a\u{200b}b",
    "don't",
    "--",
    "a,b",
    "\"",
    "%k",
    "\\t",
    "\u{1}",
    "0",
];

/// All that C calls white space, alone and in rows; lines among it may be empty.
const SPACES: [&str; 14] = [
    " ",
    " ",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\n",
    "\n\n",
    "\r\n",
    "\u{b}",
    "\u{c}",
    " \t\r\u{b}\u{c}\n \n",
];

/// The seed of this run: `TOPO_TEST_SEED`, or a new one. Printed, and shown where the test fails.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TOPO_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("TOPO_TEST_SEED is a number"));
    eprintln!("TOPO_TEST_SEED={seed}");
    seed
}

/// A text of so many words, some frequent and most rare, without a newline at its end.
pub(crate) fn text(seed: u64, words: usize) -> String {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut text = String::new();
    for number in 0..words {
        if number > 0 {
            text.push_str(SPACES[random.random_range(0..SPACES.len())]);
        }
        let rank = random.random_range(0.0..9.0_f64).exp() as usize;
        match ODD.get(rank) {
            Some(word) => text.push_str(word),
            None => text.push_str(&format!("word{rank}")),
        }
    }
    text
}

/// Counts by the word count's rule.
pub(crate) fn count(text: &str) -> Counts {
    let mut counts = Counts::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

/// What `tr`, `sort` and `uniq` count in `file`. `None`, and loudly, where they are missing; in CI they must be there.
pub(crate) fn count_by_tools(file: &Path) -> Option<Counts> {
    let pipeline = "tr -s '[:space:]' '\\n' | sort | uniq -c";
    let tools = Command::new("sh")
        .args(["-ec", "command -v tr sort uniq >/dev/null"])
        .status()
        .is_ok_and(|status| status.success());
    if !tools {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "`{pipeline}` cannot be run here");
        eprintln!("NOT COMPARED: `{pipeline}` cannot be run here");
        return None;
    }
    let output = Command::new("sh")
        .args(["-ec", pipeline])
        .env("LC_ALL", "C")
        .stdin(File::open(file).expect("the test wrote it"))
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("the text is UTF-8");
    let count = |line: &str| {
        let (count, word) = line.trim_start_matches(' ').split_once(' ').expect("uniq prints a count");
        (word.to_owned(), count.parse().expect("uniq prints a count"))
    };
    // White space at the very beginning makes an empty word.
    Some(lines.split_terminator('\n').map(count).filter(|(word, _)| !word.is_empty()).collect())
}

/// The last value of each word in topic `counts`, and how many records that topic holds.
pub(crate) fn last_counts(data_dir: &Path) -> (Counts, u64) {
    let printed = said(data_dir, &["consume", "counts", "--from-beginning", "-e", "-f", r"%k\t%v\n"]);
    let (mut counts, mut records) = (Counts::new(), 0);
    for line in printed.split_terminator('\n') {
        let (word, count) = line.split_once('\t').expect("a key and a value");
        counts.insert(word.to_owned(), count.parse().expect("a count"));
        records += 1;
    }
    (counts, records)
}

/// Fails with the words that differ, not with both maps.
pub(crate) fn assert_same(counted: &Counts, expected: &Counts) {
    let keys = counted.keys().chain(expected.keys());
    let differ: Vec<_> = keys
        .filter(|word| counted.get(*word) != expected.get(*word))
        .take(10)
        .map(|word| (word, counted.get(word), expected.get(word)))
        .collect();
    assert!(differ.is_empty(), "(word, counted, expected): {differ:?}");
}
