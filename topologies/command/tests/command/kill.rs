//! Kills in the middle of a run: nothing that was in the topic is left out, and what was committed was done.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo_core::log::{Log, TopicPartition};
use topo_core::schedule::TokioScheduler;

use crate::topo::{Run, command, said};
use crate::words::{Counts, count, last_counts, seed, text};

/// What the group of the word count has committed.
fn committed(data_dir: &Path) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(data_dir, EmbeddedConfig::default(), clock).expect("it recovers");
        let committed =
            log.committed("word-count", &TopicPartition::new("lines", 0)).await.expect("it is read");
        log.close().await.expect("it closes");
        committed.unwrap_or(0) as usize
    })
}

/// Waits until something more is committed, as the records on disk tell: the directory is the run's.
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
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let text = text(seed(), 500_000);
    let lines: Vec<&str> = text.lines().collect();
    let words: u64 = count(&text).values().sum();
    said(dir.path(), &["topic", "create", "lines"]);
    let mut produce = command(dir.path(), &["produce", "lines"]);
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
        let run = Run::start(dir.path(), &[]);
        run.wait_for_acked(100);
        wait_for_commit(dir.path());
        // At another point between two commits every time.
        std::thread::sleep(Duration::from_millis(60 * round));
        run.kill();
        let committed = committed(dir.path());
        assert!(committed > before || before == lines.len(), "{committed} after {before}");
        before = committed;
        let (counts, _) = last_counts(dir.path());
        assert_at_least(&counts, &count(&lines[..committed].join("\n")));
    }
    let ended = Run::start(dir.path(), &["--until-idle"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(committed(dir.path()), lines.len());
    let (counts, records) = last_counts(dir.path());
    assert_at_least(&counts, &count(&text));
    // Each kill repeats what was acknowledged and not committed or under way, not all of it.
    assert!(records < 3 * words, "{records} counts of {words} words");
}
