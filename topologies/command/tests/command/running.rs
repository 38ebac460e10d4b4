//! The verbs that talk to a topology which runs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::topo::{PATIENCE, Run, command};

/// Runs word-count on a data directory in `dir`, known to who looks in `dir`.
fn word_count(dir: &Path, name: &str, arguments: &[&str]) -> Run {
    let mut start = command(&dir.join(name), &["run", "word-count", "--status", "127.0.0.1:0"]);
    Run::start_with(start.args(arguments).env("TOPO_RUNTIME_DIR", dir.join("runs")))
}

fn topo(dir: &Path, arguments: &[&str]) -> Output {
    let mut command: Command = command(&dir.join("none"), arguments);
    command.env("TOPO_RUNTIME_DIR", dir.join("runs")).output().expect("the binary was built for this test")
}

fn said(dir: &Path, arguments: &[&str]) -> String {
    let output = topo(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn json_of(dir: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(dir, arguments)).expect("JSON")
}

fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = topo(dir, arguments);
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{arguments:?}");
    String::from_utf8(output.stderr).expect("errors are text").trim_end().to_owned()
}

#[test]
fn what_runs_is_listed_described_paused_resumed_and_killed() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let dir = dir.path();
    assert_eq!(said(dir, &["list"]), "no topology of yours is running on this machine\n");
    let input = dir.join("input.txt");
    std::fs::write(&input, "to be or not to be\n".repeat(20)).expect("room for a test");
    let run = word_count(dir, "data", &["--input", input.to_str().expect("a path of text")]);
    run.wait_for_acked(20);

    let listed = json_of(dir, &["list", "--json"]);
    let [only] = listed["topologies"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    let page = format!("http://{}", run.page());
    assert_eq!(
        (&only["id"], &only["page"], &only["status"]),
        (&json!(run.id()), &json!(page), &json!("ACTIVE"))
    );
    assert!(only["pid"].is_u64() && only.get("token").is_none(), "{only}");
    let table = said(dir, &["list"]);
    assert!(table.starts_with("TOPOLOGY ") && table.contains(run.id()) && table.contains(&page), "{table}");

    let described = said(dir, &["describe"]);
    assert!(described.starts_with(&format!("{}: ACTIVE, up ", run.id())), "{described}");
    let count = described.lines().find(|line| line.starts_with("count ")).expect("a row");
    let numbers: Vec<&str> = count.split_whitespace().take(7).collect();
    assert_eq!(numbers, ["count", "bolt", "2", "120", "120", "120", "0"]);
    assert_eq!(json_of(dir, &["describe", "word-count", "--json"])["spouts"][0]["acked"], 20);
    let top = said(dir, &["top", "--json", "-n", "2"]);
    assert_eq!(top.lines().count(), 2);
    assert!(refused(dir, &["top"]).contains("--json"));

    assert_eq!(said(dir, &["pause", "word-count"]), format!("{} is paused\n", run.id()));
    assert_eq!(json_of(dir, &["describe", "--json"])["status"], "INACTIVE");
    let resumed = json_of(dir, &["resume", run.id(), "--json"]);
    assert_eq!(
        resumed,
        json!({ "topologyOperation": "activate", "topologyId": run.id(), "status": "success" })
    );
    assert_eq!(json_of(dir, &["describe", "--json"])["status"], "ACTIVE");
    assert!(
        refused(dir, &["pause", "other"])
            .starts_with("error: no topology `other` of yours is running on this machine, but word-count-")
    );
    assert!(refused(dir, &["kill", "-w", "x"]).contains("'x'"));
    let mut top = command(&dir.join("none"), &["top", "--json"]);
    let mut top =
        top.env("TOPO_RUNTIME_DIR", dir.join("runs")).spawn().expect("the binary was built for this test");
    let mut lines = BufReader::new(top.stdout.take().expect("it was piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains(run.id()), "{first}");

    assert_eq!(said(dir, &["kill", "-w", "20"]), format!("{} ends\n", run.id()));
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(said(dir, &["list"]), "no topology of yours is running on this machine\n");
    // It ends with what it shows.
    assert_eq!(top.wait().expect("it ends").code(), Some(0));
    assert!(lines.all(|line| line.is_ok_and(|line| serde_json::from_str::<Value>(&line).is_ok())));
}

#[test]
fn of_several_one_is_named_and_what_was_killed_is_not_listed() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let dir = dir.path();
    let (first, second) = (word_count(dir, "one", &[]), word_count(dir, "two", &[]));
    assert_eq!(json_of(dir, &["list", "--json"])["topologies"].as_array().map(Vec::len), Some(2));
    let sentence = refused(dir, &["describe"]);
    assert!(
        sentence.starts_with("error: several topologies are running at this machine: word-count-"),
        "{sentence}"
    );
    let page = first.page().to_string();
    said(dir, &["pause", "--status", &page]);
    // A page that is named is the one that is listed, by whatever name of this machine's own.
    let elsewhere = format!("http://localhost:{}/", first.page().port());
    let listed = json_of(dir, &["list", "--json", "--status", &elsewhere]);
    let [only] = listed["topologies"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    assert_eq!((&only["id"], &only["status"]), (&json!(first.id()), &json!("INACTIVE")));
    assert!(only["pid"].is_u64(), "{only}");
    said(dir, &["pause", "--status", &elsewhere]);
    assert!(
        refused(dir, &["list", "--status", "127.0.0.1:1"]).contains("no topology is running at 127.0.0.1:1")
    );
    assert_eq!(
        json_of(dir, &["list", "--json", "--status", "off"])["topologies"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(
        (&first.topology()["status"], &second.topology()["status"]),
        (&json!("INACTIVE"), &json!("ACTIVE"))
    );
    first.kill();
    let begun = Instant::now();
    while json_of(dir, &["list", "--json"])["topologies"].as_array().map(Vec::len) != Some(1) {
        assert!(begun.elapsed() < PATIENCE, "the killed one is still listed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(std::fs::read_dir(dir.join("runs")).expect("a directory").count(), 1);
    second.kill();
}

#[test]
fn the_runs_file_lets_its_user_in_and_nobody_else() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let dir = dir.path();
    let token = "a-token-that-is-long-enough";
    let mut start = command(&dir.join("data"), &["run", "word-count", "--status", "127.0.0.1:0"]);
    start.env("TOPO_RUNTIME_DIR", dir.join("runs")).env("TOPO_STATUS_TOKEN", token);
    let run = Run::start_with(&mut start);
    let file =
        std::fs::read_dir(dir.join("runs")).expect("a directory").next().expect("a file").expect("a file");
    assert!(!std::fs::read_to_string(file.path()).expect("text").contains(token));
    // Nothing else is needed, and another topology's token does no harm.
    assert_eq!(json_of(dir, &["list", "--json"])["topologies"][0]["status"], "ACTIVE");
    said(dir, &["pause"]);
    let page = run.page().to_string();
    said(dir, &["resume", "--status", &page, "--status-token", "a-token-of-another-topology"]);
    // Who does not have the file is told what to do.
    let without = |arguments: &[&str], token: &str| {
        let mut command = command(&dir.join("none"), arguments);
        command.args(["--status", &page]).env("TOPO_RUNTIME_DIR", dir.join("nowhere"));
        let output =
            command.env("TOPO_STATUS_TOKEN", token).output().expect("the binary was built for this test");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(without(&["pause"], token), (Some(0), String::new()));
    for arguments in [&["pause"][..], &["describe"], &["list"]] {
        let (code, sentence) = without(arguments, "a-token-that-is-not-the-one");
        assert!(code == Some(2) && sentence.contains("give it with TOPO_STATUS_TOKEN"), "{sentence}");
    }
    run.kill();
    let run = word_count(dir, "open", &[]);
    let page = run.page().to_string();
    let output = command(&dir.join("none"), &["pause", "--status", &page])
        .env("TOPO_RUNTIME_DIR", dir.join("nowhere"))
        .output()
        .expect("the binary was built for this test");
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(sentence.contains("be the user who runs the topology"), "{sentence}");
    run.kill();
}

#[test]
fn the_logs_level_is_set_for_a_time() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let dir = dir.path();
    let mut start = command(&dir.join("data"), &["run", "word-count", "--status", "127.0.0.1:0"]);
    let token = "a-token-that-is-long-enough";
    start.env("TOPO_RUNTIME_DIR", dir.join("runs")).env("TOPO_STATUS_TOKEN", token);
    let run = Run::start_with(&mut start);
    let change = |method, path: &str, body| {
        let (status, answer) = run.change(method, path, token, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    let topology = |verb| format!("/api/v1/topology/{}/{verb}", run.id());
    change("POST", &topology("deactivate"), "");
    let set = change("POST", "/api/v1/log-level", r#"{"level":"info","seconds":3600}"#);
    assert_eq!(set, r#"{"level":"info"}"#);
    change("POST", &topology("activate"), "");
    assert_eq!(change("DELETE", "/api/v1/log-level", ""), r#"{"level":"warn"}"#);
    change("POST", &topology("deactivate"), "");
    run.terminate();
    let ended = run.end();
    let said: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("done from the page")).collect();
    assert!(matches!(&*said, [only] if only.contains("\"activate\"")), "{}", ended.stderr);
}

#[test]
fn beyond_this_machine_the_page_asks_for_a_token_and_shows_a_certificate() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let dir = dir.path();
    let token = "a-token-that-is-long-enough";
    let open = ["run", "word-count", "--status", "0.0.0.0:0"];
    let output = command(&dir.join("none"), &open).output().expect("the binary was built for this test");
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && sentence.contains("--insecure-bind"), "{sentence}");

    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    std::fs::write(&certificate, signed.cert.pem()).expect("room for a test");
    std::fs::write(&key, signed.signing_key.serialize_pem()).expect("room for a test");
    let (certificate, key) = (certificate.to_str().expect("text"), key.to_str().expect("text"));
    let mut start = command(&dir.join("data"), &open);
    start.args(["--status-cert", certificate, "--status-key", key, "--status-name", "localhost"]);
    start.env("TOPO_RUNTIME_DIR", dir.join("runs")).env("TOPO_STATUS_TOKEN", token);
    let run = Run::start_with(&mut start);
    let url = run.url();
    assert!(url.starts_with("https://localhost:"), "{url}");

    let with = |arguments: &[&str], token: Option<&str>| {
        let mut command = command(&dir.join("none"), arguments);
        command.args(["--status", url]).env("TOPO_RUNTIME_DIR", dir.join("nowhere"));
        if let Some(token) = token {
            command.env("TOPO_STATUS_TOKEN", token);
        }
        let output = command.output().expect("the binary was built for this test");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let trust = ["--status-ca", certificate];
    let (code, out, error) = with(&[&["describe"], &trust[..]].concat(), Some(token));
    assert!(code == Some(0) && out.contains("ACTIVE"), "{out}{error}");
    assert_eq!(with(&[&["pause"], &trust[..]].concat(), Some(token)).0, Some(0));
    let (code, _, error) = with(&[&["describe"], &trust[..]].concat(), Some("a-token-that-is-not-the-one"));
    assert!(code == Some(2) && error.contains("asks for its token"), "{error}");
    let (code, _, error) = with(&[&["describe"], &trust[..]].concat(), None);
    assert!(code == Some(2) && error.contains("asks for its token"), "{error}");
    let (code, _, error) = with(&["describe"], Some(token));
    assert!(code == Some(2) && error.contains("--status-ca FILE"), "{error}");
    run.kill();
}
