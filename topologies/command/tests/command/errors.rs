//! `topo errors` while a topology runs, and where none does.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use serde_json::Value;

use crate::place::Place;
use crate::topo::{PATIENCE, Run, command, refused, said, topo};

/// An `access-log` that has worked on these lines.
fn access_log(place: &Place, lines: &str, acked: u64) -> Run {
    let input = place.file("access.log", lines);
    let mut command = command(&place.log(), &["run", "access-log", "--status", "127.0.0.1:0", "--input"]);
    let run = Run::start_with(command.arg(input));
    run.wait_for_acked(acked);
    run
}

#[test]
fn what_was_rejected_is_told_while_the_topology_runs() {
    tell_what_was_rejected(&Place::embedded());
}

#[test]
fn what_was_rejected_of_a_broker_is_told_while_the_topology_runs() {
    let served = Place::served();
    tell_what_was_rejected(&served);
    served.end();
}

fn tell_what_was_rejected(place: &Place) {
    let log = &place.log();
    let good = r#"10.0.0.1 - - [10/Oct/2025:13:00:00 +0000] "GET / HTTP/1.1" 200 1"#;
    let run = access_log(place, &format!("what is this\n{good}\nwhat is that\n"), 1);
    let page = run.page().to_string();
    // The letters are told of once they are durable.
    let begun = Instant::now();
    let told = loop {
        let told = said(log, &["errors", "access-log", "--status", &page]);
        if told.contains(": 2 records rejected and 0 exhausted since the start\n") {
            break told;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
        assert!(told.contains("no dead letters") || told.contains(": 1 records"), "{told}");
    };
    assert!(told.starts_with(run.id()) && told.contains("\n2 rejected by parse, first "), "{told}");
    assert!(
        told.contains("\n  such as access-0 at offset 2, now in access.dead-letter:\n    what is that\n"),
        "{told}"
    );
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");

    let json = said(log, &["errors", run.id(), "--json", "--status", &page]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let cause = &json["deadLetters"]["causes"][0];
    assert_eq!(
        (&cause["component"], &cause["kind"], &cause["count"]),
        (&"parse".into(), &"rejected".into(), &2.into())
    );
    let series = r#"topo_dead_letters_total{topology="access-log",component="parse",kind="rejected"} 2"#;
    assert!(run.get("/metrics").contains(series));

    let other = refused(log, &["errors", "word-count", "--status", &page]);
    assert_eq!(other, format!("error: no topology `word-count` is running at {page}, but {}", run.id()));
    run.terminate();
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn where_no_topology_runs_it_says_so_in_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let free =
        TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound").to_string();
    let sentence = refused(dir.path(), &["errors", "--status", &free]);
    assert_eq!(
        sentence,
        format!(
            "error: no topology is running at {free}; start one with `topo run`, or say with --status ADDR where the \
             page of one is"
        )
    );
    assert_eq!(topo(dir.path(), &["errors", "--status", "here"]).status.code(), Some(2));
}

#[test]
fn what_is_no_page_is_not_taken_for_one() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    for (answer, reason) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404 Not Found"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "invalid "),
        ("220 mail.example ESMTP\r\n", "invalid HTTP"),
        ("", "connection closed"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("the command asks");
            let mut request = [0; 1024];
            let _ = client.read(&mut request).expect("the command asks");
            client.write_all(answer.as_bytes()).expect("the command reads");
        });
        let sentence = refused(dir.path(), &["errors", "--status", &at]);
        server.join().expect("it answers");
        let beginning = format!("error: what answers at {at} is no page of a topology ({reason}");
        assert!(sentence.starts_with(&beginning), "{sentence}");
    }
}
