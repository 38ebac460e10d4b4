//! Mistakes that end a run before it starts anything.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::topo::{Run, built_example, on, refused};

fn run<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run", "word-count", "--until-idle"], arguments].concat()
}

#[test]
fn a_busy_page_port_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let busy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = busy.local_addr().expect("it is bound").to_string();
    let expected = format!(
        "error: {address} is in use; choose another with --status ADDR or switch it off with --status off"
    );
    let sentence = refused(&data_dir, &run(&["--status", &address]));
    assert_eq!(sentence, expected);
    assert!(!data_dir.exists(), "nothing was created");
    let sentence = refused(&data_dir, &run(&["--status", "0.0.0.0:8080"]));
    assert!(sentence.contains("0.0.0.0:8080 can be reached from other machines"), "{sentence}");
    assert!(!data_dir.exists(), "nothing was created");
}

#[test]
fn an_input_that_cannot_be_read_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let missing = dir.path().join("none.txt");
    let missing = missing.to_str().expect("a path of text");
    let sentence = refused(&data_dir, &run(&["--status", "off", "--input", missing]));
    assert!(sentence.starts_with(&format!("error: {missing} cannot be read: No such file")), "{sentence}");
    let directory = dir.path().to_str().expect("a path of text");
    let sentence = refused(&data_dir, &run(&["--status", "off", "--input", directory]));
    assert_eq!(
        sentence,
        format!("error: {directory} cannot be read: it is a directory; name a file, or - for standard input")
    );
    assert!(!data_dir.exists(), "nothing was created");
}

#[test]
fn a_component_that_is_not_there_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let sentence = refused(&data_dir, &run(&["--status", "off", "--tasks", "splitt=2"]));
    assert!(sentence.contains("`splitt`"), "{sentence}");
    assert!(!data_dir.exists(), "nothing was created");
    for tasks in ["split", "split=0", "split=x", "=2"] {
        let output = crate::topo::topo(dir.path(), &run(&["--status", "off", "--tasks", tasks]));
        assert_eq!(output.status.code(), Some(2), "{tasks}");
    }
}

#[test]
fn a_data_directory_in_use_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let holder = Run::start(dir.path(), &[]);
    let sentence = refused(dir.path(), &run(&["--status", "off"]));
    assert!(sentence.contains(" is in use by another topo "), "{sentence}");
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").expect("room for a test");
    let sentence = refused(Path::new(&file), &run(&["--status", "off"]));
    assert!(sentence.starts_with("error: "), "{sentence}");
    holder.terminate();
    assert_eq!(holder.end().code, Some(0));
}

#[test]
fn what_cannot_be_exactly_once_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let program = built_example("not-exactly-once");
    for (reason, expected) in [
        (
            "sensor",
            "error: spout `sensor` cannot go back to what was committed, so it cannot be done exactly once; gather what it \
             reads into a topic and read that, or run the topology at least once",
        ),
        (
            "cycle",
            "error: feedback `again` makes a cycle, which no marker passes, so it cannot be done exactly once; run the \
             topology at least once, or without the cycle",
        ),
        (
            "aside",
            "error: `pass` could not start: it keeps `aside` beside its state, which cannot be taken back where a batch fails; \
             keep it in a `State`, or run the topology at least once",
        ),
    ] {
        let mut command = on(&dir.path().join(reason), Command::new(&program));
        let command = command.env("REASON", reason);
        let ended = command.args(["--delivery", "exactly-once", "--status", "off"]).output();
        let ended = ended.expect("it was built");
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.lines().last();
        assert_eq!((ended.status.code(), last), (Some(2), Some(expected)), "{said}");
    }
}
