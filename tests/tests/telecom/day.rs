//! A day without trouble: the results are the truth to the last record.

use topo::ready_made::telecom::NETWORK;

use crate::compare::{Demand, with_truth};
use crate::process::{Process, free_port, said, topo};
use crate::read::Committed;

const EVENTS: &str = "30000";

#[test]
fn a_day_in_the_log_is_worked_on_to_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let generate = || {
        let mut generate = topo(&["generate", "telecom", "--events", EVENTS, "--seed", "7", "--truth"]);
        said(generate.arg(&truth).arg("--data-dir").arg(&data))
    };
    assert!(generate().ends_with(" 0 in the log already\n"));
    let again = generate();
    assert!(again.contains(": 0 appended, "), "{again}");
    let run = ["run", "telecom", "--status", "off", "--listen", "off", "--until-idle", "--data-dir"];
    let summary = said(topo(&run).arg(&data));
    assert!(summary.starts_with("telecom: emitted 30000, "), "{summary}");
    // Nothing is left to be done, and a second run says nothing new.
    let summary = said(topo(&run).arg(&data));
    assert!(summary.starts_with("telecom: emitted 0, "), "{summary}");
    let address = free_port();
    let broker = Process::serving(&["broker"], &data, address);
    let windows = with_truth(address, &truth, Demand::Equal);
    assert!(windows > 500, "{windows}");
    broker.stop();
}

#[test]
fn a_day_at_a_broker_is_worked_on_to_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let address = free_port();
    let broker = Process::serving(&["broker"], &data, address);
    let place = address.to_string();
    let generate = ["generate", "telecom", "--events", EVENTS, "--seed", "8", "--broker", &place, "--truth"];
    said(topo(&generate).arg(&truth));
    said(&mut topo(&["run", "telecom", "--status", "off", "--broker", &place, "--until-idle"]));
    with_truth(address, &truth, Demand::Equal);
    broker.stop();
}

/// How many seconds what is under way has to complete as the topology is stopped: more than it takes on any machine. What is
/// left undone is replayed, and may count again.
const STOP_WAIT: &str = "500";

#[test]
fn a_day_whose_topology_is_stopped_in_order_and_started_again_is_worked_on_to_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let address = free_port();
    let broker = Process::serving(&["broker"], &data, address);
    let place = address.to_string();
    let run = |status| topo(&["run", "telecom", "--status", status, "--broker", &place]);
    let mut running = Process::start(&mut run("127.0.0.1:0"));
    let page = running.line_with("  page ");
    let page = page.split_whitespace().last().unwrap();
    let generate = ["generate", "telecom", "--events", EVENTS, "--seed", "9", "--broker", &place, "--truth"];
    let generator = Process::start(topo(&generate).arg(&truth));
    let committed = Committed::of(address, "telecom", NETWORK);
    committed.reaches(1);
    said(&mut topo(&["kill", "telecom", "-w", STOP_WAIT, "--status", page]));
    running.end();
    eprintln!("stopped with {} of {EVENTS} committed", committed.now());
    generator.end();
    said(run("off").arg("--until-idle"));
    with_truth(address, &truth, Demand::Equal);
    broker.stop();
}
