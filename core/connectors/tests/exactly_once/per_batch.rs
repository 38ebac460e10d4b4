//! Results at the end of each batch: after every commit, the last ones say how often each word was written in the lines up
//! to the offset that was committed with them, and no word's comes twice in a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{LogSink, LogSpout, LogSpoutConfig};
use topo_core::log::{Consumed, Log, TopicPartition};
use topo_core::{DataStream, Delivery, Timed, Topology};
use topo_tests::seeds::for_seeds;

use crate::lab::{IN, Lab, NAME, OUT, lines, text};
use crate::trouble::Trouble;
use crate::word_count::{decode, encode};

fn counts(lab: &Lab) -> Topology {
    let topology = Topology::new(NAME);
    let log = lab.log.clone() as Arc<dyn Log>;
    let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
    let progress = lab.progress.clone();
    let decode = |record: &Consumed| Ok(Timed { at: 0, value: decode(record)? });
    let spout = move || LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode);
    let lines = DataStream::of(&topology.spout("lines", spout));
    let words = lines.flat_map(|line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let counts = words.name("split").tasks(lab.setup.split_tasks).key_by(|word| word).per_batch().count();
    let counts = counts.name("count").tasks(lab.setup.count_tasks);
    let log = lab.log.clone() as Arc<dyn Log>;
    let encode = |timed: &Timed<(String, u64)>| Ok(encode(&timed.value));
    counts.sink(OUT, move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, encode)).tasks(1);
    topology
}

/// What `lines` come to.
fn truth(lines: &[String]) -> BTreeMap<String, u64> {
    let mut truth = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split_whitespace()) {
        *truth.entry(word.to_owned()).or_default() += 1;
    }
    truth
}

/// Demands it of every commit there was; gives how many.
fn demand_truth(lab: &Lab, lines: &[String]) -> usize {
    let out = TopicPartition::new(OUT, 0);
    let records = lab.log.records(OUT, 0);
    let (mut counts, mut seen, mut next) = (BTreeMap::<String, u64>::new(), 0, records.iter().peekable());
    for commit in lab.log.commits() {
        let mut of_batch = BTreeMap::new();
        while let Some(record) = next.next_if(|record| record.offset < commit.ends[&out]) {
            let (word, count) = (text(record.key.clone()), text(record.value.clone()).parse().unwrap());
            assert_eq!(of_batch.insert(word, count), None, "a word twice in a batch: {commit:?}");
        }
        counts.extend(of_batch);
        assert_eq!(counts, truth(&lines[..commit.offset as usize]), "up to line {}", commit.offset);
        seen += 1;
    }
    assert_eq!(next.next(), None, "all belongs to a commit");
    assert_eq!(counts, truth(lines));
    seen
}

fn lab(seed: u64) -> Lab {
    let mut lab = Lab::new(seed, 1);
    lab.build(counts);
    lab
}

#[test]
fn after_every_batch_each_word_s_last_count_is_the_true_one() {
    for_seeds(20, |seed| {
        let mut lab = lab(seed);
        let lines = lines(seed, 100);
        lab.feed(lines.clone());
        lab.launch();
        lab.finish();
        lab.stop();
        assert!(demand_truth(&lab, &lines) >= 8);
    });
}

#[test]
fn whatever_fails_or_is_killed_each_word_s_last_count_is_the_true_one() {
    for_seeds(60, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = lab(seed);
        let lines = lines(seed, 100);
        lab.feed(lines.clone());
        for life in 0..random.random_range(0..4) {
            lab.trouble(seed + life, &Trouble::random(seed + life, 5, 40));
            lab.launch();
            lab.pass(Duration::from_millis(random.random_range(0..300)));
            lab.crash();
        }
        lab.trouble(seed, &Trouble::random(seed, 5, 40));
        lab.launch();
        lab.finish();
        lab.stop();
        demand_truth(&lab, &lines);
    });
}

#[test]
fn at_least_once_has_no_batches_so_it_is_refused_by_name() {
    let mut lab = lab(1);
    lab.setup.runtime.delivery = Delivery::AtLeastOnce;
    let said = lab.try_launch().unwrap_err().to_string();
    assert!(said.starts_with("`count` emits at the end of each batch"), "{said}");
    assert!(said.contains("--delivery exactly-once"), "{said}");
}
