//! Topics, produce and consume: what they print, how they end, and what is on disk afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::topo::{command, refused, said, topo};

fn producing(data_dir: &Path, arguments: &[&str]) -> Child {
    command(data_dir, arguments).stdin(Stdio::piped()).spawn().expect("the binary was built for this test")
}

fn produce(data_dir: &Path, arguments: &[&str], lines: &str) {
    let mut child = producing(data_dir, arguments);
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(lines.as_bytes()).expect("the command reads to the end");
    drop(input);
    let output = child.wait_with_output().expect("the command ends with its input");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn data_dir_with(topic: &str, partitions: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    said(dir.path(), &["topic", "create", topic, "--partitions", partitions]);
    dir
}

#[test]
fn records_come_back_as_they_were_produced() {
    let dir = data_dir_with("counts", "1");
    let dir = dir.path();
    assert_eq!(said(dir, &["topic", "list"]), "counts\n");
    produce(dir, &["produce", "counts", "-K", r"\t"], "the\t1\nfox\t1\nthe\t2\nplain\n");
    let all = ["consume", "counts", "--from-beginning", "-f", r"%o %k=%v\n"];
    assert_eq!(said(dir, &all), "0 the=1\n1 fox=1\n2 the=2\n3 =plain\n");
    assert_eq!(said(dir, &["consume", "counts", "-o", "-1"]), "plain\n");
    produce(dir, &["produce", "counts"], "more");
    assert_eq!(said(dir, &["consume", "counts", "-o", "4", "-n", "1"]), "more\n");
    assert!(said(dir, &["topic", "describe", "counts"]).contains("partitions 1\n"));
    assert_eq!(said(dir, &["topic", "delete", "counts"]), "deleted topic `counts`\n");
    assert_eq!(said(dir, &["topic", "list"]), "");
}

#[test]
fn many_records_over_several_partitions_are_all_there() {
    let dir = data_dir_with("lines", "4");
    let lines: Vec<String> =
        (0..300_000).map(|number| format!("{}\tline {number}", number % 1_000)).collect();
    produce(dir.path(), &["produce", "lines", "-K", r"\t"], &lines.join("\n"));
    let printed = said(dir.path(), &["consume", "lines", "-f", r"%k\t%v\n"]);
    let mut read: Vec<&str> = printed.lines().collect();
    let number = |line: &&str| line.rsplit(' ').next().map(|number| number.parse::<u32>());
    for key in ["0", "17", "999"] {
        let of_key = || read.iter().filter(|line| line.split('\t').next() == Some(key));
        assert_eq!(of_key().count(), 300);
        assert!(of_key().is_sorted_by_key(|line| number(line).expect("a number").expect("a number")));
    }
    let mut produced: Vec<&str> = lines.iter().map(String::as_str).collect();
    read.sort_unstable();
    produced.sort_unstable();
    assert!(read == produced, "{} were produced, {} read", produced.len(), read.len());
}

#[test]
fn mistakes_are_one_sentence_and_exit_code_2() {
    let empty = tempfile::tempdir().expect("a directory for temporary files");
    let missing = empty.path().join("none");
    for verb in [&["topic", "list"][..], &["produce", "t"], &["consume", "t"], &["topic", "delete", "t"]] {
        assert!(refused(&missing, verb).starts_with("error: there is no data directory "), "{verb:?}");
    }
    assert!(!missing.exists(), "only `topic create` begins a data directory");

    let dir = data_dir_with("t", "2");
    let dir = dir.path();
    let unknown = "error: there is no topic `none`; create it with `topo topic create none`";
    for verb in [&["consume", "none"][..], &["produce", "none"], &["topic", "describe", "none"]] {
        assert_eq!(refused(dir, verb), unknown);
    }
    assert_eq!(refused(dir, &["topic", "create", "t"]), "error: topic `t` exists already");
    assert!(refused(dir, &["topic", "create", "../up"]).starts_with("error: "));
    let partition = "error: topic `t` has no partition 2; it has 2, numbered from 0";
    assert_eq!(refused(dir, &["consume", "t", "-p", "2"]), partition);
    assert_eq!(refused(dir, &["produce", "t", "-p", "2"]), partition);
    for usage in [&["consume", "t", "-f", "%z"][..], &["consume", "t", "-o", "x"], &["nonsense"], &[]] {
        assert_eq!(topo(dir, usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = data_dir_with("t", "1");
    let mut holder = command(dir.path(), &["produce", "t"]);
    let mut holder = holder
        .stdin(Stdio::piped())
        .env("TOPO_LOG", "debug")
        .spawn()
        .expect("the binary was built for this test");
    let logged = BufReader::new(holder.stderr.take().expect("it was piped")).lines();
    let mut logged = logged.map(|line| line.expect("logs are text"));
    assert!(logged.any(|line| line.contains("the data directory is open")));
    let sentence = refused(dir.path(), &["topic", "list"]);
    assert!(sentence.contains(" is in use by another topo "), "{sentence}");
    drop(holder.stdin.take());
    assert_eq!(logged.filter(|line| line.contains("ERROR")).count(), 0);
    assert!(holder.wait().expect("the command ends with its input").success());
    assert_eq!(said(dir.path(), &["topic", "list"]), "t\n");
}

#[test]
fn a_reader_that_leaves_ends_the_command_with_success() {
    let dir = data_dir_with("t", "1");
    let line = "a line that is long enough to fill every pipe soon\n";
    produce(dir.path(), &["produce", "t"], &line.repeat(100_000));
    let mut child =
        command(dir.path(), &["consume", "t"]).spawn().expect("the binary was built for this test");
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(64, child.stdout.take().expect("it was piped"));
    reader.read_line(&mut first).expect("a line");
    drop(reader);
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((first.as_str(), output.status.code(), &*output.stderr), (line, Some(0), &b""[..]));
}

#[test]
fn the_logging_filter_is_the_environments() {
    let dir = data_dir_with("t", "1");
    let with = |filter: &str| {
        let output = command(dir.path(), &["produce", "t"]).env("TOPO_LOG", filter).output();
        let output = output.expect("the binary was built for this test");
        (output.status.code(), String::from_utf8(output.stderr).expect("logs are text"))
    };
    let (code, logged) = with("info");
    assert_eq!(code, Some(0));
    assert!(logged.contains("all lines are in the log"), "{logged}");
    let (code, sentence) = with("=[");
    assert_eq!(code, Some(2));
    assert!(sentence.starts_with("error: the logging filter of TOPO_LOG is not understood: "), "{sentence}");
}

#[test]
fn help_shows_how_to_begin() {
    let help = said(Path::new("."), &["--help"]);
    for words in ["run ", "topic ", "produce ", "consume ", "TOPO_LOG"] {
        assert!(help.contains(words), "{words} in {help}");
    }
    let help = said(Path::new("."), &["run", "--help"]);
    for words in
        ["--until-idle", "word-count", "topo run word-count --input README.md", "Exit codes: 0", "Ctrl-C"]
    {
        assert!(help.contains(words), "{words} in {help}");
    }
}

#[test]
fn help_names_the_fields_and_says_when_consume_ends() {
    let help = said(Path::new("."), &["consume", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["%k key", "%v value", "%T timestamp", "partition after partition", "TOPO_DATA_DIR"] {
        assert!(help.contains(words), "{words} in {help}");
    }
}
