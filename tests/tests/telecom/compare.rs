//! What was read, beside the truth.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use topo::ready_made::telecom::{NETWORK, Totals, TruthLine, USAGE_BY_CELL, USAGE_BY_SUBSCRIBER};
use topo_core::window::Fired;

use crate::read;

/// What a delivery promises of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Each window's last result is the truth, each result is there once, and nothing else is.
    Equal,
    /// Nothing is missing: what was replayed may count again.
    NothingLost,
}

/// Results of one topic: of each window and key, what its last record says.
type Results = BTreeMap<(String, i64, i64), Totals>;

fn is_at_least(found: &Totals, truth: &Totals) -> bool {
    found.uses >= truth.uses
        && found.bytes >= truth.bytes
        && found.bytes_away >= truth.bytes_away
        && found.duration_ms >= truth.duration_ms
        && found.charge >= truth.charge
}

fn results(broker: SocketAddr, topic: &str, demand: Demand) -> Results {
    let (mut last, mut given) = (Results::new(), BTreeMap::<_, u32>::new());
    for seen in read::all(broker, topic) {
        let fired: Fired<String, Totals> = rmp_serde::from_slice(&seen.value).unwrap();
        assert_eq!(fired.key, seen.key);
        let window = (fired.key, fired.window.start, fired.window.end);
        let before = given.entry(window.clone()).or_default();
        if demand == Demand::Equal {
            assert_eq!(
                fired.revision, *before,
                "{topic}: each result of {window:?} is there once, and in order"
            );
        }
        *before += 1;
        last.insert(window, fired.value);
    }
    last
}

fn check(topic: &str, found: &Results, truth: &Results, demand: Demand) {
    let strange: Vec<_> = found.keys().filter(|window| !truth.contains_key(window)).collect();
    assert!(strange.is_empty(), "{topic}: {} windows never were, such as {:?}", strange.len(), strange[0]);
    let is_right = |window, truth: &Totals| match (found.get(window), demand) {
        (None, _) => false,
        (Some(found), Demand::Equal) => found == truth,
        (Some(found), Demand::NothingLost) => is_at_least(found, truth),
    };
    let wrong: Vec<_> = truth.iter().filter(|(window, totals)| !is_right(window, totals)).collect();
    if let Some((window, totals)) = wrong.first() {
        let found = found.get(window);
        panic!(
            "{topic}: {} of {} windows are wrong: {window:?} is {found:?}, not {totals:?}",
            wrong.len(),
            truth.len()
        );
    }
}

/// Reads all results at `broker` and compares them with the truth in `file`; returns how many windows there are.
pub(crate) fn with_truth(broker: SocketAddr, file: &Path, demand: Demand) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<TruthLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut windows = 0;
    for topic in [USAGE_BY_CELL, USAGE_BY_SUBSCRIBER] {
        let of_topic = lines.iter().filter(|line| line.topic == topic);
        let truth: Results = of_topic
            .map(|line| ((line.key.clone(), line.start.unwrap(), line.end.unwrap()), line.totals.unwrap()))
            .collect();
        check(topic, &results(broker, topic, demand), &truth, demand);
        windows += truth.len();
        let late = read::all(broker, &format!("{topic}.late")).len();
        assert!(late == 0 || demand == Demand::NothingLost, "{topic}: {late} uses came too late");
    }
    let letters = format!("{NETWORK}.dead-letter");
    let mut found = BTreeMap::<String, u64>::new();
    read::all(broker, &letters).into_iter().for_each(|seen| *found.entry(seen.key).or_default() += 1);
    let of_letters = lines.iter().filter(|line| line.topic == letters);
    let truth: BTreeMap<String, u64> =
        of_letters.map(|line| (line.key.clone(), line.records.unwrap())).collect();
    assert!(!truth.is_empty(), "some subscribers are unknown in every day");
    match demand {
        Demand::Equal => assert_eq!(found, truth),
        Demand::NothingLost => {
            assert_eq!(found.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>());
            assert!(truth.iter().all(|(key, count)| found[key] >= *count), "{found:?} where {truth:?} was");
        }
    }
    windows
}
