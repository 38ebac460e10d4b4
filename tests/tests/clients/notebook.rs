//! The lecture's demo: a stream is loaded by an outside client, a topology processes it, results go back into the log,
//! and a notebook analyses them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use topo_tests::topo_binary;

use crate::broker::Broker;
use crate::client::{Client, are_installed, python};
use crate::record::{Record, text};

const SENTENCES: [&str; 4] = [
    "the quick brown fox jumps over the lazy dog",
    "the dog barks and the fox runs",
    "a stream is the history of the world",
    "the log is the stream",
];

/// So many lines of the sentences in turn.
fn lines(count: usize) -> Vec<Record> {
    let record = |sentence: &&str| Record {
        partition: 0,
        offset: None,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(text(sentence.as_bytes())),
        headers: Vec::new(),
    };
    SENTENCES.iter().cycle().take(count).map(record).collect()
}

/// All that a notebook's cells printed or showed, as text.
fn shown(notebook: &Value) -> String {
    let outputs = notebook["cells"].as_array().unwrap().iter().filter_map(|cell| cell["outputs"].as_array());
    let texts = outputs.flatten().flat_map(|output| [&output["text"], &output["data"]["text/plain"]]);
    let joined = |text: &Value| match text {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        text => text.as_str().unwrap_or_default().to_owned(),
    };
    texts.map(joined).collect::<Vec<String>>().join("\n")
}

#[test]
fn a_notebook_sees_what_a_topology_counted_of_an_outside_stream() {
    if !are_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(topo_binary());
    command.args(["run", "word-count", "--status", "off", "--listen", &free.to_string(), "--data-dir"]);
    let topology = Broker::start_with(command.arg(dir.path()), free);
    let lines = lines(2_000);
    Client::KafkaPython.produce(free, "lines", "gzip", &lines);
    let words: usize = SENTENCES.iter().map(|sentence| sentence.split(' ').count() * 500).sum();
    // The last count is there once as many can be read.
    assert_eq!(Client::Confluent.consume(free, "counts", words).len(), words);

    let notebooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/notebook");
    let executed = dir.path().join("executed.ipynb");
    let output = Command::new(python().with_file_name("jupyter"))
        .args(["execute", "--output"])
        .arg(&executed)
        .arg(notebooks.join("word_count.ipynb"))
        .env("TOPO_BROKER", free.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let notebook: Value = serde_json::from_slice(&std::fs::read(executed).unwrap()).unwrap();
    let shown = shown(&notebook);
    let mut truth: BTreeMap<&str, usize> = BTreeMap::new();
    SENTENCES
        .iter()
        .flat_map(|sentence| sentence.split(' '))
        .for_each(|word| *truth.entry(word).or_default() += 500);
    assert!(shown.contains(&format!("{words} counts of {} words", truth.len())), "{shown}");
    let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(shown.lines().any(|line| row(line) == ["the", &truth["the"].to_string()]), "{shown}");
    assert_eq!(notebook.to_string().matches("image/png").count(), 2, "two plots");
    drop(topology);
}
