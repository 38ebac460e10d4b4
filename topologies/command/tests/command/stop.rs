//! Being told to stop.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::topo::{Run, command};
use crate::words::{assert_same, count, last_counts};

#[test]
fn sigterm_drains_and_prints_the_summary() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    stop_and_go_on(&dir.path().join("data"));
}

/// Stops a run in the middle, and has another one do the rest.
pub(crate) fn stop_and_go_on(data_dir: &Path) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let input: String = (0..5_000).map(|number| format!("line {number} of the input\n")).collect();
    let file = dir.path().join("input.txt");
    std::fs::write(&file, &input).expect("room for a test");
    let run = Run::start(data_dir, &["--input", file.to_str().expect("a path of text")]);
    run.wait_for_acked(1);
    run.terminate();
    let ended = run.end();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    let first = ended.stdout.lines().next().expect("a summary");
    let numbers: Vec<u64> =
        first.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    assert_eq!(numbers[0], numbers[1], "all that was emitted was acknowledged: {first}");
    assert!(numbers[0] >= 1 && numbers[2..] == [0, 0, 0], "{first}");
    // What was done was committed: the rest is done once.
    let run = Run::start(data_dir, &["--until-idle"]);
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (counts, records) = last_counts(data_dir);
    assert_eq!(records, 25_000);
    assert_same(&counts, &count(&input));
}

#[test]
fn a_run_that_waits_for_input_stops_too() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let arguments = ["run", "word-count", "--status", "127.0.0.1:0", "--input", "-"];
    let mut waiting = command(dir.path(), &arguments);
    // Standard input stays open for as long as this process has its end.
    let (reader, mut input) = std::io::pipe().expect("a pipe");
    let run = Run::start_with(waiting.stdin(Stdio::from(reader)));
    input.write_all(b"some words\nand an unfinished line").expect("the command reads");
    run.wait_for_acked(1);
    run.terminate();
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("word-count: emitted 1, acked 1, failed 0,"), "{ended:?}");
    drop(input);
}

#[test]
fn until_idle_cut_short_is_no_success() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let (reader, _input) = std::io::pipe().expect("a pipe");
    let arguments = ["run", "word-count", "--status", "127.0.0.1:0", "--until-idle", "--input", "-"];
    let run = Run::start_with(command(dir.path(), &arguments).stdin(Stdio::from(reader)));
    run.terminate();
    let ended = run.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("error: stopped before all of the input was done"), "{ended:?}");
}
