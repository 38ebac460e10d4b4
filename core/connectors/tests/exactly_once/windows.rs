//! Windows: their results are committed once, with the state of the windows that go on, and taken back with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{EventTimeConfig, LogSink, LogSpout, LogSpoutConfig, timed};
use topo_core::log::{Consumed, Log, Record};
use topo_core::window::{Fired, tumbling};
use topo_core::{DataStream, Timed, Topology};
use topo_tests::seeds::for_seeds;

use crate::lab::{IN, Lab, NAME, OUT, text};
use crate::trouble::Trouble;

const WINDOW: Duration = Duration::from_secs(1);

/// How often each key occurs in each window.
fn windows(lab: &Lab) -> Topology {
    let topology = Topology::new(NAME);
    let log = lab.log.clone() as Arc<dyn Log>;
    let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
    let progress = lab.progress.clone();
    let decode = timed(
        |record: &Consumed| Ok(text(record.value.clone())),
        |_, line: &String| Ok(line.split_once(' ').unwrap().1.parse().unwrap()),
    );
    let spout = move || {
        let spout = LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode.clone());
        spout.event_time(EventTimeConfig::new(Duration::ZERO))
    };
    let lines = topology.spout("lines", spout).tasks(lab.setup.spout_tasks);
    let counts = DataStream::of(&lines)
        .key_by_value(|line: &String| line.split_once(' ').unwrap().0.to_owned())
        .window(tumbling(WINDOW))
        .count()
        .tasks(lab.setup.count_tasks);
    let log = lab.log.clone() as Arc<dyn Log>;
    let encode = |fired: &Timed<Fired<String, u64>>| {
        let Fired { key, window, value, .. } = &fired.value;
        let (key, value) = (format!("{key}@{}", window.start), value.to_string());
        Ok(Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() })
    };
    counts.sink(OUT, move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, encode)).tasks(1);
    topology
}

/// Lines of a key and a time, a few in each window.
fn lines(seed: u64, windows: i64) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let line = |at: i64| format!("k{} {}", random.random_range(0..3), at * 100);
    (0..windows * 10).map(line).collect()
}

fn demand_truth(lab: &Lab, lines: &[String]) {
    let mut truth: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines {
        let (key, at) = line.split_once(' ').unwrap();
        let start = at.parse::<i64>().unwrap() / 1_000 * 1_000;
        *truth.entry(format!("{key}@{start}")).or_default() += 1;
    }
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for record in lab.log.records(OUT, 0) {
        let before = seen.insert(text(record.key.clone()), text(record.value).parse().unwrap());
        assert_eq!(before, None, "a second result of {}", text(record.key));
    }
    assert_eq!(seen, truth);
}

#[test]
fn a_window_s_result_is_committed_once_whatever_fails_or_is_killed() {
    for_seeds(40, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = Lab::new(seed, 1);
        lab.build(windows);
        lab.setup.count_tasks = random.random_range(1..3);
        let lines = lines(seed, 8);
        lab.feed(lines.clone());
        for life in 0..random.random_range(0..3) {
            lab.trouble(seed + life, &Trouble::random(seed + life, 4, 60));
            lab.launch();
            lab.pass(Duration::from_millis(random.random_range(0..300)));
            lab.crash();
        }
        lab.trouble(seed, &Trouble::random(seed, 4, 60));
        lab.launch();
        lab.finish();
        lab.block_on(lab.running().end_time());
        lab.stop();
        demand_truth(&lab, &lines);
    });
}
