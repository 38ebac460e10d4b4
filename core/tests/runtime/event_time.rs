//! Watermarks from spouts through bolts: behind what was emitted, never past what is open, the least of all inputs.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topo_core::schedule::{Clock, Scheduler};
use topo_core::{
    Bolt, Emitter, EventTime, Fail, Failure, Fault, Next, Spout, SpoutEmitter, TaskContext, Timed, Topology,
    Watermark, ports,
};

use crate::lab::{Lab, config, for_seeds};
use crate::part::{Desk, Seen, pass};

/// How much earlier than the latest a record may be.
pub(crate) const DISORDER: i64 = 50;

/// A record's time: rising, but for disorder.
pub(crate) fn time_of(number: u64) -> i64 {
    number as i64 * 10 - (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as i64 % (DISORDER + 1)
}

/// Emits its desk's numbers with their times. Its watermark is what is open, and the disorder.
pub(crate) struct Clocked {
    desk: Desk,
    largest: Option<i64>,
    /// Not done: open or to be replayed.
    undone: BTreeMap<u64, i64>,
}

pub(crate) fn clocked(desk: &Desk) -> impl Fn() -> Clocked + Send + Sync + 'static {
    let desk = desk.clone();
    move || Clocked { desk: desk.clone(), largest: None, undone: BTreeMap::new() }
}

impl Spout for Clocked {
    type Out = Timed<u64>;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<Timed<u64>, u64>) -> Result<Next, Fault> {
        let Some((number, attempt)) = self.desk.take_own(|number| self.undone.contains_key(&number)) else {
            return Ok(self.desk.rest());
        };
        let at = time_of(number);
        self.largest = self.largest.max(Some(at));
        self.undone.insert(number, at);
        out.replay(number, attempt, Timed { at, value: number })?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, number: u64) {
        self.undone.remove(&number);
        self.desk.ack(number);
    }

    fn fail(&mut self, number: u64, failure: &Failure) {
        self.desk.fail(number, failure);
    }

    fn watermark(&self) -> Option<EventTime> {
        let Some(largest) = self.largest else { return Some(EventTime::default()) };
        let least = self.undone.values().copied().chain([largest - DISORDER]).min();
        Some(EventTime::at(Watermark(least.unwrap_or(i64::MIN))))
    }
}

/// What one task heard and executed, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Time(Watermark),
    Record(Timed<u64>),
}

/// Hands on what it gets, fails now and then, and notes what it hears by component and task.
struct Listen {
    heard: Seen<(&'static str, u32, Heard)>,
    name: &'static str,
    task: Option<TaskContext>,
    breaks: fn(u64, usize) -> bool,
    tried: Seen<u64>,
}

fn listen(
    name: &'static str,
    heard: &Said,
    breaks: fn(u64, usize) -> bool,
) -> impl Fn() -> Listen + Send + Sync + 'static {
    let (heard, tried) = (heard.clone(), Seen::default());
    move || Listen { heard: heard.clone(), name, task: None, breaks, tried: tried.clone() }
}

impl Listen {
    fn note(&self, heard: Heard) {
        self.heard.note((self.name, self.task.as_ref().unwrap().task(), heard));
    }
}

impl Bolt for Listen {
    type In = Timed<u64>;
    type Out = Timed<u64>;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, timed: Timed<u64>, out: &mut Emitter<Timed<u64>>) -> Result<(), Fail> {
        self.note(Heard::Record(timed));
        self.tried.note(timed.value);
        let times = self.tried.all().iter().filter(|&&other| other == timed.value).count();
        if (self.breaks)(timed.value, times) {
            if timed.value % 5 == 3 {
                panic!("{}", timed.value);
            }
            return Err(Fail::retry("not yet"));
        }
        out.emit(timed);
        Ok(())
    }

    async fn on_watermark(&mut self, at: Watermark, _out: &mut Emitter<Timed<u64>>) -> Result<(), Fault> {
        assert_eq!(self.task.as_ref().unwrap().watermark().max(at), at);
        self.note(Heard::Time(at));
        Ok(())
    }
}

/// What each task heard.
fn by_task(heard: &Said) -> BTreeMap<(&'static str, u32), Vec<Heard>> {
    let mut tasks: BTreeMap<_, Vec<Heard>> = BTreeMap::new();
    for (name, task, heard) in heard.all() {
        tasks.entry((name, task)).or_default().push(heard);
    }
    tasks
}

/// Times rise, and no record is behind them that was not there before: only a failed attempt's leftovers may be.
fn assert_in_order(heard: &Said, records: u64) {
    let mut there: HashSet<(&str, u64)> = HashSet::new();
    let mut times: BTreeMap<(&str, u32), Watermark> = BTreeMap::new();
    for (name, task, heard) in heard.all() {
        let now = times.entry((name, task)).or_default();
        match heard {
            Heard::Time(at) => {
                assert!(at > *now, "{name} {task} heard {at} after {now}");
                *now = at;
            }
            Heard::Record(timed) => {
                let is_new = there.insert((name, timed.value));
                assert!(!is_new || timed.at >= now.0, "{name} {task}: {timed:?} came behind {now}");
            }
        }
    }
    for name in ["first", "second"] {
        assert_eq!((0..records).filter(|&number| there.contains(&(name, number))).count() as u64, records);
    }
}

#[test]
fn a_watermark_passes_nothing_that_is_open_or_will_be_replayed() {
    for_seeds(60, |seed| {
        let (desk, heard) = (Desk::new(60, u32::MAX), Seen::default());
        let topology = Topology::new("times");
        let numbers = topology.spout("numbers", clocked(&desk)).tasks(1 + (seed % 3) as usize);
        let first = listen("first", &heard, |number, times| number % 7 == 3 && times < 3);
        let first = topology.bolt("first", first).tasks(1 + (seed % 4) as usize).shuffle(&numbers);
        let second = listen("second", &heard, |number, times| number % 11 == 4 && times < 4);
        topology.bolt("second", second).tasks(2).fields_by(&first, |timed| timed.value);
        let mut config = config(seed);
        config.batch_size = 1 + (seed % 6) as usize;
        config.queue_tuples = 1 + (seed % 5) as usize;
        config.restart_delay = Duration::from_micros(10);
        let lab = Lab::launch_with(config, topology);
        lab.scheduler.set_step_cost(Duration::from_micros(seed % 40));
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        lab.stop();
        desk.assert_all_acked(60);
        assert_in_order(&heard, 60);
        let tasks = by_task(&heard);
        assert_eq!(tasks.len(), 1 + (seed % 4) as usize + 2);
        for (task, heard) in tasks {
            assert_eq!(heard.last(), Some(&Heard::Time(Watermark::MAX)), "{task:?}");
            assert!(heard.len() > 2, "{task:?} heard of no time but the end");
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_times() {
    let run = |seed| {
        let (desk, heard) = (Desk::new(40, u32::MAX), Seen::default());
        let topology = Topology::new("times");
        let numbers = topology.spout("numbers", clocked(&desk)).tasks(2);
        let first = listen("first", &heard, |number, times| number % 7 == 3 && times < 3);
        let first = topology.bolt("first", first).tasks(3).shuffle(&numbers);
        topology.bolt("second", listen("second", &heard, |_, _| false)).all(&first);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        let scheduler = lab.scheduler.clone();
        lab.stop();
        (scheduler.trace_hash(), heard.all())
    };
    for_seeds(10, |seed| assert_eq!(run(seed), run(seed)));
}

/// Counts up, untracked, and says of each number at once that nothing up to it will come.
struct Straight(u64);

impl Spout for Straight {
    type Out = Timed<u64>;
    type Id = ();

    fn next(&mut self, out: &mut SpoutEmitter<Timed<u64>, ()>) -> Result<Next, Fault> {
        if self.0 == 300 {
            return Ok(Next::Finished);
        }
        out.emit(Timed { at: self.0 as i64, value: self.0 });
        self.0 += 1;
        Ok(Next::Emitted)
    }

    fn watermark(&self) -> Option<EventTime> {
        Some(EventTime::at(Watermark(self.0 as i64)))
    }
}

#[test]
fn a_watermark_overtakes_nothing_though_queues_are_full_and_nothing_is_tracked() {
    for_seeds(60, |seed| {
        let heard = Seen::default();
        let topology = Topology::new("straight");
        let numbers = topology.spout("numbers", || Straight(0)).tasks(1 + (seed % 3) as usize);
        let first = listen("first", &heard, |_, _| false);
        let first = topology.bolt("first", first).tasks(1 + (seed % 4) as usize).shuffle(&numbers);
        let second = listen("second", &heard, |_, _| false);
        topology.bolt("second", second).tasks(2).fields_by(&first, |timed| timed.value).all(&numbers);
        let mut config = config(seed);
        (config.batch_size, config.queue_tuples) = (1 + (seed % 6) as usize, 1 + (seed % 5) as usize);
        config.max_batch_delay = Duration::from_micros(seed % 3 * 50);
        let lab = Lab::launch_with(config, topology);
        lab.scheduler.set_step_cost(Duration::from_micros(seed % 40));
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        lab.stop();
        let mut times: BTreeMap<(&str, u32), (Watermark, usize)> = BTreeMap::new();
        for (name, task, heard) in heard.all() {
            let (now, risen) = times.entry((name, task)).or_default();
            match heard {
                Heard::Time(at) => (*now, *risen) = (at, *risen + 1),
                Heard::Record(timed) => {
                    assert!(timed.at >= now.0, "{name} {task}: {timed:?} was overtaken by {now}");
                }
            }
        }
        assert!(times.values().all(|&(now, risen)| now == Watermark::MAX && risen > 3), "{times:?}");
    });
}

/// A spout that emits nothing and says what the test tells it.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<EventTime>>);

impl Told {
    fn say(&self, time: EventTime) {
        *self.0.lock().unwrap() = time;
    }
}

impl Spout for Told {
    type Out = Timed<u64>;
    type Id = ();

    fn next(&mut self, _out: &mut SpoutEmitter<Timed<u64>, ()>) -> Result<Next, Fault> {
        Ok(Next::Idle)
    }

    fn watermark(&self) -> Option<EventTime> {
        Some(*self.0.lock().unwrap())
    }
}

/// What was heard, by component and task.
type Said = Seen<(&'static str, u32, Heard)>;

/// A lab of two told spouts that feed one bolt by way of one that passes on, and what the bolt hears.
fn two() -> (Lab, [Told; 2], Said) {
    let (told, heard) = ([Told::default(), Told::default()], Seen::default());
    let topology = Topology::new("two");
    let [left, right] = ["left", "right"].map(|name| {
        let told = told[usize::from(name == "right")].clone();
        topology.spout(name, move || told.clone())
    });
    let on = listen("on", &Seen::default(), |_, _| false);
    let on = topology.bolt("on", on).tasks(2).shuffle(&left);
    topology.bolt("both", listen("both", &heard, |_, _| false)).shuffle(&on).shuffle(&right);
    (Lab::launch(7, topology), told, heard)
}

fn newest(lab: &Lab, heard: &Said) -> Option<Watermark> {
    lab.block_on(lab.scheduler.sleep_until(lab.scheduler.now().after(Duration::from_millis(50))));
    let mut times = heard.all().into_iter().filter_map(|(_, _, heard)| match heard {
        Heard::Time(at) => Some(at),
        Heard::Record(_) => None,
    });
    times.next_back()
}

#[test]
fn a_bolt_is_as_far_as_the_last_of_its_inputs_that_is_not_idle() {
    let (lab, [left, right], heard) = two();
    let (at, idle) = (|ms| EventTime::at(Watermark(ms)), |ms| EventTime::idle(Watermark(ms)));
    left.say(at(100));
    assert_eq!(newest(&lab, &heard), None, "the other has said nothing yet");
    right.say(at(40));
    assert_eq!(newest(&lab, &heard), Some(Watermark(40)));
    right.say(idle(40));
    assert_eq!(newest(&lab, &heard), Some(Watermark(100)));
    left.say(at(120));
    assert_eq!(newest(&lab, &heard), Some(Watermark(120)));
    right.say(at(70));
    left.say(at(150));
    assert_eq!(newest(&lab, &heard), Some(Watermark(120)), "who comes back turns no time back, and holds");
    right.say(at(60));
    assert_eq!(newest(&lab, &heard), Some(Watermark(120)));
    right.say(at(130));
    assert_eq!(newest(&lab, &heard), Some(Watermark(130)));
    left.say(idle(150));
    right.say(idle(130));
    assert_eq!(newest(&lab, &heard), Some(Watermark(150)), "where all are idle, the furthest counts");
    lab.block_on(lab.running.end_time());
    assert_eq!(newest(&lab, &heard), Some(Watermark::MAX));
    lab.stop();
}

#[test]
fn nobody_waits_for_a_spout_that_says_the_end_itself() {
    for first in [None, Some(50)] {
        let (lab, [left, right], heard) = two();
        if let Some(ms) = first {
            left.say(EventTime::at(Watermark(ms)));
            right.say(EventTime::at(Watermark(60)));
            assert_eq!(newest(&lab, &heard), Some(Watermark(ms)));
        }
        left.say(EventTime::at(Watermark::MAX));
        right.say(EventTime::at(Watermark(1_000)));
        assert_eq!(newest(&lab, &heard), Some(Watermark(1_000)), "after {first:?}");
        lab.block_on(lab.running.end_time());
        assert_eq!(newest(&lab, &heard), Some(Watermark::MAX));
        lab.stop();
    }
}

#[test]
fn nobody_waits_for_a_spout_without_event_time() {
    let (desk, told, heard) = (Desk::new(5, 1), Told::default(), Seen::default());
    let topology = Topology::new("without");
    let numbers = topology.spout("numbers", desk.source());
    let timed = topology.bolt("timed", || Zero).shuffle(&numbers);
    let spout = told.clone();
    let left = topology.spout("left", move || spout.clone());
    topology.bolt("both", listen("both", &heard, |_, _| false)).shuffle(&left).shuffle(&timed);
    let lab = Lab::launch(3, topology);
    told.say(EventTime::at(Watermark(5)));
    assert_eq!(newest(&lab, &heard), Some(Watermark(5)));
    lab.stop();
    desk.assert_all_acked(5);
}

/// Remembers from an earlier run how far it had come.
struct Raised(Option<TaskContext>);

impl Bolt for Raised {
    type In = Timed<u64>;
    type Out = Timed<u64>;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        task.raise_watermark(Watermark(500));
        task.raise_watermark(Watermark::MAX);
        self.0 = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, _timed: Timed<u64>, _out: &mut Emitter<Timed<u64>>) -> Result<(), Fail> {
        Ok(())
    }

    async fn on_watermark(&mut self, at: Watermark, _out: &mut Emitter<Timed<u64>>) -> Result<(), Fault> {
        assert!(at > Watermark(500));
        assert!(at == Watermark::MAX || self.0.as_ref().unwrap().watermark() == at);
        Ok(())
    }
}

#[test]
fn a_task_that_remembers_a_time_does_not_go_back_behind_it() {
    let (told, heard) = (Told::default(), Seen::default());
    let topology = Topology::new("raised");
    let spout = told.clone();
    let numbers = topology.spout("numbers", move || spout.clone());
    let raised = topology.bolt("raised", || Raised(None)).tasks(2).shuffle(&numbers);
    topology.bolt("end", listen("end", &heard, |_, _| false)).shuffle(&raised);
    let lab = Lab::launch(11, topology);
    told.say(EventTime::at(Watermark(100)));
    assert_eq!(newest(&lab, &heard), None);
    told.say(EventTime::at(Watermark(700)));
    assert_eq!(newest(&lab, &heard), Some(Watermark(700)));
    lab.block_on(lab.running.end_time());
    lab.stop();
}

struct Zero;

impl Bolt for Zero {
    type In = u64;
    type Out = Timed<u64>;

    async fn execute(&mut self, value: u64, out: &mut Emitter<Timed<u64>>) -> Result<(), Fail> {
        out.emit(Timed { at: 0, value });
        Ok(())
    }
}

ports! {
    /// What goes on, and what goes round.
    struct Ways {
        on: Timed<u64>,
        again: Timed<u64>,
    }
}

/// Sends each number round until it is below ten.
struct Round;

impl Bolt for Round {
    type In = Timed<u64>;
    type Out = Ways;

    async fn execute(&mut self, timed: Timed<u64>, out: &mut Ways) -> Result<(), Fail> {
        let way = if timed.value < 10 { &mut out.on } else { &mut out.again };
        way.emit(timed.with(timed.value / 2));
        Ok(())
    }
}

#[test]
fn a_cycle_holds_no_time_back_and_what_goes_round_is_not_late() {
    for_seeds(20, |seed| {
        let (desk, heard) = (Desk::new(60, u32::MAX), Seen::default());
        let topology = Topology::new("round");
        let numbers = topology.spout("numbers", clocked(&desk));
        let again = topology.feedback::<Timed<u64>>("again");
        let ways = topology.bolt("round", || Round).tasks(2).shuffle(&numbers).shuffle(&again);
        again.connect(&ways.again);
        topology.bolt("end", listen("end", &heard, |_, _| false)).shuffle(&ways.on);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        lab.stop();
        let mut now = Watermark::MIN;
        for (_, _, heard) in heard.all() {
            match heard {
                Heard::Time(at) => now = at,
                Heard::Record(timed) => assert!(timed.at >= now.0, "{timed:?} came behind {now}"),
            }
        }
        assert_eq!(now, Watermark::MAX);
    });
}

#[test]
fn a_topology_that_knows_no_time_ends_as_well_and_once() {
    let desk = Desk::new(30, 1);
    let topology = Topology::new("plain");
    let numbers = topology.spout("numbers", desk.source());
    topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
    let lab = Lab::launch(1, topology);
    lab.block_on(lab.running.finished());
    lab.block_on(lab.running.end_time());
    lab.running.activate();
    desk.add(99);
    lab.block_on(lab.scheduler.sleep_until(lab.scheduler.now().after(Duration::from_secs(1))));
    assert_eq!(desk.lock().left(), 1, "after the end, nothing is emitted");
    lab.block_on(lab.running.end_time());
    lab.stop();
    desk.assert_all_acked(30);
}
