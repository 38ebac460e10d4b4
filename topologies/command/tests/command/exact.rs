//! `topo run word-count --delivery exactly-once`: its input, and what of its counts is committed.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::topo::{command, said};
use crate::words::{Counts, count};

pub(crate) const EXACTLY_ONCE: [&str; 4] = ["--delivery", "exactly-once", "--batch-interval", "20ms"];

/// Appends lines to `lines`.
pub(crate) fn produce(place: &Path, text: &str) {
    let mut produce = command(place, &["produce", "lines"]);
    let mut produce = produce.stdin(Stdio::piped()).spawn().expect("the binary was built for this test");
    let mut stdin = produce.stdin.take().expect("it was piped");
    stdin.write_all(text.as_bytes()).expect("the command reads to the end");
    drop(stdin);
    assert!(produce.wait().expect("the command ends with its input").success());
}

/// How far each word is counted, where every count follows the one before it.
pub(crate) fn counted(place: &Path) -> Counts {
    let arguments =
        ["consume", "counts", "--from-beginning", "-e", "--isolation", "read_committed", "-f", r"%k\t%v\n"];
    let mut counts = Counts::new();
    for line in said(place, &arguments).split_terminator('\n') {
        let (word, count) = line.split_once('\t').expect("a key and a value");
        let last = counts.entry(word.to_owned()).or_default();
        assert_eq!(count, (*last + 1).to_string(), "the next count of `{word}`");
        *last += 1;
    }
    counts
}

/// How many words there are.
pub(crate) fn all(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// How many words `text` has.
pub(crate) fn words(text: &str) -> u64 {
    all(&count(text))
}
