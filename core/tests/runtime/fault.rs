//! Components that panic and err: the task restarts alone, what it held fails, the page counts it, the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use topo_core::metrics::TopologySnapshot;
use topo_core::{
    Bolt, Emitter, Fail, Failure, Fault, Input, LaunchError, Next, RichBolt, Spout, SpoutEmitter, Targets,
    TaskContext, Topology,
};

use crate::lab::{Lab, SEEDS, component, config, for_seeds, total};
use crate::part::{Desk, Seen, act, note, pass};

const COUNT: u64 = 40;

/// Counts down, and says when it has come to zero.
#[derive(Clone)]
struct Times(Arc<AtomicU32>);

impl Times {
    fn new(times: u32) -> Self {
        Self(Arc::new(AtomicU32::new(times)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn last_error(numbers: &TopologySnapshot, name: &str) -> Option<Arc<str>> {
    component(numbers, name).tasks.iter().find_map(|task| task.last_error.as_ref()).map(|e| e.message.clone())
}

#[test]
fn a_panic_in_execute_fails_its_tuple_and_restarts_its_task_alone() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 2), Seen::default());
        let topology = Topology::new("panics");
        let numbers = topology.spout("numbers", desk.source());
        let panicked = Seen::default();
        let noted = panicked.clone();
        let shaky = act(move |number: u64, out: &mut Emitter<u64>, task: &TaskContext| {
            out.emit(number);
            if number % 10 == 3 && !noted.all().iter().any(|&(_, one)| one == number) {
                noted.note((task.task(), number));
                panic!("three");
            }
            Ok(())
        });
        let passed = topology.bolt("shaky", shaky).tasks(2).fields_by(&numbers, |number| number % 10);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        let failed: Vec<(u64, String)> =
            desk.lock().failed.iter().map(|(number, failure)| (*number, failure.to_string())).collect();
        let expected =
            [3, 13, 23, 33].map(|number| (number, "panicked: three (in shaky, attempt 1)".to_owned()));
        assert_eq!(failed, expected);
        assert_eq!(seen.count() as u64, COUNT, "what was emitted before the panic is taken back");
        // One task had them all; the other was not touched.
        let broken = panicked.all()[0].0 as usize;
        let tasks = &component(&numbers, "shaky").tasks;
        assert_eq!((tasks[broken].restarted, tasks[broken].failed), (4, 4));
        assert_eq!((tasks[1 - broken].restarted, tasks[1 - broken].failed), (0, 0));
        let error = tasks[broken].last_error.clone().map(|error| error.message);
        assert_eq!(error.as_deref(), Some("panicked: three"));
    });
}

/// Refuses to start as often as it is told to, after its first start, and panics at numbers divisible by seven.
struct Reluctant {
    starts: Times,
    seen: Seen<u64>,
    started: Seen<&'static str>,
}

impl Bolt for Reluctant {
    type In = u64;
    type Out = ();

    async fn prepare(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        self.started.note("tried");
        if self.started.count() > 1 && self.starts.take() {
            if self.started.count().is_multiple_of(2) {
                return Err("not yet".into());
            }
            panic!("not yet either");
        }
        Ok(())
    }

    async fn execute(&mut self, number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        let again = self.seen.all().contains(&number);
        self.seen.note(number);
        assert!(again || !number.is_multiple_of(7), "{number} is a multiple of seven");
        Ok(())
    }
}

#[test]
fn an_instance_that_cannot_start_again_is_tried_again_after_growing_delays() {
    for_seeds(SEEDS, |seed| {
        let (desk, started) = (Desk::new(4, 2), Seen::default());
        let topology = Topology::new("reluctant");
        let numbers = topology.spout("numbers", desk.source());
        let (starts, seen, noted) = (Times::new(5), Seen::default(), started.clone());
        let reluctant =
            move || Reluctant { starts: starts.clone(), seen: seen.clone(), started: noted.clone() };
        topology.bolt("reluctant", reluctant).shuffle(&numbers);
        let lab = Lab::launch(seed, topology);
        let before = topo_core::schedule::Clock::now(&*lab.scheduler);
        lab.block_on(lab.running.finished());
        let took = topo_core::schedule::Clock::now(&*lab.scheduler).since(before);
        // 10, 20, 40, 80, 160 and 320 ms, and a poll or two of the idle spout.
        let delays = Duration::from_millis(630);
        assert!(took >= delays && took < delays + Duration::from_millis(5), "{took:?}");
        let numbers = lab.stop();
        desk.assert_all_acked(4);
        assert_eq!(started.count(), 7);
        assert_eq!(total(&numbers, "reluctant", |task| task.restarted), 1);
    });
}

#[test]
fn a_bolt_that_always_breaks_does_not_spin() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(12, 1);
        let topology = Topology::new("broken");
        let numbers = topology.spout("numbers", desk.source());
        let broken = act(|number: u64, _out: &mut Emitter<()>, _task: &TaskContext| panic!("{number}"));
        topology.bolt("broken", broken).shuffle(&numbers);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        // 10 ms doubled up to a second each: 10 + 20 + … + 640 and five times 1,000.
        let now = topo_core::schedule::Clock::now(&*lab.scheduler).since(Default::default());
        assert!(now > Duration::from_secs(5) && now < Duration::from_secs(7), "{now:?}");
        assert_eq!(desk.lock().failed.len(), 12);
        assert_eq!(total(&lab.stop(), "broken", |task| task.restarted), 12);
    });
}

/// A spout that breaks wherever it is told to.
struct Fragile {
    desk: Desk,
    next_errs: Times,
    next_panics: Times,
    ack_panics: Times,
    fail_panics: Times,
    ready_panics: Times,
    opened: Seen<()>,
}

impl Spout for Fragile {
    type Out = u64;
    type Id = u64;

    async fn open(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        self.opened.note(());
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        let Some((number, attempt)) = self.desk.take() else { return Ok(self.desk.rest()) };
        if number % 8 == 5 && self.next_panics.take() {
            // The desk believes that it is open: it has to fail, although it was never sent.
            let _ = out.track(number, attempt, |out| {
                out.emit(number);
                panic!("while emitting {number}")
            });
        }
        out.replay(number, attempt, number)?;
        if number % 8 == 6 && self.next_errs.take() {
            return Err("after emitting".into());
        }
        Ok(Next::Emitted)
    }

    async fn ready(&mut self) {
        assert!(!self.ready_panics.take(), "not ready");
    }

    fn ack(&mut self, number: u64) {
        self.desk.ack(number);
        assert!(!self.ack_panics.take(), "acked {number}");
    }

    fn fail(&mut self, number: u64, failure: &Failure) {
        self.desk.fail(number, failure);
        assert!(!self.fail_panics.take(), "failed {number}");
    }
}

/// What breaks: next's error, next's panic, ack, fail, ready.
fn fragile(seed: u64, times: [u32; 5]) -> (Desk, usize, TopologySnapshot) {
    let (desk, opened) = (Desk::new(COUNT, 9), Seen::default());
    let topology = Topology::new("fragile");
    let times = times.map(Times::new);
    let (spouts_desk, noted) = (desk.clone(), opened.clone());
    let numbers = topology.spout("fragile", move || {
        let [next_errs, next_panics, ack_panics, fail_panics, ready_panics] = times.clone();
        Fragile {
            desk: spouts_desk.clone(),
            next_errs,
            next_panics,
            ack_panics,
            fail_panics,
            ready_panics,
            opened: noted.clone(),
        }
    });
    let tried = Seen::default();
    let judge = act(move |number: u64, _out: &mut Emitter<()>, _task: &TaskContext| {
        let first = !tried.all().contains(&number);
        tried.note(number);
        if number.is_multiple_of(4) && first { Err(Fail::retry("at first")) } else { Ok(()) }
    });
    topology.bolt("judge", judge).tasks(2).shuffle(&numbers);
    let numbers = Lab::launch(seed, topology).finish();
    (desk, opened.count(), numbers)
}

#[test]
fn a_spout_that_breaks_is_replaced_and_its_successor_hears_what_it_emitted() {
    for_seeds(SEEDS, |seed| {
        for (at, why) in [
            (0, "after emitting"),
            (1, "panicked: while"),
            (2, "panicked: acked"),
            (3, "panicked: failed"),
            (4, "panicked: not ready"),
        ] {
            let mut times = [0; 5];
            // A spout that has something to emit is not asked whether it is ready.
            let breaks = if at == 4 { 1 } else { 3 };
            times[at] = breaks;
            let (desk, opened, numbers) = fragile(seed, times);
            desk.assert_all_acked(COUNT);
            assert_eq!(opened as u32, breaks + 1, "{why}");
            assert_eq!(total(&numbers, "fragile", |task| task.restarted), u64::from(breaks), "{why}");
            let error = last_error(&numbers, "fragile");
            assert!(error.as_deref().is_some_and(|error| error.starts_with(why)), "{error:?} for {why}");
        }
    });
}

#[test]
fn a_spout_that_breaks_everywhere_loses_nothing() {
    for_seeds(SEEDS, |seed| {
        let (desk, opened, numbers) = fragile(seed, [4, 4, 6, 6, 2]);
        desk.assert_all_acked(COUNT);
        assert_eq!(total(&numbers, "fragile", |task| task.restarted) as usize, opened - 1);
    });
}

/// Emits one number and errs for ever after.
struct Broken(Desk);

impl Spout for Broken {
    type Out = u64;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        let Some((number, attempt)) = self.0.take() else { return Err("nothing left to give".into()) };
        out.replay(number, attempt, number)?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, number: u64) {
        self.0.ack(number);
    }
}

#[test]
fn a_spout_that_always_errs_does_not_spin_and_what_it_emitted_is_sent_and_heard() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(3, 1), Seen::default());
        let topology = Topology::new("broken");
        let spouts_desk = desk.clone();
        let numbers = topology.spout("broken", move || Broken(spouts_desk.clone()));
        topology.bolt("note", note(&seen)).shuffle(&numbers);
        let lab = Lab::launch(seed, topology);
        lab.scheduler.advance(Duration::from_secs(10));
        desk.assert_all_acked(3);
        // Delays of 10 ms doubled up to a second each make 15 or 16 restarts in ten seconds.
        let restarted = total(&lab.running.snapshot(), "broken", |task| task.restarted);
        assert!((12..=18).contains(&restarted), "{restarted} restarts");
        lab.stop();
    });
}

/// A bolt whose tick panics the first times.
struct Ticking {
    panics: Times,
    ticked: Seen<()>,
}

impl Bolt for Ticking {
    type In = u64;
    type Out = ();

    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }

    async fn tick(&mut self, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.ticked.note(());
        if self.panics.take() {
            assert!(self.ticked.count().is_multiple_of(2), "the tick panics");
            return Err("the tick errs".into());
        }
        Ok(())
    }
}

#[test]
fn a_tick_that_breaks_restarts_its_task_and_ticks_go_on() {
    for_seeds(SEEDS, |seed| {
        let (desk, ticked) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("ticking");
        let numbers = topology.spout("numbers", desk.source());
        let (panics, noted) = (Times::new(4), ticked.clone());
        topology
            .bolt("ticking", move || Ticking { panics: panics.clone(), ticked: noted.clone() })
            .shuffle(&numbers)
            .tick_every(Duration::from_secs(1));
        let lab = Lab::launch(seed, topology);
        lab.scheduler.advance(Duration::from_secs(11));
        assert!((9..=11).contains(&ticked.count()), "{} ticks", ticked.count());
        assert_eq!(total(&lab.stop(), "ticking", |task| task.restarted), 4);
        desk.assert_all_acked(COUNT);
    });
}

#[test]
fn a_panic_on_the_way_to_the_next_bolt_fails_the_tuple_and_nothing_else() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("key");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).shuffle(&numbers);
        let noted = topology.bolt("note", note(&seen)).tasks(2);
        let noted = noted.fields_by(&passed, |number| {
            assert!(number % 10 != 3, "no key for {number}");
            *number
        });
        noted.custom(&numbers, |number: &u64, _tasks: usize| {
            assert!(number % 10 != 4, "no task for {number}");
            Targets::Several(vec![0, 1])
        });
        let numbers = Lab::launch(seed, topology).finish();
        let ledger = desk.lock();
        assert_eq!(ledger.acked.len(), 32);
        assert_eq!(ledger.failed.len(), 8);
        for (number, failure) in &ledger.failed {
            let (component, what) = if number % 10 == 3 { ("pass", "key") } else { ("numbers", "task") };
            assert_eq!(&*failure.component, component);
            assert_eq!(&*failure.reason, format!("panicked: no {what} for {number}"));
        }
        assert_eq!(total(&numbers, "pass", |task| task.restarted), 0);
    });
}

/// A component that cannot start at launch.
struct NoStart(&'static str);

impl Bolt for NoStart {
    type In = u64;
    type Out = ();

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        match self.0 {
            "errs" if task.task() == 1 => Err("no sensor on port 3".into()),
            "panics" if task.task() == 1 => panic!("no sensor"),
            _ => Ok(()),
        }
    }

    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

#[test]
fn a_component_that_cannot_start_stops_the_launch_with_its_name() {
    for_seeds(SEEDS, |seed| {
        for (how, reason) in [("errs", "no sensor on port 3"), ("panics", "panicked: no sensor")] {
            let topology = Topology::new("no-start");
            let numbers = topology.spout("numbers", Desk::new(3, 1).source());
            topology.bolt("sensor", move || NoStart(how)).tasks(2).shuffle(&numbers);
            topology.bolt("other", note(&Seen::default())).shuffle(&numbers);
            let error = Lab::try_launch(config(seed), topology).err().unwrap();
            assert_eq!(error.to_string(), format!("`sensor` could not start: {reason}"));
            assert!(matches!(error, LaunchError::Prepare { component, .. } if &*component == "sensor"));
        }
    });
}

#[test]
fn a_factory_that_panics_stops_the_launch_too() {
    let topology = Topology::new("no-factory");
    let numbers = topology.spout("numbers", || -> crate::part::Source { panic!("no desk") });
    topology.bolt("note", note(&Seen::default())).shuffle(&numbers);
    let error = Lab::try_launch(config(1), topology).err().unwrap();
    assert_eq!(error.to_string(), "`numbers` could not start: panicked: no desk");
}

/// Panics in `idle` at first, and holds what it has until it is idle.
struct IdlePanic {
    panics: Times,
    held: Vec<Input<u64>>,
}

impl RichBolt for IdlePanic {
    type In = u64;
    type Out = ();

    async fn execute(&mut self, input: Input<u64>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.held.push(input);
        Ok(())
    }

    async fn idle(&mut self, _out: &mut Emitter<()>) -> Result<(), Fault> {
        assert!(self.held.is_empty() || !self.panics.take(), "not in the mood");
        self.held.drain(..).for_each(Input::ack);
        Ok(())
    }
}

#[test]
fn a_panic_in_idle_fails_what_was_held() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 4);
        let topology = Topology::new("idle");
        let numbers = topology.spout("numbers", desk.source());
        let panics = Times::new(3);
        topology
            .rich_bolt("idle", move || IdlePanic { panics: panics.clone(), held: Vec::new() })
            .shuffle(&numbers);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(total(&numbers, "idle", |task| task.restarted), 3);
        let ledger = desk.lock();
        assert!(ledger.failed.iter().all(|(_, failure)| &*failure.reason == "panicked: not in the mood"));
    });
}
