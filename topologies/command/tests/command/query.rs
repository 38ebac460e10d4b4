//! `topo query` while a topology with keyed state runs, and what is left of the state from run to run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::topo::{Run, built_example, refused, said, topo};

/// Runs the program on `data_dir`, feeding what `input` has grown by.
fn start(program: &Path, data_dir: &Path, input: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.env_clear().env("TOPO_DATA_DIR", data_dir).env("TOPO_LISTEN", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["--status", "127.0.0.1:0", "--input"]).arg(input).args(arguments);
    Run::start_with(&mut command)
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
        let ask = |arguments: &[&str]| said(dir.path(), &query(&page, arguments));
        let counts = 100 * (run + 1);
        assert_eq!(ask(&["counts", "--key", "to"]), format!("{}\n", 2 * counts), "run {run}");
        assert_eq!(ask(&["count/counts", "--key", "not"]), format!("{counts}\n"), "run {run}");
        assert_eq!(ask(&[]), "count/counts: 4 values, kept in stateful-count.counts.changelog\n");
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
