//! `topo run --durability`: what the banner promises, and what holds of it here.

use std::path::Path;

use crate::topo::{Ended, Run, command, said, topo};
use crate::words::last_counts;

/// A run of the word count over one more line, to its end.
fn run(data_dir: &Path, durability: &str) -> (String, Ended) {
    let input = data_dir.with_extension("input");
    std::fs::write(&input, "to be or not to be\n").expect("room for a test");
    let arguments = ["run", "word-count", "--until-idle", "--status", "127.0.0.1:0", "--input"];
    let mut command = command(data_dir, &arguments);
    let run = Run::start_with(command.arg(input).env("TOPO_DURABILITY", durability));
    (run.banner().to_owned(), run.end())
}

#[test]
fn each_durability_is_promised_in_the_banner_and_leaves_a_log_that_every_verb_opens() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = &dir.path().join("data");
    for (times, (durability, promise)) in (1..).zip([
        ("os", "records are acknowledged when written; the operating system syncs them, unless a topic's flush.ms says \
                otherwise; a power loss takes back what was not synced"),
        ("interval:20ms", "records are acknowledged when written and synced to disk within 20ms, unless a topic's \
                           flush.ms says otherwise; a power loss takes back what was not synced"),
        ("fsync", "every record is synced to disk before it is acknowledged, unless a topic's flush.ms says otherwise"),
    ]) {
        let (banner, ended) = run(data_dir, durability);
        assert!(banner.contains(&format!("  durable   {promise}\n")), "{banner}");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(last_counts(data_dir).0["be"], 2 * times, "{durability}");
        assert_eq!(said(data_dir, &["consume", "lines"]).lines().count() as u64, times);
        assert!(!said(data_dir, &["topic", "describe", "counts"]).contains("config"), "topics are not marked");
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_whatever_the_durability() {
    for durability in ["os", "interval:1m"] {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let input = dir.path().join("input");
        std::fs::write(&input, "to be or not to be\n".repeat(3_000)).expect("room for a test");
        let data_dir = &dir.path().join("data");
        let arguments =
            ["run", "word-count", "--status", "127.0.0.1:0", "--durability", durability, "--input"];
        let run = Run::start_with(command(data_dir, &arguments).arg(&input));
        run.wait_for_acked(3_000);
        run.kill();
        assert_eq!(last_counts(data_dir).0["be"], 6_000, "{durability}");
    }
}

#[test]
fn a_durability_that_is_none_is_refused() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    for wrong in ["sync", "interval:0ms", "interval:1h"] {
        let output = topo(dir.path(), &["run", "word-count", "--durability", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}
