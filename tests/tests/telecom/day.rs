//! A day without trouble: the results are the truth to the last record.

use std::process::{Command, Stdio};

use crate::compare::{Demand, with_truth};
use crate::process::{Serving, free_port, said, topo};

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
    let broker = Serving::start(&["broker"], &data, address);
    let windows = with_truth(address, &truth, Demand::Equal);
    assert!(windows > 500, "{windows}");
    broker.stop();
}

#[test]
fn a_day_at_a_broker_is_worked_on_to_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let address = free_port();
    let broker = Serving::start(&["broker"], &data, address);
    let place = address.to_string();
    let generate = ["generate", "telecom", "--events", EVENTS, "--seed", "8", "--broker", &place, "--truth"];
    said(topo(&generate).arg(&truth));
    said(&mut topo(&["run", "telecom", "--status", "off", "--broker", &place, "--until-idle"]));
    with_truth(address, &truth, Demand::Equal);
    broker.stop();
}

/// So few that what is under way is done within the time that stopping takes, on any machine.
const FEWER_EVENTS: &str = "6000";

#[test]
fn a_day_whose_topology_is_stopped_in_order_and_started_again_is_worked_on_to_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (data, truth) = (dir.path().join("data"), dir.path().join("truth.jsonl"));
    let address = free_port();
    let broker = Serving::start(&["broker"], &data, address);
    let place = address.to_string();
    let run = ["run", "telecom", "--status", "off", "--broker", &place];
    let mut running = topo(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let generate =
        ["generate", "telecom", "--events", FEWER_EVENTS, "--seed", "9", "--broker", &place, "--truth"];
    said(topo(&generate).arg(&truth));
    let told = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    assert!(told.success() && running.wait().unwrap().success());
    said(topo(&run).arg("--until-idle"));
    with_truth(address, &truth, Demand::Equal);
    broker.stop();
}
