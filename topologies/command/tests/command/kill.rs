//! Kills in the middle of a run: nothing that was in the topic is left out, and what was committed was done.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::place::Place;
use crate::topo::{Run, command, said};
use crate::words::{Counts, count, last_counts, seed, text};

/// Waits until something more is committed, as the records on disk tell: nobody else can ask while they are open.
fn wait_for_commit(data_dir: &Path) {
    let records = || {
        let file = data_dir.join("topics/__consumer_offsets/0/00000000000000000000.log");
        let bytes = std::fs::read(file).unwrap_or_default();
        // What is filled ahead is zero.
        bytes.iter().rposition(|byte| *byte != 0)
    };
    let (before, begun) = (records(), Instant::now());
    while records() == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is committed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_at_least(counts: &Counts, expected: &Counts) {
    let short: Vec<_> = expected
        .iter()
        .map(|(word, expected)| (word, counts.get(word).copied().unwrap_or(0), *expected))
        .filter(|(_, counted, expected)| counted < expected)
        .take(10)
        .collect();
    assert!(short.is_empty(), "(word, counted, at least): {short:?}");
}

#[test]
fn killed_again_and_again_every_line_is_counted_at_least_once() {
    kill_again_and_again(&Place::embedded());
}

#[test]
fn killed_again_and_again_every_line_of_a_broker_is_counted_at_least_once() {
    let served = Place::served();
    kill_again_and_again(&served);
    served.end();
}

fn kill_again_and_again(place: &Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let committed = || runtime.block_on(place.committed("word-count", "lines"));
    let (log, data_dir) = (&place.log(), &place.data_dir());
    let text = text(seed(), 500_000);
    let lines: Vec<&str> = text.lines().collect();
    let words: u64 = count(&text).values().sum();
    said(log, &["topic", "create", "lines"]);
    let mut produce = command(log, &["produce", "lines"]);
    let mut produce = produce.stdin(Stdio::piped()).spawn().expect("the binary was built for this test");
    produce
        .stdin
        .take()
        .expect("it was piped")
        .write_all(text.as_bytes())
        .expect("the command reads to the end");
    assert!(produce.wait().expect("the command ends with its input").success());
    let mut before = 0;
    for round in 1..=3 {
        let run = Run::start(log, &[]);
        run.wait_for_acked(100);
        wait_for_commit(data_dir);
        // At another point between two commits every time.
        std::thread::sleep(Duration::from_millis(60 * round));
        run.kill();
        let committed = committed();
        assert!(committed > before || before == lines.len(), "{committed} after {before}");
        before = committed;
        let (counts, _) = last_counts(log);
        assert_at_least(&counts, &count(&lines[..committed].join("\n")));
    }
    let ended = Run::start(log, &["--until-idle"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(committed(), lines.len());
    let (counts, records) = last_counts(log);
    assert_at_least(&counts, &count(&text));
    // Each kill repeats what was acknowledged and not committed or under way, not all of it.
    assert!(records < 3 * words, "{records} counts of {words} words");
}
