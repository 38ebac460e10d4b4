//! The page of a run, while it runs.

use std::net::TcpStream;

use serde_json::Value;

use crate::topo::Run;

fn named<'a>(components: &'a Value, key: &str, name: &str) -> &'a Value {
    let components = components.as_array().expect("a list");
    components.iter().find(|component| component[key] == name).expect("the component")
}

/// The sum of a counter over a component's tasks, as Prometheus would read it.
fn metric(metrics: &str, name: &str, component: &str) -> u64 {
    let labels = format!("component=\"{component}\"");
    let lines =
        metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&labels));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
    let values: Vec<u64> = lines.map(|line| value(line).expect("a number")).collect();
    assert!(!values.is_empty(), "no {name} of {component} in {metrics}");
    values.iter().sum()
}

#[test]
fn its_numbers_are_those_of_the_summary() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let file = dir.path().join("input.txt");
    std::fs::write(&file, "to be or not to be\n".repeat(3_000)).expect("room for a test");
    let run = Run::start(&dir.path().join("data"), &["--input", file.to_str().expect("a path of text")]);

    let summaries = run.json("/api/v1/topology/summary");
    let summary = &summaries["topologies"][0];
    assert_eq!((summary["id"].as_str(), summary["status"].as_str()), (Some(run.id()), Some("ACTIVE")));
    assert_eq!((summary["name"].as_str(), summary["tasksTotal"].as_u64()), (Some("word-count"), Some(6)));

    run.wait_for_acked(3_000);
    let topology = run.topology();
    let stats = &topology["topologyStats"][0];
    assert_eq!([&stats["acked"], &stats["failed"], &stats["pending"]], [3_000, 0, 0]);
    let lines = named(&topology["spouts"], "spoutId", "lines");
    assert_eq!([&lines["emitted"], &lines["acked"], &lines["tasks"]], [3_000, 3_000, 1]);
    assert_eq!(lines["completeLatencyMicros"]["count"], 3_000);
    for (bolt, executed, emitted) in
        [("split", 3_000, 18_000), ("count", 18_000, 18_000), ("counts", 18_000, 0)]
    {
        let bolt = named(&topology["bolts"], "boltId", bolt);
        assert_eq!([&bolt["executed"], &bolt["acked"], &bolt["emitted"]], [executed, executed, emitted]);
        assert_eq!((&bolt["failed"], &bolt["queue"]["tuples"]), (&0.into(), &0.into()));
        assert!(bolt["executeLatencyMicros"]["p99"].as_f64() > Some(0.0));
    }
    let metrics = run.get("/metrics");
    assert_eq!(metric(&metrics, "topo_acked_total", "lines"), 3_000);
    assert_eq!(metric(&metrics, "topo_executed_total", "count"), 18_000);
    assert!(run.get("/").contains(r#"<script src="/assets/app.js""#));

    let page = run.page();
    run.terminate();
    let ended = run.end();
    let expected = "word-count: emitted 3000, acked 3000, failed 0, rejected 0, exhausted 0";
    assert_eq!(ended.stdout.lines().next(), Some(expected));
    assert!(TcpStream::connect(page).is_err(), "the page ends with the run");
}
