//! Tasks with several inputs, one faster than the other: batches are told apart at each, nobody waits for ever, and what is
//! committed is true.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{LogSink, LogSpout, LogSpoutConfig};
use topo_core::log::Log;
use topo_core::{Bolt, Emitter, Fail, Fault, TaskContext, Topology};
use topo_tests::seeds::for_seeds;

use crate::lab::{IN, Lab, NAME, OUT, lines, text};
use crate::trouble::Trouble;
use crate::word_count::{Count, decode, encode};

/// Splits lines into words with a prefix, each after some time.
struct Way {
    prefix: &'static str,
    longest: Duration,
    random: Arc<Mutex<SmallRng>>,
    task: Option<TaskContext>,
}

impl Bolt for Way {
    type In = String;
    type Out = String;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, line: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        let takes = self.longest.mul_f64(self.random.lock().unwrap().random_range(0.0..1.0));
        if let Some(task) = self.task.as_ref().filter(|_| !takes.is_zero()) {
            task.sleep(takes).await;
        }
        for word in line.split_whitespace() {
            out.emit(format!("{}:{word}", self.prefix));
        }
        Ok(())
    }
}

/// Every line goes three ways to the counters: straight, and by two bolts, one of which is slow.
fn diamond(lab: &Lab) -> Topology {
    let topology = Topology::new(NAME);
    let log = lab.log.clone() as Arc<dyn Log>;
    let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
    let progress = lab.progress.clone();
    let spout = move || LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode);
    let lines = topology.spout("lines", spout).tasks(lab.setup.spout_tasks);
    let random = Arc::new(Mutex::new(SmallRng::seed_from_u64(lab.setup.runtime.seed)));
    let way = |name: &'static str, longest: u64| {
        let random = Arc::clone(&random);
        let longest = Duration::from_millis(longest);
        let bolt = move || Way { prefix: name, longest, random: Arc::clone(&random), task: None };
        topology.bolt(name, bolt).tasks(lab.setup.split_tasks).shuffle(&lines)
    };
    let (fast, slow) = (way("fast", 0), way("slow", 20));
    let trouble = lab.trouble.clone();
    let count = topology.bolt("count", move || Count::new(trouble.clone()));
    let count = count.tasks(lab.setup.count_tasks);
    let count = count.key_groups(&fast, |word: &String| word).key_groups(&slow, |word: &String| word);
    let counts = count.key_groups(&lines, |word: &String| word);
    let log = lab.log.clone() as Arc<dyn Log>;
    let sink = move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, |count| Ok(encode(count)));
    topology.rich_bolt(OUT, sink).global(&counts);
    topology
}

fn demand_truth(lab: &Lab, lines: &[String]) {
    let mut truth: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines {
        let words = |prefix| line.split_whitespace().map(move |word| format!("{prefix}:{word}"));
        for word in words("fast").chain(words("slow")).chain([line.clone()]) {
            *truth.entry(word).or_default() += 1;
        }
    }
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for record in lab.log.records(OUT, 0) {
        let last = seen.entry(text(record.key)).or_default();
        assert_eq!(text(record.value), (*last + 1).to_string());
        *last += 1;
    }
    assert_eq!(seen, truth);
}

/// Whether anybody was held.
fn run(seed: u64, faults: u32) -> bool {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut lab = Lab::new(seed, 2);
    lab.build(diamond);
    lab.setup.runtime.queue_tuples = 4;
    lab.setup.runtime.transactions.interval = Duration::from_millis(random.random_range(5..100));
    lab.setup.spout_tasks = random.random_range(1..3);
    lab.setup.split_tasks = random.random_range(1..3);
    lab.setup.count_tasks = random.random_range(1..3);
    let lines = lines(seed, 80);
    lab.feed(lines.clone());
    lab.trouble(seed, &Trouble::random(seed, faults, 200));
    let mut was_held = false;
    for _ in 0..random.random_range(0..2) * faults {
        lab.launch();
        lab.pass(Duration::from_millis(random.random_range(0..400)));
        was_held |= !lab.numbers().held.is_zero();
        lab.crash();
    }
    lab.launch();
    lab.finish();
    was_held |= !lab.numbers().held.is_zero();
    lab.stop();
    demand_truth(&lab, &lines);
    was_held
}

#[test]
fn where_inputs_are_not_equally_fast_the_faster_is_held_and_every_count_is_true() {
    let held = Mutex::new(0);
    for_seeds(30, |seed| *held.lock().unwrap() += u64::from(run(seed, 0)));
    assert!(*held.lock().unwrap() > 0, "nobody was ever ahead of others by more than a queue");
}

#[test]
fn whatever_fails_or_is_killed_at_unequal_inputs_every_count_is_true() {
    for_seeds(40, |seed| {
        run(seed, 4);
    });
}
