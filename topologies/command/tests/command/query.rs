//! `topo query` while a topology with keyed state runs, and what is left of the state from run to run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::ready_made::{BEGIN_MS, hit, lines_in_time};
use crate::topo::{PATIENCE, Run, built_example, command, refused, topo};

/// Runs the program on `data_dir`, feeding what `input` has grown by.
fn start(program: &Path, data_dir: &Path, input: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.env_clear().env("TOPO_DATA_DIR", data_dir).env("TOPO_LISTEN", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["--status", "127.0.0.1:0", "--input"]).arg(input).args(arguments);
    Run::start_with(&mut command)
}

/// What it answers; again where the task that has the key is busy for long.
fn answered(data_dir: &Path, arguments: &[&str]) -> String {
    let begun = Instant::now();
    loop {
        let output = topo(data_dir, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        if error.contains("; ask again") && begun.elapsed() < PATIENCE {
            continue;
        }
        assert!(output.status.success(), "{error}");
        return String::from_utf8(output.stdout).expect("answers are text");
    }
}

fn query<'a>(page: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["query", "stateful-count", "--status", page], arguments].concat()
}

#[test]
fn the_value_of_a_key_is_told_and_lasts_from_run_to_run() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let program = built_example("stateful-count");
    let (data, input) = (dir.path().join("data"), dir.path().join("input.txt"));
    let mut lines = String::new();
    // In memory, on disk, with other numbers of tasks.
    for (run, arguments) in
        [&["--tasks", "count=1"][..], &["--state", "disk", "--tasks", "count=4"], &[]].into_iter().enumerate()
    {
        lines.push_str(&"to be or not to be\n".repeat(100));
        fs::write(&input, &lines).expect("room for a test");
        let running = start(&program, &data, &input, arguments);
        running.wait_for_acked(100);
        let page = running.page().to_string();
        let ask = |arguments: &[&str]| answered(dir.path(), &query(&page, arguments));
        let counts = 100 * (run + 1);
        assert_eq!(ask(&["counts", "--key", "to"]), format!("{}\n", 2 * counts), "run {run}");
        assert_eq!(ask(&["count/counts", "--key", "not"]), format!("{counts}\n"), "run {run}");
        let told = ask(&[]);
        let bytes = told.strip_prefix("count/counts: 4 values, ");
        let bytes =
            bytes.and_then(|rest| rest.strip_suffix(" bytes, kept in stateful-count.counts.changelog\n"));
        let bytes: u64 = bytes.and_then(|bytes| bytes.parse().ok()).expect("a size");
        // What is restored is flushed; keys have six to eight bytes, counts one to three.
        assert!((28..=44).contains(&bytes) || run == 0, "{told}");
        let json: Value = serde_json::from_str(&ask(&["counts", "--key", "or", "--json"])).expect("JSON");
        assert_eq!((&json["found"], &json["value"]), (&true.into(), &counts.into()));
        let listed: Value = serde_json::from_str(&ask(&["--json"])).expect("JSON");
        assert_eq!(listed["states"][0]["entries"], 4);
        let refused = |arguments: &[&str]| refused(dir.path(), &query(&page, arguments));
        assert_eq!(refused(&["counts", "--key", "7"]), "error: state `counts` has no value for key 7");
        assert_eq!(
            refused(&["none", "--key", "to"]),
            "error: topology `stateful-count` has no state `none`; it has count/counts"
        );
        running.terminate();
        let ended = running.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    assert_eq!(topo(dir.path(), &["query", "stateful-count", "--key", "to"]).status.code(), Some(2));
}

/// A run of a ready-made topology that has taken so many records in.
fn ready_made(data_dir: &Path, arguments: &[&str], records: u64) -> Run {
    let run = Run::start_with(&mut command(
        data_dir,
        &[&["run"], arguments, &["--status", "127.0.0.1:0"]].concat(),
    ));
    run.wait_for_acked(records);
    run
}

#[test]
fn open_windows_are_shown_as_the_results_that_they_would_give_now() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    // So far ahead of the clock, which event time follows here, that it does not end their windows.
    let begin = 4_000_000_000_000;
    let lines = vec![(begin + 200, "to be or not to be".to_owned()), (begin + 1_300, "to".to_owned())];
    let lines = lines_in_time(dir.path(), lines).len() as u64;
    let run = ready_made(dir.path(), &["trending"], lines);
    let page = run.page().to_string();
    let ask = |arguments: &[&str]| -> Value {
        let arguments = [&["query", "trending"], arguments, &["--status", &page]].concat();
        serde_json::from_str(&answered(dir.path(), &arguments)).expect("JSON")
    };
    let window = |start: i64, value: u64| {
        json!({
            "window": { "start": begin + start, "end": begin + start + 60_000 },
            "value": value, "kind": "Early", "revision": 0,
        })
    };
    let to: Vec<_> = (-5..=0).map(|n| window(10_000 * n, 3)).collect();
    assert_eq!(ask(&["count", "--key", "to"]), json!({ "windows": to }));
    let not: Vec<_> = (-5..=0).map(|n| window(10_000 * n, 1)).collect();
    assert_eq!(run.json("/api/state/count/count?key=not")["value"], json!({ "windows": not }));
    run.terminate();
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn a_visit_that_goes_on_is_shown_from_its_first_request_on() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let input = dir.path().join("access.log");
    let hits = [hit(1, BEGIN_MS, 100), hit(1, BEGIN_MS + 60_000, 50), hit(2, BEGIN_MS + 61_000, 7)];
    fs::write(&input, hits.join("\n")).expect("room for a test");
    let data = dir.path().join("data");
    let run = ready_made(&data, &["sessions", "--input", input.to_str().expect("a path of text")], 3);
    let page = run.page().to_string();
    let query = ["query", "sessions", "visits/visits", "--key", "10.0.0.1", "--status", &page];
    let shown: Value = serde_json::from_str(&answered(dir.path(), &query)).expect("JSON");
    let end = BEGIN_MS + 60_000 + 30 * 60 * 1_000;
    let visit = json!({
        "window": { "start": BEGIN_MS, "end": end }, "value": [2, 150], "kind": "Early", "revision": 0,
    });
    assert_eq!(shown, json!({ "windows": [visit] }));
    run.terminate();
    assert_eq!(run.end().code, Some(0));
}
