//! Dead letters from outside: what `topo consume` tells of them, and `topo replay`.

use std::fs;
use std::path::Path;

use crate::topo::{Run, command, refused, said, topo};

const GOOD: &str = r#"10.0.0.1 - - [10/Oct/2025:13:00:00 +0000] "GET / HTTP/1.1" 200 1"#;

/// Feeds these lines to `access-log` and lets it come to its end; gives the first line of its summary.
fn access_log(dir: &Path, lines: &str) -> String {
    let input = dir.join("access.log");
    fs::write(&input, lines).expect("room for a test");
    let arguments = ["run", "access-log", "--until-idle", "--status", "off", "--input"];
    let output = command(&dir.join("data"), &arguments).arg(input).output().expect("it was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("summaries are text");
    said.lines().next().expect("a summary").to_owned()
}

#[test]
fn letters_say_why_they_died_and_are_fed_in_again_once() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = &dir.path().join("data");
    access_log(dir.path(), &format!("{GOOD}\nwhat is this\n{GOOD}\n"));
    let letters = said(data_dir, &["consume", "access.dead-letter"]);
    assert!(letters.starts_with("what is this\trejected by parse: "), "{letters}");
    assert_eq!(
        said(data_dir, &["consume", "access.dead-letter", "-f", r"%v %{topo.offset}\n"]),
        "what is this 1\n"
    );
    assert_eq!(
        said(data_dir, &["consume", "access"]),
        format!("{GOOD}\nwhat is this\n{GOOD}\n"),
        "lines are lines"
    );

    let would = said(data_dir, &["replay", "access.dead-letter", "--dry-run"]);
    assert!(would.starts_with("access.dead-letter-0 at 0 to access-0: rejected by parse: "), "{would}");
    let replayed = said(data_dir, &["replay", "access.dead-letter"]);
    assert_eq!(replayed, "replayed 1 letter of `access.dead-letter` into `access`\n");
    let replayed = said(data_dir, &["replay", "access.dead-letter"]);
    assert_eq!(replayed, "no letter of `access.dead-letter` was left to be replayed\n", "no second time");
    assert_eq!(said(data_dir, &["consume", "access", "-o", "3"]), "what is this\n");

    // It is processed again, and dies again; the file, which has grown, is gathered on where it was.
    let summary = access_log(dir.path(), &format!("{GOOD}\nwhat is this\n{GOOD}\nthe last\n"));
    assert_eq!(summary, "access-log: emitted 2, acked 0, failed 2, rejected 2, exhausted 0");
    assert_eq!(said(data_dir, &["consume", "access", "-o", "4"]), "the last\n");
    let replayed = said(data_dir, &["replay", "access.dead-letter", "-n", "1"]);
    assert_eq!(replayed, "replayed 1 letter of `access.dead-letter` into `access`\n");
    said(data_dir, &["topic", "create", "second-look"]);
    said(data_dir, &["replay", "access.dead-letter", "--to", "second-look"]);
    // Whichever was rejected first.
    let mut again =
        [said(data_dir, &["consume", "access", "-o", "5"]), said(data_dir, &["consume", "second-look"])];
    again.sort();
    assert_eq!(again, ["the last\n", "what is this\n"]);
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = &dir.path().join("data");
    access_log(dir.path(), "what is this\n");
    let sentence = refused(data_dir, &["replay", "acess.dead-letter"]);
    assert!(sentence.starts_with("error: there is no topic `acess.dead-letter`"), "{sentence}");
    let output = topo(data_dir, &["replay", "access"]);
    let printed = String::from_utf8(output.stdout).expect("tests print text");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(printed, "left access-0 at 0: it does not say which topic and partition it came from\n");

    let holder = Run::start(data_dir, &[]);
    let sentence = refused(data_dir, &["replay", "access.dead-letter"]);
    assert!(sentence.contains(" is in use by another topo "), "{sentence}");
    holder.terminate();
    assert_eq!(holder.end().code, Some(0));
}
