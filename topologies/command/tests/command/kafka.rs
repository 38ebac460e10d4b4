//! The command and its topologies on a broker in another process: what they do on a data directory, they do there.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::Place;
use crate::topo::{Run, command, refused, said, topo};
use crate::words::{count, last_counts, seed, text};
use crate::{stop, word_count};

fn produce(place: &Path, arguments: &[&str], input: &str) {
    let mut child = command(place, arguments).stdin(Stdio::piped()).spawn().expect("the binary was built");
    child.stdin.take().expect("it was piped").write_all(input.as_bytes()).expect("the command reads");
    let output = child.wait_with_output().expect("the command ends with its input");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn over_a_million_words_are_counted_as_on_a_data_directory() {
    let served = Place::served();
    word_count::count_many(&served.log());
    served.end();
}

#[test]
fn runs_go_on_from_each_other_as_on_a_data_directory() {
    for whole in [word_count::count_twice, word_count::count_from_anywhere, stop::stop_and_go_on] {
        let served = Place::served();
        whole(&served.log());
        served.end();
    }
}

/// What the broker had acknowledged, it has again, and what it had not, the topology does again; no record is to blame.
#[test]
fn a_broker_that_is_killed_under_a_topology_costs_no_record() {
    let mut served = Place::served();
    let text = text(seed(), 200_000);
    produce(&served.log(), &["topic", "create", "lines"], "");
    produce(&served.log(), &["produce", "lines"], &text);
    let run = Run::start(&served.log(), &["--until-idle"]);
    run.wait_for_acked(100);
    served.replace_broker();
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("rejected 0, exhausted 0"), "{ended:?}");
    let (counts, _) = last_counts(&served.log());
    let expected = count(&text);
    let short =
        expected.iter().find(|(word, expected)| counts.get(*word).is_none_or(|counted| counted < expected));
    assert_eq!(short, None);
    served.end();
}

#[test]
fn topics_live_from_create_to_delete() {
    let served = Place::served();
    let place = &served.log();
    let create = ["topic", "create", "t", "-p", "3", "-c", "retention.ms=1234567"];
    assert_eq!(said(place, &create), "created topic `t` with 3 partitions\n");
    assert_eq!(refused(place, &create), "error: topic `t` exists already");
    assert_eq!(said(place, &[&create[..], &["--if-not-exists"]].concat()), "");
    produce(place, &["produce", "t", "-p", "1"], "a\nb\n");
    assert_eq!(said(place, &["topic", "list"]), "t\n");
    assert_eq!(said(place, &["topic", "list", "--json"]), "[\"t\"]\n");
    let described = json(&said(place, &["topic", "describe", "t", "--json"]));
    assert_eq!(described["config"], serde_json::json!({ "retention.ms": "1234567" }));
    assert_eq!(described["partitions"][1]["highWatermark"], 2);
    assert!(said(place, &["topic", "describe", "t"]).contains("config     retention.ms=1234567"));
    let bad =
        ["topic", "create", "u", "-c", "segment.bytes=5", "-c", "retention.ms=9", "-c", "retentionms=9"];
    assert_eq!(
        refused(place, &bad),
        "error: topic `u` is not created: the broker does not take retentionms=9, segment.bytes=5; check the name and \
         the value, or leave it out"
    );
    assert_eq!(said(place, &["topic", "list"]), "t\n", "nothing was created");
    assert_eq!(said(place, &["topic", "delete", "t"]), "deleted topic `t`\n");
    assert_eq!(said(place, &["topic", "delete", "t", "--if-exists"]), "");
    assert!(refused(place, &["topic", "delete", "t"]).starts_with("error: there is no topic `t`;"));
    served.end();
}

#[test]
fn records_are_printed_from_wherever_they_are_asked_for() {
    let served = Place::served();
    let place = &served.log();
    said(place, &["topic", "create", "t", "-p", "2"]);
    produce(place, &["produce", "t", "-K", ":", "-p", "0"], "k:0\nk:1\nk:2\n");
    produce(place, &["produce", "t", "-p", "1"], "x\n");
    for (arguments, expected) in [
        (&["-e", "--from-beginning"][..], "0\n1\n2\nx\n"),
        (&["-e"], "0\n1\n2\nx\n"),
        (&["-e", "-o", "end"], ""),
        (&["-e", "-p", "0", "-o", "-1"], "2\n"),
        (&["-p", "0", "-o", "1", "-n", "2"], "1\n2\n"),
        (&["-p", "0", "-o", "start", "-n", "1", "-f", "%t/%p@%o %k=%v"], "t/0@0 k=0"),
        (&["-e", "-o", "@0", "-f", "%v "], "0 1 2 x "),
        (&["-e", "-o", "@2100-01-01T00:00:00Z"], ""),
    ] {
        assert_eq!(said(place, &[&["consume", "t"], arguments].concat()), expected, "{arguments:?}");
    }
    let line = json(&said(place, &["consume", "t", "-p", "0", "-o", "2", "-n", "1", "--json"]));
    assert_eq!((&line["key"], &line["value"], &line["offset"]), (&"k".into(), &"2".into(), &2.into()));
    let sentence = refused(place, &["consume", "none"]);
    assert_eq!(sentence, "error: there is no topic `none`; create it with `topo topic create none`");
    served.end();
}

/// A `consume` that runs, and what it prints.
struct Follower {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn start(place: &Path, arguments: &[&str]) -> Self {
        let mut child = command(place, arguments).spawn().expect("the binary was built");
        let lines = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("text");
        line
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(mut self) {
        let kill = format!("kill -INT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }
}

#[test]
fn what_comes_is_followed_until_ctrl_c() {
    let served = Place::served();
    let place = &served.log();
    said(place, &["topic", "create", "t", "-p", "2"]);
    produce(place, &["produce", "t", "-p", "0"], "before\n");
    let mut follower = Follower::start(place, &["consume", "t", "--from-beginning"]);
    assert_eq!(follower.line(), "before\n");
    for (partition, line) in [("0", "one\n"), ("1", "two\n"), ("0", "three\n")] {
        produce(place, &["produce", "t", "-p", partition], line);
        assert_eq!(follower.line(), line);
    }
    follower.interrupt();
    served.end();
}

#[test]
fn groups_are_joined_described_reset_and_deleted() {
    let served = Place::served();
    let place = &served.log();
    said(place, &["topic", "create", "t", "-p", "2"]);
    produce(place, &["produce", "t", "-p", "0"], "0\n1\n2\n");
    produce(place, &["produce", "t", "-p", "1"], "x\n");
    let of_group = ["consume", "t", "-g", "g", "--from-beginning"];
    let mut first: Vec<String> =
        said(place, &[&of_group[..], &["-e"]].concat()).lines().map(str::to_owned).collect();
    first.sort();
    assert_eq!(first, ["0", "1", "2", "x"]);
    assert_eq!(said(place, &[&of_group[..], &["-e"]].concat()), "", "all is committed");
    produce(place, &["produce", "t", "-p", "0"], "3\n4\n");

    let listed = json(&said(place, &["group", "list", "--json"]));
    assert_eq!(listed, serde_json::json!([{ "group": "g", "state": "Empty" }]));
    let lag = |place: &Path| {
        let described = json(&said(place, &["group", "describe", "g", "--json"]));
        described["partitions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["lag"].as_i64())
            .collect::<Vec<_>>()
    };
    assert_eq!(lag(place), [Some(2), Some(0)]);
    assert!(said(place, &["group", "describe", "g"]).contains("lag     2\n"));

    let mut follower = Follower::start(place, &of_group);
    assert_eq!((follower.line(), follower.line()), ("3\n".to_owned(), "4\n".to_owned()));
    let begun = Instant::now();
    while lag(place) != [Some(0), Some(0)] {
        assert!(begun.elapsed() < Duration::from_secs(60), "the lag does not move");
    }
    let described = json(&said(place, &["group", "describe", "g", "--json"]));
    assert_eq!(
        (&described["state"], described["members"].as_array().map(Vec::len)),
        (&"Stable".into(), Some(1))
    );
    let reset = ["group", "reset", "g", "--topic", "t"];
    let sentence = refused(place, &[&reset[..], &["--to-earliest"]].concat());
    assert_eq!(sentence, "error: group `g` has members, which go on from where they are; stop them first");
    let mut watcher = Follower::start(place, &["group", "describe", "g", "--watch=0.1", "--json"]);
    assert_eq!(json(&watcher.line())["partitions"][0]["lag"], 0);
    follower.interrupt();
    produce(place, &["produce", "t", "-p", "0"], "5\n");
    while json(&watcher.line())["partitions"][0]["lag"] != 1 {}
    assert_eq!(said(place, &[&of_group[..], &["-e"]].concat()), "5\n");
    while json(&watcher.line())["partitions"][0]["lag"] != 0 {}
    watcher.interrupt();

    said(place, &[&reset[..], &["--to-earliest", "--dry-run"]].concat());
    assert_eq!(lag(place), [Some(0), Some(0)]);
    for (to, expected) in [
        (&["--to-earliest"][..], [6, 1]),
        (&["--shift-by", "2"], [4, 0]),
        (&["--shift-by", "-1", "-p", "0"], [5, 0]),
        (&["--to-offset", "99"], [0, 0]),
        (&["--to-time", "0"], [6, 1]),
        (&["--to-latest"], [0, 0]),
    ] {
        said(place, &[&reset[..], to].concat());
        assert_eq!(lag(place), expected.map(Some), "{to:?}");
    }
    assert_eq!(said(place, &["group", "delete", "g"]), "deleted group `g`\n");
    let sentence = refused(place, &["group", "describe", "g"]);
    assert_eq!(sentence, "error: there is no group `g`; `topo group list` prints those there are");
    served.end();
}

#[test]
fn groups_of_a_data_directory_are_seen_and_reset_too() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let place = &dir.path().join("data");
    let input = dir.path().join("input.txt");
    std::fs::write(&input, "to be or not to be\n".repeat(10)).expect("room for a test");
    let run = Run::start(place, &["--until-idle", "--input", input.to_str().expect("a path of text")]);
    assert_eq!(run.end().code, Some(0));
    let described = || json(&said(place, &["group", "describe", "word-count", "--json"]));
    assert_eq!(described()["partitions"][0]["committed"], 10);
    said(place, &["group", "reset", "word-count", "--topic", "lines", "--to-offset", "4"]);
    assert_eq!(described()["partitions"][0]["lag"], 6);
    assert!(said(place, &["group", "list"]).contains(" word-count\n"));
    let sentence = refused(place, &["group", "describe", "word-count", "--watch"]);
    assert!(sentence.starts_with("error: nothing moves in a data directory "), "{sentence}");
    assert_eq!(said(place, &["consume", "lines", "-g", "mine", "-n", "3"]).lines().count(), 3);
    assert_eq!(said(place, &["consume", "lines", "-g", "mine"]).lines().count(), 7, "it goes on");
}

#[test]
fn a_broker_that_is_not_there_is_said_at_once() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    // The port was free a moment ago, and nobody listens on it now.
    let free =
        TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound").to_string();
    let expected =
        format!("error: no broker answers at {free}; start one with `topo broker`, or check --broker");
    for verb in [
        &["topic", "list"][..],
        &["consume", "t"],
        &["group", "list"],
        &["run", "word-count", "--status", "off"],
    ] {
        assert_eq!(refused(dir.path(), &[verb, &["--broker", &free]].concat()), expected);
    }
    let output = topo(dir.path(), &["run", "word-count", "--broker", "http://there"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("kafka://127.0.0.1:9092"));
}
