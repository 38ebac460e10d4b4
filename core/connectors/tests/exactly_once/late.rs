//! Values that come too late for their windows, which may be aggregated before the shuffle: the windows hold what they hold
//! without that, and the same values are in the late stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{EventTimeConfig, LogSink, LogSpout, LogSpoutConfig, timed};
use topo_core::log::{Consumed, Log, Record, TopicSpec};
use topo_core::window::{Fired, Windows, aggregate, session, sliding};
use topo_core::{DataStream, Delivery, Fail, Timed, Topology};
use topo_tests::seeds::for_seeds;

use crate::lab::{IN, Lab, NAME, OUT, text};
use crate::late_model::{Cut, Outcome, Value, outcome};
use crate::trouble::Trouble;
use crate::word_count::Breaking;

/// How much earlier than the latest a value may be and not be late, in milliseconds.
const DISORDER: i64 = 20;
const LATE: &str = "late";
/// A key that only tells the time.
const TICK: u32 = 99;

const fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// A result: a key's values of a window, each with its time and its number.
type Results = Fired<u32, Vec<(u32, i64, u32)>>;

/// What one run is of.
#[derive(Debug, Clone, Copy)]
struct Case {
    cut: Cut,
    lateness: i64,
    delivery: Delivery,
    /// How many partitions, and tasks that read them, there are.
    partitions: u32,
    in_part: bool,
}

fn write(Value { key, at, id }: Value) -> String {
    format!("{key} {at} {id}")
}

fn read(record: &Consumed) -> Result<(u32, i64, u32), Fail> {
    let line = text(record.value.clone());
    let mut numbers = line.split(' ').map(|number| number.parse::<i64>().unwrap());
    let mut next = || numbers.next().unwrap();
    Ok((next() as u32, next(), next() as u32))
}

fn windows(lab: &Lab, case: Case) -> Topology {
    let topology = Topology::new(NAME);
    let (log, progress, trouble) =
        (lab.log.clone() as Arc<dyn Log>, lab.progress.clone(), lab.trouble.clone());
    let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
    let decode = timed(read, |_, value: &(u32, i64, u32)| Ok(value.1));
    let spout = move || {
        let spout = LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode.clone());
        Breaking { spout: spout.event_time(EventTimeConfig::new(ms(DISORDER))), trouble: trouble.clone() }
    };
    let values = DataStream::of(&topology.spout("values", spout).tasks(lab.setup.spout_tasks));
    let kind: Windows = match case.cut {
        Cut::Time { size, every } => sliding(ms(size), ms(every)),
        Cut::Session { gap } => session(ms(gap)),
    };
    let windows = values.key_by(|(key, _, _)| key).window(kind).allowed_lateness(ms(case.lateness));
    let windows = if case.in_part { windows.partial() } else { windows };
    let results = windows.aggregate(aggregate::collect()).tasks(lab.setup.count_tasks);
    let late = results.late().clone();
    let log = lab.log.clone() as Arc<dyn Log>;
    let fired = |fired: &Timed<Results>| {
        let value = rmp_serde::to_vec_named(&fired.value).unwrap();
        Ok(Record { value: Some(value.into()), ..Record::default() })
    };
    results.sink(OUT, move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, fired)).tasks(1);
    let log = lab.log.clone() as Arc<dyn Log>;
    let id = |timed: &Timed<(u32, i64, u32)>| {
        assert_eq!(timed.at, timed.value.1, "a late value has its own time");
        let id = timed.value.2.to_string();
        Ok(Record { value: Some(id.into()), ..Record::default() })
    };
    late.sink(LATE, move || LogSink::new(Arc::clone(&log), LATE, |_, _| 0, id)).tasks(1);
    topology
}

/// What was written: of each window the newest result, without those that others replaced.
fn written(lab: &Lab) -> Outcome {
    let mut newest: BTreeMap<(u32, i64, i64), (u32, Vec<u32>)> = BTreeMap::new();
    let mut replaced = Vec::new();
    for record in lab.log.records(OUT, 0) {
        let fired: Results = rmp_serde::from_slice(&record.value.unwrap()).unwrap();
        let mut ids: Vec<u32> = fired.value.iter().map(|value| value.2).collect();
        ids.sort_unstable();
        let place = newest.entry((fired.key, fired.window.start, fired.window.end)).or_default();
        if place.1.is_empty() || fired.revision > place.0 {
            *place = (fired.revision, ids);
        }
        let of_key =
            |window: &topo_core::window::Window| (fired.key, window.start, window.end, fired.revision);
        replaced.extend(fired.replaces.iter().map(of_key));
    }
    for (key, start, end, by) in replaced {
        if newest.get(&(key, start, end)).is_some_and(|(revision, _)| *revision < by) {
            newest.remove(&(key, start, end));
        }
    }
    let windows = newest.into_iter().map(|(place, (_, ids))| (place, ids)).collect();
    let late = lab.log.records(LATE, 0).into_iter().map(|record| text(record.value).parse().unwrap());
    let mut late: Vec<u32> = late.collect();
    late.sort_unstable();
    Outcome { windows, late }
}

/// Values in rounds. Within one, event time stands still, and values are on either side of it; a tick brings it on.
struct Rounds {
    lab: Lab,
    random: SmallRng,
    case: Case,
    /// The latest time that there was.
    latest: i64,
    /// What was fed, each with how far event time had come.
    fed: Vec<(i64, Value)>,
}

impl Rounds {
    fn feed(&mut self, key: u32, at: i64) {
        let now = if self.fed.is_empty() { i64::MIN / 2 } else { self.latest - DISORDER };
        let value = Value { key, at, id: self.fed.len() as u32 };
        // A key's values are in one partition, so that they come in this order.
        let partition = if key == TICK { self.random.random_range(0..self.case.partitions) } else { key };
        self.lab.feed_to(partition % self.case.partitions, write(value));
        self.fed.push((now, value));
    }

    /// Waits until all is committed, and everybody has heard how far event time has come; partitions are idle then, a second
    /// after the last time that a batch failed.
    fn settle(&self) {
        self.lab.finish();
        self.lab.pass(Duration::from_secs(6));
    }

    /// Brings event time on.
    fn tick(&mut self) {
        let to = self.latest + self.random.random_range(1..60);
        // What is known of time is kept with what is committed after it was known: by the second.
        for _ in 0..2 {
            self.feed(TICK, to);
            self.settle();
            self.latest = to;
        }
    }

    fn launch(&mut self) {
        self.lab.setup.count_tasks = self.random.random_range(1..4);
        if self.case.delivery == Delivery::ExactlyOnce {
            let seed = self.random.random();
            self.lab.trouble(seed, &Trouble::random(seed, 3, 60));
        }
        self.lab.launch();
    }

    fn round(&mut self) {
        for _ in 0..self.random.random_range(0..16) {
            let (key, before) = (self.random.random_range(0..4), self.random.random_range(0..120));
            self.feed(key, self.latest - before);
        }
        match self.case.delivery {
            Delivery::ExactlyOnce if self.random.random_ratio(1, 3) => {
                self.lab.pass(ms(self.random.random_range(0..100)));
                self.lab.crash();
                self.launch();
            }
            _ if self.random.random_ratio(1, 3) => {
                self.lab.stop();
                self.launch();
            }
            _ => {}
        }
        self.settle();
        self.tick();
    }
}

/// What is written of some rounds, and what is to be.
fn run(seed: u64, case: Case) -> (Outcome, Outcome) {
    let mut lab = Lab::new(seed, case.partitions);
    lab.block_on(lab.log.create_topic(LATE, &TopicSpec::default())).unwrap();
    lab.setup.runtime.delivery = case.delivery;
    lab.setup.spout_tasks = case.partitions as usize;
    lab.build(move |lab| windows(lab, case));
    let random = SmallRng::seed_from_u64(seed);
    let mut rounds = Rounds { lab, random, case, latest: 0, fed: Vec::new() };
    rounds.launch();
    rounds.tick();
    for _ in 0..4 {
        rounds.round();
    }
    let Rounds { mut lab, fed, .. } = rounds;
    lab.block_on(lab.running().end_time());
    lab.stop();
    (written(&lab), outcome(case.cut, case.lateness, &fed))
}

const CUTS: [Cut; 4] = [
    Cut::Time { size: 30, every: 30 },
    Cut::Time { size: 30, every: 10 },
    Cut::Time { size: 25, every: 10 },
    Cut::Session { gap: 12 },
];

fn the_same_with_and_without(delivery: Delivery, seeds: u64) {
    let (mut late, mut within) = (0, 0);
    for_seeds(seeds, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let cut = CUTS[seed as usize % CUTS.len()];
        let (lateness, partitions) = (random.random_range(0..2) * 15, random.random_range(1..4));
        for in_part in [false, true] {
            let case = Case { cut, lateness, delivery, partitions, in_part };
            let (written, expected) = run(seed, case);
            assert_eq!(written, expected, "{case:?}");
            late += written.late.len();
            within += written.windows.len();
        }
    });
    assert!(late > seeds as usize && within > seeds as usize, "{late} late, {within} windows");
}

#[test]
fn at_least_once_the_same_values_are_late_whether_windows_are_aggregated_in_part() {
    the_same_with_and_without(Delivery::AtLeastOnce, 40);
}

#[test]
fn exactly_once_the_same_values_are_late_whatever_fails_or_is_killed() {
    the_same_with_and_without(Delivery::ExactlyOnce, 12);
}
