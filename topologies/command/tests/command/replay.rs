//! Dead letters from outside: what `topo consume` tells of them, and `topo replay`.

use crate::place::Place;
use crate::topo::{Run, command, refused, said, topo};

const GOOD: &str = r#"10.0.0.1 - - [10/Oct/2025:13:00:00 +0000] "GET / HTTP/1.1" 200 1"#;

/// Feeds these lines to `access-log` and lets it come to its end; gives the first line of its summary.
fn access_log(place: &Place, lines: &str) -> String {
    let input = place.file("access.log", lines);
    let arguments = ["run", "access-log", "--until-idle", "--status", "off", "--input"];
    let output = command(&place.log(), &arguments).arg(input).output().expect("it was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("summaries are text");
    said.lines().next().expect("a summary").to_owned()
}

#[test]
fn letters_say_why_they_died_and_are_fed_in_again_once() {
    die_and_feed_in_again(&Place::embedded());
}

#[test]
fn letters_at_a_broker_say_why_they_died_and_are_fed_in_again_once() {
    let served = Place::served();
    die_and_feed_in_again(&served);
    served.end();
}

fn die_and_feed_in_again(place: &Place) {
    let log = &place.log();
    // At a broker, more could come.
    let consume =
        |topic: &str, arguments: &[&str]| said(log, &[&["consume", topic, "-e"], arguments].concat());
    access_log(place, &format!("{GOOD}\nwhat is this\n{GOOD}\n"));
    let letters = consume("access.dead-letter", &[]);
    assert!(letters.starts_with("what is this\trejected by parse: "), "{letters}");
    assert_eq!(consume("access.dead-letter", &["-f", r"%v %{topo.offset}\n"]), "what is this 1\n");
    assert_eq!(consume("access", &[]), format!("{GOOD}\nwhat is this\n{GOOD}\n"), "lines are lines");

    let would = said(log, &["replay", "access.dead-letter", "--dry-run"]);
    assert!(would.starts_with("access.dead-letter-0 at 0 to access-0: rejected by parse: "), "{would}");
    let replayed = said(log, &["replay", "access.dead-letter"]);
    assert_eq!(replayed, "replayed 1 letter of `access.dead-letter` into `access`\n");
    let replayed = said(log, &["replay", "access.dead-letter"]);
    assert_eq!(replayed, "no letter of `access.dead-letter` was left to be replayed\n", "no second time");
    assert_eq!(consume("access", &["-o", "3"]), "what is this\n");

    // It is processed again, and dies again; the file, which has grown, is gathered on where it was.
    let summary = access_log(place, &format!("{GOOD}\nwhat is this\n{GOOD}\nthe last\n"));
    assert_eq!(summary, "access-log: emitted 2, acked 0, failed 2, rejected 2, exhausted 0");
    assert_eq!(consume("access", &["-o", "4"]), "the last\n");
    let replayed = said(log, &["replay", "access.dead-letter", "-n", "1"]);
    assert_eq!(replayed, "replayed 1 letter of `access.dead-letter` into `access`\n");
    said(log, &["topic", "create", "second-look"]);
    said(log, &["replay", "access.dead-letter", "--to", "second-look"]);
    // Whichever was rejected first.
    let mut again = [consume("access", &["-o", "5"]), consume("second-look", &[])];
    again.sort();
    assert_eq!(again, ["the last\n", "what is this\n"]);
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let place = Place::embedded();
    refuse_replay(&place);
    let data_dir = &place.log();
    let holder = Run::start(data_dir, &[]);
    let sentence = refused(data_dir, &["replay", "access.dead-letter"]);
    assert!(sentence.contains(" is in use by another topo "), "{sentence}");
    holder.terminate();
    assert_eq!(holder.end().code, Some(0));
}

#[test]
fn what_cannot_be_replayed_at_a_broker_is_said() {
    let served = Place::served();
    refuse_replay(&served);
    served.end();
}

fn refuse_replay(place: &Place) {
    let log = &place.log();
    access_log(place, "what is this\n");
    let sentence = refused(log, &["replay", "acess.dead-letter"]);
    assert!(sentence.starts_with("error: there is no topic `acess.dead-letter`"), "{sentence}");
    let output = topo(log, &["replay", "access"]);
    let printed = String::from_utf8(output.stdout).expect("tests print text");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(printed, "left access-0 at 0: it does not say which topic and partition it came from\n");
}
