//! Windows, sessions and timers: their results are committed once, with the state of what goes on, and taken back with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{EventTimeConfig, LogSink, LogSpout, LogSpoutConfig, timed};
use topo_core::log::{Consumed, Log, Record};
use topo_core::state::State;
use topo_core::window::{Clock, Fired, Windows, session, tumbling};
use topo_core::{DataStream, Fail, Fault, Process, ProcessContext, TaskContext, Timed, Timer, Topology};
use topo_tests::seeds::for_seeds;

use crate::lab::{IN, Lab, NAME, OUT, text};
use crate::tally::Tally;
use crate::trouble::Trouble;
use crate::word_count::Breaking;

/// How long a window is, in milliseconds, and as long a silence ends a session.
const WINDOW: i64 = 1_000;
const SILENCE: i64 = 250;

/// A key, where its stretch of time begins, and how many lines it has there.
type Counted = (String, i64, u64);

fn key_of(line: &str) -> &str {
    line.split_once(' ').unwrap().0
}

fn time_of(line: &str) -> i64 {
    line.split_once(' ').unwrap().1.parse().unwrap()
}

/// The lines of `in`, in event time.
fn lines_of(lab: &Lab, topology: &Topology) -> DataStream<String> {
    let log = lab.log.clone() as Arc<dyn Log>;
    let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
    let progress = lab.progress.clone();
    let decode =
        timed(|record: &Consumed| Ok(text(record.value.clone())), |_, line: &String| Ok(time_of(line)));
    let trouble = lab.trouble.clone();
    let spout = move || {
        let spout = LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode.clone());
        let spout = spout.event_time(EventTimeConfig::new(Duration::ZERO));
        Breaking { spout, trouble: trouble.clone() }
    };
    DataStream::of(&topology.spout("lines", spout).tasks(lab.setup.spout_tasks))
}

/// Writes what was counted to `out`.
fn write(lab: &Lab, counts: &DataStream<Counted>) {
    let log = lab.log.clone() as Arc<dyn Log>;
    let encode = |timed: &Timed<Counted>| {
        let (key, start, count) = &timed.value;
        let (key, value) = (format!("{key}@{start}"), count.to_string());
        Ok(Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() })
    };
    counts.sink(OUT, move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, encode)).tasks(1);
}

fn counted(fired: Fired<String, u64>) -> Counted {
    (fired.key, fired.window.start, fired.value)
}

fn counted_in(lab: &Lab, windows: Windows) -> Topology {
    let topology = Topology::new(NAME);
    let lines = lines_of(lab, &topology).key_by_value(|line: &String| key_of(line).to_owned());
    write(lab, &lines.window(windows).count().tasks(lab.setup.count_tasks).map(counted));
    topology
}

fn windows(lab: &Lab) -> Topology {
    counted_in(lab, tumbling(Duration::from_millis(WINDOW as u64)))
}

fn sessions(lab: &Lab) -> Topology {
    counted_in(lab, session(Duration::from_millis(SILENCE as u64)))
}

fn timers(lab: &Lab) -> Topology {
    let topology = Topology::new(NAME);
    let lines = lines_of(lab, &topology).key_by_value(|line: &String| key_of(line).to_owned());
    write(lab, &lines.process(Stretches::default).tasks(lab.setup.count_tasks));
    topology
}

/// Counts the lines of each stretch as long as a window in a state of its own, and gives the count as a timer says that it is
/// over.
#[derive(Default)]
struct Stretches(Option<State<String, BTreeMap<i64, u64>>>);

impl Stretches {
    fn counts(&mut self) -> Result<&mut State<String, BTreeMap<i64, u64>>, Fail> {
        self.0.as_mut().ok_or_else(|| Fail::retry("not prepared"))
    }
}

impl Process for Stretches {
    type Key = String;
    type In = String;
    type Out = Counted;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.0 = Some(task.state("stretches").await?);
        Ok(())
    }

    fn process(&mut self, line: Timed<String>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        let start = line.at.div_euclid(WINDOW) * WINDOW;
        self.counts()?.update(context.key(), |counts| *counts.entry(start).or_default() += 1)?;
        context.set_timer(Clock::Event, start + WINDOW);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        let (key, start) = (context.key().clone(), timer.at - WINDOW);
        let counts = self.counts()?;
        if let Some(count) = counts.update(&key, |counts| counts.remove(&start))? {
            context.emit((key, start, count));
        }
        Ok(())
    }
}

/// Lines of a key and a time, some in each window, with silences in between; the last one is long after all others.
fn lines(seed: u64, count: usize) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut at = 0;
    let line = |_| {
        at += random.random_range(0..SILENCE / 2);
        format!("k{} {at}", random.random_range(0..4))
    };
    let mut lines: Vec<String> = (0..count).map(line).collect();
    lines.push(format!("end {}", at + 10 * WINDOW));
    lines
}

/// What each topology is to write of `lines`.
type Truth = fn(&[String]) -> BTreeMap<String, u64>;

fn true_windows(lines: &[String]) -> BTreeMap<String, u64> {
    let mut truth = BTreeMap::new();
    for line in lines {
        let start = time_of(line) / WINDOW * WINDOW;
        *truth.entry(format!("{}@{start}", key_of(line))).or_default() += 1;
    }
    truth
}

/// The end of time calls no timer, so that the last line's stretch is not given.
fn true_stretches(lines: &[String]) -> BTreeMap<String, u64> {
    true_windows(&lines[..lines.len() - 1])
}

fn true_sessions(lines: &[String]) -> BTreeMap<String, u64> {
    let mut open: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut truth = BTreeMap::new();
    for line in lines {
        let (key, at) = (key_of(line), time_of(line));
        let (start, last) = open.entry(key).or_insert((at, at));
        if at - *last >= SILENCE {
            *start = at;
        }
        *last = at;
        *truth.entry(format!("{key}@{start}")).or_default() += 1;
    }
    truth
}

/// Runs under faults and kills; in the end each result is there once, and true.
fn whatever_happens(name: &str, build: fn(&Lab) -> Topology, truth: Truth) {
    let mut all = Tally::default();
    for_seeds(40, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = Lab::new(seed, 1);
        lab.build(build);
        lab.setup.count_tasks = random.random_range(1..3);
        let lines = lines(seed, 80);
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
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for record in lab.log.records(OUT, 0) {
            let (key, count) = (text(record.key), text(record.value).parse().unwrap());
            assert_eq!(seen.insert(key.clone(), count), None, "a second result of {key}");
        }
        assert_eq!(seen, truth(&lines));
        all += lab.numbers_so_far();
    });
    eprintln!("{name}: {all}");
}

#[test]
fn a_window_s_result_is_committed_once_whatever_fails_or_is_killed() {
    whatever_happens("windows", windows, true_windows);
}

#[test]
fn a_session_s_result_is_committed_once_whatever_fails_or_is_killed() {
    whatever_happens("sessions", sessions, true_sessions);
}

#[test]
fn what_a_timer_gives_is_committed_once_whatever_fails_or_is_killed() {
    whatever_happens("timers", timers, true_stretches);
}
