//! `topo run word-count` against the truth.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::topo::{command, topo};
use crate::words::{assert_same, count, count_by_tools, last_counts, seed, text};

/// Runs until idle and returns the summary.
fn run(data_dir: &Path, arguments: &[&str]) -> String {
    let output =
        topo(data_dir, &[&["run", "word-count", "--status", "off", "--until-idle"][..], arguments].concat());
    let said = String::from_utf8(output.stderr).expect("banners are text");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("  topology  word-count-") && said.lines().count() == 4, "{said}");
    String::from_utf8(output.stdout).expect("summaries are text")
}

/// The first line of the summary of a run in which nothing failed.
fn summary(lines: usize) -> String {
    format!("word-count: emitted {lines}, acked {lines}, failed 0, rejected 0, exhausted 0")
}

fn given(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let file = dir.path().join("input.txt");
    fs::write(&file, text).expect("room for a test");
    (dir, file)
}

fn path(file: &Path) -> &str {
    file.to_str().expect("a path of text")
}

#[test]
fn over_a_million_words_are_counted_as_others_count_them() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    count_many(&dir.path().join("data"));
}

/// Counts over a million words.
pub(crate) fn count_many(data_dir: &Path) {
    let text = text(seed(), 1_100_000);
    let (_dir, file) = given(&text);
    let said = run(data_dir, &["--input", path(&file)]);
    assert_eq!(said.lines().next(), Some(&*summary(text.lines().count())));
    let (counts, records) = last_counts(data_dir);
    let expected = count(&text);
    assert_eq!(records, 1_100_000, "one new count for each word");
    assert!(expected.len() > 5_000);
    assert_same(&counts, &expected);
    if let Some(by_tools) = count_by_tools(&file) {
        assert_same(&counts, &by_tools);
    }
}

#[test]
fn a_file_counted_twice_counts_double() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    count_twice(dir.path());
}

/// Counts a file, and again.
pub(crate) fn count_twice(data_dir: &Path) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = fs::read_to_string(&readme).expect("the workspace has a README");
    for times in 1..=2 {
        let said = run(data_dir, &["--input", path(&readme)]);
        assert_eq!(said.lines().next(), Some(&*summary(text.lines().count())));
        let (counts, _) = last_counts(data_dir);
        let expected = count(&text).into_iter().map(|(word, count)| (word, count * times)).collect();
        assert_same(&counts, &expected);
        let by_tools = count_by_tools(&readme);
        if let Some(by_tools) = by_tools.filter(|_| times == 1) {
            assert_same(&counts, &by_tools);
        }
    }
}

#[test]
fn lines_come_from_standard_input_or_from_what_the_topic_holds() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    count_from_anywhere(dir.path());
}

/// Counts lines of standard input, then what is in the topic.
pub(crate) fn count_from_anywhere(dir: &Path) {
    let arguments = ["run", "word-count", "--status", "off", "--until-idle", "--input", "-"];
    let mut child =
        command(dir, &arguments).stdin(Stdio::piped()).spawn().expect("the binary was built for this test");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(b"the fox\n\nthe dog and\xff").expect("the command reads to the end");
    drop(input);
    let output = child.wait_with_output().expect("the command ends with its input");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = |words: &[(&str, u64)]| words.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
    let (counts, _) = last_counts(dir);
    assert_same(&counts, &expected(&[("the", 2), ("fox", 1), ("dog", 1), ("and\u{fffd}", 1)]));

    // All of it is done: a run without input finds nothing to do, and says so at once.
    assert_eq!(run(dir, &[]).lines().next(), Some(&*summary(0)));
    let mut child = command(dir, &["produce", "lines"]).stdin(Stdio::piped()).spawn().expect("it was built");
    child.stdin.take().expect("it was piped").write_all(b"the end").expect("the command reads to the end");
    assert!(child.wait().expect("the command ends with its input").success());
    assert_eq!(run(dir, &["--tasks", "split=1,count=3"]).lines().next(), Some(&*summary(1)));
    let (counts, _) = last_counts(dir);
    assert_same(&counts, &expected(&[("the", 3), ("fox", 1), ("dog", 1), ("and\u{fffd}", 1), ("end", 1)]));
}

#[test]
fn an_empty_input_is_done_at_once() {
    let (dir, file) = given("");
    let data_dir = dir.path().join("data");
    for arguments in [&[][..], &["--input", path(&file)], &["--from", "end"], &["--delivery", "at-most-once"]]
    {
        let said = run(&data_dir, arguments);
        assert_eq!(said.lines().next(), Some(&*summary(0)), "{arguments:?}");
    }
}
