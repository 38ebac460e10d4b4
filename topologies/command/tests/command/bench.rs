//! `topo bench`: every measurement is made and said, and nothing is left behind.

use std::path::Path;

use serde_json::Value;

use crate::topo::said;

fn rows(arguments: &[&str]) -> Vec<Value> {
    rows_of("log", arguments)
}

fn rows_of(workload: &str, arguments: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let at = dir.path().to_str().expect("a temporary directory has a plain name");
    let said =
        said(Path::new("unused"), &[&["bench", workload], arguments, &["--json", "--data-dir", at]].concat());
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0, "something is left in {at}");
    said.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

#[test]
fn every_way_to_produce_and_fetch_is_measured_beside_its_bound() {
    let rows = rows(&["--seconds", "0.02", "--spread", "1,3", "--partitions", "2", "--batch", "1,64KiB"]);
    let count =
        |what: &str, path: &str| rows.iter().filter(|row| row["what"] == what && row["path"] == path).count();
    for path in ["tcp", "in-process"] {
        // Two sizes of records and two of batches; produce and ack by two durabilities.
        let counts = ["ack", "produce", "fetch", "spread"].map(|what| count(what, path));
        assert_eq!(counts, [2, 8, 4, 2], "{path}: {rows:#?}");
    }
    for row in &rows {
        let moved = row["records_per_second"].as_f64().is_some_and(|rate| rate > 0.0);
        let ordered = row["p50_us"].as_f64() <= row["p999_us"].as_f64() && row["p50_us"].as_f64() > Some(0.0);
        assert!(moved && ordered, "{row}");
        let is_synced = row["durability"] == "fsync";
        if row["what"] == "produce" || row["what"] == "fetch" {
            let bound = if is_synced { "the disk" } else { "the loopback" };
            assert_eq!(row["bound"]["name"], bound, "{row}");
            assert!(row["ratio"].as_f64() > Some(0.0), "{row}");
        }
    }
}

#[test]
fn a_word_costs_the_same_counting_whatever_the_windows_length_and_is_said_as_json() {
    for window in [5, 60] {
        let window = window.to_string();
        // Ninety seconds of event time, so that there are windows of either length.
        let arguments = ["--window", &window, "--sentences", "100", "--records", "9000", "--json"];
        let said = said(Path::new("unused"), &[&["bench", "windowed-word-count"], &arguments[..]].concat());
        let report: Value = serde_json::from_str(&said).expect("one object");
        assert_eq!(report["window_seconds"].to_string(), window);
        assert_eq!(
            (&report["workload"], &report["records"]),
            (&"windowed-word-count".into(), &81_216.into())
        );
    }
}

#[test]
fn a_large_directory_opens_by_its_last_segments() {
    let arguments = ["open", "--gigabytes", "1", "--partitions", "2", "--segment-bytes", "67108864"];
    let rows = rows(&arguments);
    let read = |left: &str| {
        let row = rows.iter().find(|row| row["left"] == left).expect("each way is measured");
        assert!(row["segments"].as_u64() >= Some(14), "{row}");
        row["bytes_read"].as_u64().expect("a count")
    };
    assert!(read("closed") < 50 << 20, "{rows:?}");
    assert!(read("killed") < 200 << 20, "of 1 GB no more than the last segments is read: {rows:?}");
    // Each partition's last segment, which is read to be checked, written again and read for its producers.
    let unsynced = read("killed-unsynced");
    assert!((read("killed")..400 << 20).contains(&unsynced), "no more than the last segments: {rows:?}");
}

#[test]
fn the_word_count_goes_from_topic_to_topic_and_takes_its_time_either_way() {
    for delivery in ["at-least-once", "exactly-once"] {
        let few = ["--lines", "3000", "--vocabulary", "50", "--rate", "1000", "--seconds", "0.5"];
        let rows = rows_of("word-count-topics", &[&["--delivery", delivery][..], &few].concat());
        let [row] = &rows[..] else { panic!("one object: {rows:?}") };
        assert_eq!((&row["delivery"], &row["durability"]), (&delivery.into(), &"fsync".into()));
        assert_eq!(row["transactions"].as_u64() > Some(0), delivery == "exactly-once", "{row}");
        assert!(row["lines_per_second"].as_f64() > Some(0.0) && row["samples"].as_u64() > Some(0), "{row}");
        assert!(row["latency_p50_ms"].as_f64() <= row["latency_p99_ms"].as_f64(), "{row}");
        // A batch is open for 100 ms, and most of what is in it waits for most of that.
        let least = if delivery == "exactly-once" { 10.0 } else { 0.1 };
        assert!(row["latency_p50_ms"].as_f64() > Some(least), "{row}");
    }
}

#[test]
fn every_request_and_view_of_a_page_is_measured() {
    let arguments = ["--components", "5", "--partitions", "3", "--requests", "2", "--seconds", "0.2"];
    let rows = rows_of("page", &arguments);
    let of = |what: &str| rows.iter().filter(|row| row["what"] == what).collect::<Vec<_>>();
    let (requests, viewers) = (of("request"), of("viewer"));
    assert!(requests.len() > 15, "{requests:?}");
    for row in requests {
        let ordered = row["p50_ms"].as_f64() <= row["max_ms"].as_f64() && row["p50_ms"].as_f64() > Some(0.0);
        assert!(ordered && row["kib"].as_f64() > Some(0.0), "{row}");
    }
    assert!(viewers[0]["view"].is_null() && viewers[0]["kib_per_second"] == 0.0, "{viewers:?}");
    for row in &viewers[1..] {
        assert!(row["view"].is_string() && row["kib_per_second"].as_f64() > Some(0.0), "{row}");
    }
}
