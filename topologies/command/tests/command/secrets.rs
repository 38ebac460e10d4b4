//! A secret is planted in every setting that holds text, and looked for in all that the page, the API and the log say.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::topo::{PATIENCE, Run, command};

const SECRET: &str = "5ecre7-5ecre7-5ecre7";

/// Options that hold text of one's own, with the secret in it: names of files, and the token.
const PLANTED: [&str; 5] = ["--data-dir", "--input", "--status-cert", "--status-key", "--status-token"];
/// Options that hold an address, a name under which the page is known to whoever asks, a component's name, or nothing but a
/// choice, a number or a time.
const PUBLIC: [&str; 16] = [
    "--batch-interval",
    "--broker",
    "--delivery",
    "--durability",
    "--emit",
    "--from",
    "--help",
    "--insecure-bind",
    "--listen",
    "--max-batch-delay",
    "--release",
    "--state",
    "--status",
    "--status-name",
    "--tasks",
    "--until-idle",
];
const VIEWS: [&str; 9] =
    ["graph", "components", "component", "trees", "tree", "tap", "errors", "log", "state"];

/// A run with secrets, in a folder of their name; `start` adds what else it takes.
fn run(dir: &Path, name: &str, start: impl FnOnce(&mut Command, &Path)) -> Run {
    let folder = dir.join(format!("{SECRET}-{name}"));
    std::fs::create_dir(&folder).expect("room for a test");
    let input = folder.join("input.txt");
    std::fs::write(&input, "to be or not to be\n").expect("room for a test");
    let mut run = command(&folder.join("data"), &["run", "word-count", "--status", "127.0.0.1:0"]);
    run.args(["--input", input.to_str().expect("a path of text")]);
    run.env("TOPO_RUNTIME_DIR", folder.join("runs"))
        .env("TOPO_STATUS_TOKEN", SECRET)
        .env("TOPO_LOG", "trace");
    // Nobody asked for these.
    run.env("DATABASE_PASSWORD", SECRET).env("TOPO_SECRET", SECRET);
    start(&mut run, &folder);
    Run::start_with(&mut run)
}

/// What the page gives to who shows the token, and would show with a change.
fn page_token(run: &Run, authorization: &str) -> String {
    let page = run.ask("GET", "/", authorization).1;
    let is_hexadecimal = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = page.split(|c: char| !c.is_ascii_alphanumeric());
    words.find(is_hexadecimal).expect("the page has a token of its own").to_owned()
}

#[test]
fn every_setting_is_either_planted_or_public() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let help = command(dir.path(), &["run", "word-count", "--help"])
        .output()
        .expect("the binary was built for this test");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let told: BTreeSet<&str> = words.filter(|word| word.starts_with("--") && word.len() > 2).collect();
    let known: BTreeSet<&str> = PLANTED.into_iter().chain(PUBLIC).collect();
    let unknown: Vec<_> = told.difference(&known).collect();
    assert!(unknown.is_empty(), "may a secret be in {unknown:?}? Then plant one");
    assert!(PLANTED.iter().all(|option| told.contains(option)), "{told:?}");
}

#[test]
fn no_secret_is_told_by_page_api_or_log() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = run(dir.path(), "plain", |_, _| ());
    let authorization = format!("Authorization: Bearer {SECRET}\r\n");
    let get = |path: &str| run.ask("GET", path, &authorization).1;
    let begun = Instant::now();
    let topology = format!("/api/v1/topology/{}", run.id());
    while !get(&topology).contains("\"acked\":1,") {
        assert!(begun.elapsed() < PATIENCE, "the line is not acknowledged");
        std::thread::sleep(Duration::from_millis(10));
    }
    let page_token = page_token(&run, &authorization);
    let secrets = [SECRET, &page_token];
    let trees: Value = serde_json::from_str(&get(&format!("{topology}/trees"))).expect("JSON");
    let root = trees["ended"][0]["root"].as_str().expect("the first tree is traced");
    let openapi: Value = serde_json::from_str(&get("/api/v1/openapi.json")).expect("JSON");
    let mut asked = vec!["/".to_owned(), "/assets/app.js".to_owned(), "/nothing".to_owned()];
    for (path, operations) in openapi["paths"].as_object().expect("paths") {
        if operations.get("get").is_some() && path != "/api/v1/events" {
            let named =
                [("{id}", run.id()), ("{topic}", "lines"), ("{component}", "count"), ("{name}", "count")];
            let path = named.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
            let path = path.replace("{root}", root).replace("{edge}", "0").replace("{state}", "counts");
            assert!(!path.contains('{'), "{path}");
            asked.push(path + "?key=to&partition=0&offset=0");
        }
    }
    assert!(asked.len() > 15, "{asked:?}");
    for path in asked {
        let (status, answer) = run.ask("GET", &path, &authorization);
        let told = if path == "/" { &secrets[..1] } else { &secrets[..] };
        assert!(!told.iter().any(|secret| answer.contains(secret)), "{path} tells it");
        assert_ne!(status, 401, "{path}");
        let (status, answer) = run.ask("GET", &path, "");
        assert!(status == 401 || path.starts_with("/assets/"), "{path}: {status} without the token");
        assert!(!secrets.iter().any(|secret| answer.contains(secret)), "{path} tells it to who has no token");
    }
    for view in VIEWS {
        let asked = format!("{view}&component=count&root={root}&edge=0&topic=lines");
        let told = run.first_events(&asked, &authorization);
        assert!(!secrets.iter().any(|secret| told.contains(secret)), "view {view} tells it");
    }
    // What is done is logged, but not by what it was allowed.
    let (status, _) = run.change("POST", "/api/v1/log-level", SECRET, r#"{"level":"trace","seconds":60}"#);
    assert_eq!(status, 200);
    let refused = run.change("POST", &format!("{topology}/kill/{SECRET}"), &page_token, "");
    assert!(refused.0 == 400 && !refused.1.contains(SECRET), "{refused:?}");
    run.terminate();
    let ended = run.end();
    assert_eq!(ended.code, Some(0));
    // The banner, which says where the data is, came before.
    assert!(ended.stderr.contains("the log's level was set"), "{}", ended.stderr);
    assert!(!secrets.iter().any(|secret| ended.stderr.contains(secret)), "the log tells it");
    assert!(!ended.stdout.contains(SECRET), "the summary tells it");
}

#[test]
fn where_the_certificate_is_is_told_by_nobody() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let trusted = dir.path().join("trusted.pem");
    std::fs::write(&trusted, signed.cert.pem()).expect("room for a test");
    let run = run(dir.path(), "tls", |run, folder| {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, signed.cert.pem()).expect("room for a test");
        std::fs::write(&key, signed.signing_key.serialize_pem()).expect("room for a test");
        run.arg("--status-cert").arg(certificate).arg("--status-key").arg(key);
        run.args(["--status-name", "localhost"]);
    });
    let asked: [&[&str]; 6] = [
        &["describe", "--json"],
        &["errors", "word-count", "--json"],
        &["list", "--json"],
        &["query", "word-count", "--json"],
        &["top", "--json", "-n", "1"],
        &["pause", "--json"],
    ];
    for arguments in asked {
        let mut asking = command(&dir.path().join("none"), arguments);
        asking.args(["--status", run.url(), "--status-ca"]).arg(&trusted);
        let output =
            asking.env("TOPO_STATUS_TOKEN", SECRET).output().expect("the binary was built for this test");
        let (told, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {error}");
        assert!(!told.contains(SECRET) && !error.contains(SECRET), "{arguments:?} tells it");
    }
    run.terminate();
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let key = signed.signing_key.serialize_pem();
    let of_key = key.lines().nth(1).expect("a line of the key");
    assert!(!ended.stderr.contains(SECRET) && !ended.stderr.contains(of_key), "the log tells it");
}
