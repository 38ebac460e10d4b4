//! Trees that bolts open: each is emitted, tracked, tried again, and holds time back until it is done or given up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topo_core::schedule::{Clock, Moment, Scheduler};
use topo_core::{
    Backoff, Bolt, Config, Delivery, Emitter, Fail, Failure, Fault, Operator, TaskContext, Timed, Topology,
    Trees, Watermark,
};

use crate::event_time::clocked;
use crate::lab::{Lab, config, for_seeds, total};
use crate::part::{Desk, Seen};

/// How long a window is.
const SIZE: i64 = 100;

/// A result: the window's end, and the sum of its numbers.
type Sum = Timed<u64>;

/// What the tasks of a [`Windows`] keep beyond its instances, and what they heard.
#[derive(Clone, Default)]
struct Kept {
    sums: Arc<Mutex<BTreeMap<(u32, i64), u64>>>,
    acked: Seen<Sum>,
    failed: Seen<(Sum, u32)>,
    exhausted: Seen<Sum>,
    /// Counts down to a panic in `acked`.
    fuse: Arc<AtomicI64>,
    timers: Seen<Moment>,
}

impl Kept {
    fn operator(&self) -> impl Fn() -> Windows + Send + Sync + 'static {
        let kept = self.clone();
        move || Windows { kept: kept.clone(), task: None }
    }
}

/// Adds up numbers by the window that they fall in, and emits each sum once event time has passed its end.
struct Windows {
    kept: Kept,
    task: Option<TaskContext>,
}

impl Operator for Windows {
    type In = Timed<u64>;
    type Out = Sum;
    type Tree = Sum;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(
        &mut self,
        timed: Timed<u64>,
        _out: &mut Emitter<Sum>,
        trees: &mut Trees<Sum>,
    ) -> Result<(), Fail> {
        let end = (timed.at.div_euclid(SIZE) + 1) * SIZE;
        let task = self.task.as_ref().unwrap();
        assert!(timed.at >= task.watermark().0, "{timed:?} is late");
        if timed.value % 13 == 7 && timed.value > 0 {
            // Taken back: the execute fails.
            trees.open(timed.at, Timed { at: -1, value: u64::MAX });
            return Err(Fail::reject("thirteen"));
        }
        *self.kept.sums.lock().unwrap().entry((task.task(), end)).or_default() += timed.value;
        Ok(())
    }

    async fn on_watermark(
        &mut self,
        at: Watermark,
        _out: &mut Emitter<Sum>,
        trees: &mut Trees<Sum>,
    ) -> Result<(), Fault> {
        let task = self.task.as_ref().unwrap().task();
        let mut sums = self.kept.sums.lock().unwrap();
        let due: Vec<_> = sums.keys().copied().filter(|(of, end)| *of == task && *end <= at.0).collect();
        for key in due {
            let value = sums.remove(&key).unwrap();
            trees.open(key.1 - 1, Timed { at: key.1 - 1, value });
        }
        Ok(())
    }

    fn emit(sum: &Sum, out: &mut Emitter<Sum>) {
        out.emit(*sum);
    }

    fn acked(&mut self, sum: Sum) {
        self.kept.acked.note(sum);
        if self.kept.fuse.fetch_sub(1, Ordering::Relaxed) == 1 {
            panic!("the fuse is burnt");
        }
    }

    fn failed(&mut self, sum: &Sum, failure: &Failure) {
        self.kept.failed.note((*sum, failure.attempt));
    }

    fn exhausted(&mut self, sum: Sum, _failure: &Failure) {
        self.kept.exhausted.note(sum);
    }
}

/// Takes sums, answers as `answer` says for a sum at its so-and-so-manieth time, and finds none late.
struct Take {
    taken: Seen<Sum>,
    answer: fn(Sum, usize) -> Result<(), Fail>,
    now: Watermark,
    task: Option<TaskContext>,
}

impl Bolt for Take {
    type In = Sum;
    type Out = ();

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        (self.task, self.now) = (Some(task.clone()), task.watermark());
        Ok(())
    }

    async fn execute(&mut self, sum: Sum, _out: &mut Emitter<()>) -> Result<(), Fail> {
        assert!(sum.at >= self.now.0, "{sum:?} came behind {}", self.now);
        self.taken.note(sum);
        let times = self.taken.all().into_iter().filter(|&other| other == sum).count();
        (self.answer)(sum, times)
    }

    async fn on_watermark(&mut self, at: Watermark, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.now = at;
        Ok(())
    }
}

/// The topology of windows over `desk`'s numbers.
fn topology(
    desk: &Desk,
    kept: &Kept,
    seed: u64,
    answer: fn(Sum, usize) -> Result<(), Fail>,
) -> (Topology, Seen<Sum>) {
    let topology = Topology::new("windows");
    let numbers = topology.spout("numbers", clocked(desk)).tasks(1 + (seed % 2) as usize);
    let windows = topology.operator("windows", kept.operator()).tasks(1 + (seed % 3) as usize);
    let windows = windows.fields_by(&numbers, |timed| timed.value % 5);
    let taken = Seen::default();
    let seen = taken.clone();
    let take = move || Take { taken: seen.clone(), answer, now: Watermark::MIN, task: None };
    topology.bolt("take", take).tasks(2).shuffle(&windows);
    (topology, taken)
}

fn quick(seed: u64) -> Config {
    let mut config = config(seed);
    config.batch_size = 1 + (seed % 5) as usize;
    config.queue_tuples = 1 + (seed % 7) as usize;
    config.max_pending = 1 + (seed % 9) as usize;
    config.restart_delay = Duration::from_micros(10);
    config.tree_backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(8) };
    config
}

const NUMBERS: u64 = 80;

/// What all windows add up to.
fn whole() -> u64 {
    (0..NUMBERS).filter(|number| number % 13 != 7).sum()
}

fn sum_of(sums: &Seen<Sum>) -> u64 {
    sums.all().iter().map(|sum| sum.value).sum()
}

#[test]
fn every_result_is_done_once_whatever_fails() {
    for_seeds(60, |seed| {
        let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
        kept.fuse.store(seed as i64 % 7, Ordering::Relaxed);
        let answer = |sum: Sum, times| match sum.value % 6 {
            1 if times < 3 => Err(Fail::retry("not yet")),
            2 if times < 2 => panic!("{}", sum.value),
            _ => Ok(()),
        };
        let (topology, taken) = topology(&desk, &kept, seed, answer);
        let lab = Lab::launch_with(quick(seed), topology);
        lab.scheduler.set_step_cost(Duration::from_micros(seed % 30));
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        let numbers = lab.stop();
        assert_eq!((sum_of(&kept.acked), kept.sums.lock().unwrap().len()), (whole(), 0));
        let acked = kept.acked.count() as u64;
        assert_eq!(total(&numbers, "windows", |task| task.trees_acked), acked);
        assert_eq!(total(&numbers, "windows", |task| task.trees_failed), kept.failed.count() as u64);
        assert_eq!(total(&numbers, "windows", |task| task.trees_exhausted), 0);
        assert!(taken.count() as u64 >= acked && acked > 5, "{acked} sums");
        assert!(taken.all().iter().all(|sum| sum.value != u64::MAX), "what a failed execute opened was emitted");
        let completed: u64 =
            crate::lab::component(&numbers, "windows").latency(|task| &task.complete).count();
        assert_eq!(completed, acked);
    });
}

#[test]
fn a_result_that_never_succeeds_is_given_up_and_holds_nothing_back() {
    for_seeds(20, |seed| {
        let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
        let answer = |sum: Sum, _| match sum.at {
            199 => Err(Fail::retry("never")),
            299 => Err(Fail::reject("it is refused")),
            _ => Ok(()),
        };
        let (topology, _) = topology(&desk, &kept, seed, answer);
        let lab = Lab::launch_with(Config { tree_attempts: 3, ..quick(seed) }, topology);
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        let numbers = lab.stop();
        assert_eq!(sum_of(&kept.acked) + sum_of(&kept.exhausted), whole());
        for (at, attempts) in [(199, 3), (299, 1)] {
            let given_up = kept.exhausted.all().iter().filter(|sum| sum.at == at).count();
            let failed = kept.failed.all().iter().filter(|(sum, _)| sum.at == at).count();
            assert_eq!(failed, given_up * (attempts - 1), "{at}: {given_up} given up");
            assert!(given_up > 0);
        }
        assert_eq!(total(&numbers, "windows", |task| task.trees_exhausted), kept.exhausted.count() as u64);
        let windows = crate::lab::component(&numbers, "windows");
        let said = windows.tasks.iter().filter_map(|task| task.last_error.as_ref());
        assert!(said.into_iter().any(|error| error.message.starts_with("a result is given up: ")));
    });
}

#[test]
fn a_topology_is_not_idle_while_a_result_is_open() {
    for_seeds(20, |seed| {
        let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
        // Every sum fails until a second has passed.
        let answer = |_: Sum, times| if times < 4 { Err(Fail::retry("not yet")) } else { Ok(()) };
        let (topology, _) = topology(&desk, &kept, seed, answer);
        let mut config = quick(seed);
        config.tree_backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(1) };
        let lab = Lab::launch_with(config, topology);
        let pass = |time| lab.block_on(lab.scheduler.sleep_until(lab.scheduler.now().after(time)));
        pass(Duration::from_millis(200));
        let numbers = lab.running.snapshot();
        let open = total(&numbers, "windows", |task| task.pending);
        assert!(open > 0 && kept.acked.count() == 0, "{open} are open");
        lab.block_on(lab.running.idle());
        assert!(kept.acked.count() as u64 >= open, "of {open}, {} are done", kept.acked.count());
        lab.block_on(lab.running.end_time());
        lab.stop();
        assert_eq!(sum_of(&kept.acked), whole());
    });
}

#[test]
fn a_drain_completes_what_is_open_and_leaves_what_failed() {
    for_seeds(40, |seed| {
        let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
        let answer = |sum: Sum, _| if sum.value % 2 == 1 { Err(Fail::retry("not now")) } else { Ok(()) };
        let (topology, _) = topology(&desk, &kept, seed, answer);
        let mut config = quick(seed);
        (config.tree_attempts, config.tree_backoff.longest) = (u32::MAX, Duration::from_secs(9));
        config.tree_backoff.first = Duration::from_secs(9);
        let lab = Lab::launch_with(config, topology);
        lab.scheduler.set_step_cost(Duration::from_micros(seed));
        lab.block_on(lab.scheduler.sleep_until(Moment::from_nanos(seed * 100_000)));
        let began = lab.scheduler.now();
        let scheduler = Arc::clone(&lab.scheduler);
        lab.stop();
        assert!(scheduler.now().since(began) < Duration::from_secs(9), "nobody waited for another attempt");
        assert!(kept.acked.all().iter().all(|sum| sum.value % 2 == 0));
        assert_eq!(kept.exhausted.count(), 0);
    });
}

#[test]
fn an_abort_waits_for_no_result() {
    let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
    let (topology, _) = topology(&desk, &kept, 1, |_, _| Err(Fail::retry("never")));
    let lab = Lab::launch_with(Config { tree_attempts: u32::MAX, ..quick(1) }, topology);
    lab.block_on(lab.scheduler.sleep_until(Moment::from_nanos(50_000_000)));
    lab.block_on(lab.running.kill(Duration::ZERO)).unwrap();
    assert_eq!(kept.acked.count(), 0);
}

#[test]
fn where_trees_are_not_tracked_a_result_is_done_when_it_is_emitted() {
    for_seeds(20, |seed| {
        let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
        let (topology, taken) = topology(&desk, &kept, seed, |_, _| Err(Fail::retry("nobody hears it")));
        let config = Config { delivery: Delivery::AtMostOnce, witness: false, ..quick(seed) };
        let lab = Lab::launch_with(config, topology);
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        lab.stop();
        assert_eq!((sum_of(&kept.acked), sum_of(&taken)), (whole(), whole()));
        assert_eq!(kept.failed.count(), 0);
    });
}

#[test]
fn the_same_seed_gives_the_same_results() {
    let run = |seed| {
        let (desk, kept) = (Desk::new(NUMBERS, 1), Kept::default());
        let answer = |sum: Sum, times| match sum.value % 4 {
            1 if times < 3 => Err(Fail::retry("not yet")),
            _ => Ok(()),
        };
        let (topology, taken) = topology(&desk, &kept, seed, answer);
        let lab = Lab::launch_with(quick(seed), topology);
        lab.block_on(lab.running.finished());
        lab.block_on(lab.running.end_time());
        let scheduler = Arc::clone(&lab.scheduler);
        lab.stop();
        (scheduler.trace_hash(), taken.all())
    };
    for_seeds(10, |seed| assert_eq!(run(seed), run(seed)));
}

/// Emits what it got since, every second.
struct EverySecond {
    got: u64,
    next: Option<Moment>,
    kept: Kept,
}

impl Operator for EverySecond {
    type In = Timed<u64>;
    type Out = u64;
    type Tree = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.next = Some(task.now().after(Duration::from_secs(1)));
        Ok(())
    }

    async fn execute(
        &mut self,
        timed: Timed<u64>,
        out: &mut Emitter<u64>,
        _trees: &mut Trees<u64>,
    ) -> Result<(), Fail> {
        self.got += timed.value;
        out.emit(0);
        Ok(())
    }

    fn timer(&self) -> Option<Moment> {
        self.next
    }

    async fn on_timer(
        &mut self,
        now: Moment,
        _out: &mut Emitter<u64>,
        trees: &mut Trees<u64>,
    ) -> Result<(), Fault> {
        self.kept.timers.note(now);
        self.next = Some(now.after(Duration::from_secs(1)));
        trees.open(0, std::mem::take(&mut self.got));
        Ok(())
    }

    fn emit(sum: &u64, out: &mut Emitter<u64>) {
        out.emit(*sum);
    }

    fn acked(&mut self, sum: u64) {
        self.kept.acked.note(Timed { at: 0, value: sum });
    }
}

#[test]
fn a_timer_rings_when_it_is_due_whether_or_not_there_is_input() {
    let (desk, kept, seen) = (Desk::new(20, 1), Kept::default(), Seen::default());
    let topology = Topology::new("timers");
    let numbers = topology.spout("numbers", clocked(&desk));
    let own = kept.clone();
    let sums = topology.operator("sums", move || EverySecond { got: 0, next: None, kept: own.clone() });
    topology.bolt("note", crate::part::note(&seen)).shuffle(&sums.shuffle(&numbers));
    let lab = Lab::launch(5, topology);
    lab.block_on(lab.scheduler.sleep_until(Moment::from_nanos(3_500_000_000)));
    let rung: Vec<u64> = kept.timers.all().iter().map(|at| at.as_nanos() / 1_000_000_000).collect();
    assert_eq!(rung, [1, 2, 3]);
    lab.stop();
    assert_eq!(sum_of(&kept.acked), (0..20).sum());
    assert_eq!(seen.count(), 20 + 3);
    desk.assert_all_acked(20);
}
