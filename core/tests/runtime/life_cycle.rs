//! A topology's life: pause, resume, drain, stop; ticks; and each task's first and last call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use topo_core::metrics::TopologyStatus;
use topo_core::schedule::{Clock, Moment};
use topo_core::{
    Bolt, Delivery, Emitter, Fail, Failure, Fault, Input, Next, RichBolt, Spout, SpoutEmitter, StuckError,
    TaskContext, Topology,
};

use crate::lab::{Lab, SEEDS, config, for_seeds};
use crate::part::{Desk, Seen, Source, act, note, pass, rich};

const SECOND: Duration = Duration::from_secs(1);

/// Calls, by who was called.
type Calls = Seen<(String, &'static str)>;

fn name(task: &TaskContext) -> String {
    format!("{}-{} of {}", task.component(), task.task(), task.tasks())
}

/// A source that notes its calls.
struct Told {
    source: Source,
    calls: Calls,
    name: String,
}

impl Told {
    fn note(&self, call: &'static str) {
        self.calls.note((self.name.clone(), call));
    }
}

impl Spout for Told {
    type Out = u64;
    type Id = u64;

    async fn open(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.name = name(task);
        self.note("open");
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        let next = self.source.next(out)?;
        if next == Next::Emitted {
            self.note("emit");
        }
        Ok(next)
    }

    fn ack(&mut self, number: u64) {
        self.source.ack(number);
        self.note("ack");
    }

    fn fail(&mut self, number: u64, failure: &Failure) {
        self.source.fail(number, failure);
        self.note("fail");
    }

    fn activate(&mut self) {
        self.note("activate");
    }

    fn deactivate(&mut self) {
        self.note("deactivate");
    }

    async fn close(&mut self) {
        self.note("close");
    }
}

/// A bolt that notes its calls and hands all on.
struct Noted {
    calls: Calls,
    name: String,
}

impl Bolt for Noted {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.name = name(task);
        self.calls.note((self.name.clone(), "prepare"));
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        self.calls.note((self.name.clone(), "execute"));
        out.emit(number);
        Ok(())
    }

    async fn cleanup(&mut self) {
        self.calls.note((self.name.clone(), "cleanup"));
    }
}

fn told(desk: &Desk, calls: &Calls) -> Topology {
    let topology = Topology::new("told");
    let (desk, noted) = (desk.clone(), calls.clone());
    let numbers = topology
        .spout("told", move || Told {
            source: Source(desk.clone()),
            calls: noted.clone(),
            name: String::new(),
        })
        .tasks(2);
    let bolt = |name: &str| {
        let calls = calls.clone();
        topology.bolt(name, move || Noted { calls: calls.clone(), name: String::new() })
    };
    let first = bolt("first").tasks(3).shuffle(&numbers);
    bolt("second").all(&first);
    topology
}

/// The calls that each task had, in order, without those in the middle.
fn life(calls: &Calls) -> BTreeMap<String, Vec<&'static str>> {
    let mut lives: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for (name, call) in calls.all() {
        lives.entry(name).or_default().push(call);
    }
    lives
}

const BOLTS: [&str; 4] = ["first-0 of 3", "first-1 of 3", "first-2 of 3", "second-0 of 1"];
const SPOUTS: [&str; 2] = ["told-0 of 2", "told-1 of 2"];

#[test]
fn every_task_is_prepared_first_and_cleaned_up_last_once() {
    for_seeds(SEEDS, |seed| {
        let (desk, calls) = (Desk::new(60, 1), Calls::default());
        Lab::launch(seed, told(&desk, &calls)).finish();
        desk.assert_all_acked(60);
        let lives = life(&calls);
        assert_eq!(lives.len(), 6);
        for name in BOLTS {
            let (first, middle, last) = ends(&lives[name]);
            assert_eq!((first, last), ("prepare", "cleanup"));
            assert!(middle.iter().all(|&call| call == "execute"), "{middle:?}");
        }
        for name in SPOUTS {
            let (first, middle, last) = ends(&lives[name]);
            assert_eq!((first, last), ("open", "close"));
            let emitted = middle.iter().filter(|&&call| call == "emit").count();
            assert_eq!(emitted, middle.iter().filter(|&&call| call == "ack").count());
            assert_eq!(middle.iter().filter(|&&call| call == "deactivate").count(), 1);
            let last_emit = middle.iter().rposition(|&call| call == "emit");
            assert!(last_emit < middle.iter().rposition(|&call| call == "deactivate"));
        }
        let all = calls.all();
        let prepared = all.iter().rposition(|(_, call)| ["prepare", "open"].contains(call));
        let emitted = all.iter().position(|(_, call)| *call == "emit");
        assert!(prepared < emitted, "nothing flows before everybody is prepared");
    });
}

fn ends(calls: &[&'static str]) -> (&'static str, Vec<&'static str>, &'static str) {
    (calls[0], calls[1..calls.len() - 1].to_vec(), calls[calls.len() - 1])
}

#[test]
fn a_kill_in_full_flow_completes_what_was_emitted() {
    for_seeds(SEEDS, |seed| {
        let (desk, calls) = (Desk::new(100_000, 1), Calls::default());
        let lab = Lab::launch(seed, told(&desk, &calls));
        while desk.lock().acked.len() < 50 {
            lab.block_on(tokio::task::yield_now());
        }
        let numbers = lab.stop();
        let emitted = 100_000 - desk.lock().left();
        assert!(emitted < 100_000, "the spouts went on");
        assert_eq!(desk.lock().acked.len(), emitted);
        assert_eq!(numbers.status, TopologyStatus::Killed);
        let lives = life(&calls);
        assert!(BOLTS.iter().all(|&name| *lives[name].last().unwrap() == "cleanup"));
        assert!(SPOUTS.iter().all(|&name| *lives[name].last().unwrap() == "close"));
    });
}

#[test]
fn a_kill_loses_nothing_that_nobody_tracks() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(100_000, 1), Seen::default());
        let topology = Topology::new("untracked");
        let numbers = topology.spout("numbers", desk.source()).tasks(2);
        let passed = topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let mut config = config(seed);
        config.delivery = Delivery::AtMostOnce;
        let lab = Lab::launch_with(config, topology);
        // An odd number of steps, so that batches are half full.
        for _ in 0..(5 + seed) {
            lab.block_on(tokio::task::yield_now());
        }
        lab.stop();
        assert_eq!(seen.count(), 100_000 - desk.lock().left());
        assert_eq!(desk.lock().acked.len(), seen.count());
    });
}

#[test]
fn a_paused_topology_emits_nothing_and_answers_what_is_under_way() {
    for_seeds(SEEDS, |seed| {
        let (desk, calls) = (Desk::new(400, 1), Calls::default());
        let lab = Lab::launch(seed, told(&desk, &calls));
        while desk.lock().acked.len() < 50 {
            lab.block_on(tokio::task::yield_now());
        }
        lab.running.deactivate();
        assert_eq!(lab.running.snapshot().status, TopologyStatus::Inactive);
        lab.scheduler.advance(SECOND);
        let acked = desk.lock().acked.len();
        assert_eq!(desk.lock().open(), 0);
        assert!(acked < 400, "it was paused too late");
        lab.scheduler.advance(SECOND);
        assert_eq!(desk.lock().acked.len(), acked);
        lab.running.activate();
        assert_eq!(lab.running.snapshot().status, TopologyStatus::Active);
        lab.finish();
        desk.assert_all_acked(400);
        for name in SPOUTS {
            let life = &life(&calls)[name];
            let phases: Vec<&str> = life.iter().copied().filter(|call| call.ends_with("activate")).collect();
            assert_eq!(phases, ["deactivate", "activate", "deactivate"]);
        }
    });
}

/// Says that it is idle until it is given something.
struct Given {
    desk: Desk,
    bell: Arc<Semaphore>,
}

impl Spout for Given {
    type Out = u64;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        let Some((number, attempt)) = self.desk.take() else { return Ok(Next::Idle) };
        out.replay(number, attempt, number)?;
        Ok(Next::Emitted)
    }

    async fn ready(&mut self) {
        // Cancel-safe: a permit is only taken when this completes.
        if let Ok(permit) = self.bell.acquire().await {
            permit.forget();
        }
    }

    fn ack(&mut self, number: u64) {
        self.desk.ack(number);
    }
}

#[test]
fn idle_waits_for_the_last_ack_and_what_comes_later_is_taken_at_once() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen, bell) = (Desk::default(), Seen::default(), Arc::new(Semaphore::new(0)));
        let topology = Topology::new("given");
        let (given, rung) = (desk.clone(), bell.clone());
        let numbers = topology.spout("given", move || Given { desk: given.clone(), bell: rung.clone() });
        let passed = topology.bolt("pass", pass()).shuffle(&numbers);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.idle());
        for number in 0..5 {
            desk.add(number);
            bell.add_permits(1);
            lab.scheduler.run_until_stalled();
            lab.block_on(lab.running.idle());
            assert_eq!(seen.count() as u64, number + 1);
            assert_eq!(desk.lock().acked.len() as u64, number + 1);
        }
        // It was told each time, so nobody had to ask the clock.
        assert_eq!(lab.scheduler.now(), Moment::default());
        lab.stop();
    });
}

#[test]
fn who_waits_for_a_topology_to_come_to_rest_is_released_by_its_stop() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(10, 1);
        let topology = Topology::new("never");
        let numbers = topology.spout("numbers", desk.source());
        let held = Seen::default();
        topology
            .rich_bolt("hold", {
                let held = held.clone();
                rich(move |input: Input<u64>, _out: &mut Emitter<()>| {
                    held.note(Arc::new(input));
                    Ok(())
                })
            })
            .shuffle(&numbers);
        let lab = Lab::launch(seed, topology);
        let running = lab.running.clone();
        lab.scheduler.run_until_stalled();
        lab.block_on(async move {
            let (killed, (), ()) = tokio::join!(running.kill(SECOND), running.idle(), running.finished());
            killed.unwrap();
        });
        // Ten trees had a second to complete, and are left unanswered.
        assert_eq!((desk.lock().open(), held.count()), (10, 10));
        assert!(lab.scheduler.now() < Moment::default().after(SECOND * 2));
        lab.scheduler.run_until_stalled();
        assert_eq!(lab.scheduler.unfinished(), []);
    });
}

#[test]
fn a_component_whose_code_does_not_return_is_reported_as_stuck() {
    struct Stuck;
    impl RichBolt for Stuck {
        type In = u64;
        type Out = ();
        async fn execute(&mut self, _input: Input<u64>, _out: &mut Emitter<()>) -> Result<(), Fault> {
            std::future::pending().await
        }
    }
    for_seeds(SEEDS, |seed| {
        let (desk, calls) = (Desk::new(60, 1), Calls::default());
        let topology = told(&desk, &calls);
        let numbers = topology.spout("numbers", Desk::new(3, 1).source());
        topology.rich_bolt("stuck", || Stuck).tasks(2).global(&numbers);
        let lab = Lab::launch(seed, topology);
        lab.scheduler.run_until_stalled();
        let stuck = lab.block_on(lab.running.kill(SECOND * 5)).unwrap_err();
        assert_eq!(stuck, StuckError { stuck: 1, tasks: 9 });
        assert_eq!(
            stuck.to_string(),
            "1 of 9 tasks did not stop in time; a component's code does not return"
        );
        assert_eq!(lab.scheduler.now(), Moment::default().after(SECOND * 10));
        let lives = life(&calls);
        assert!(BOLTS.iter().all(|&name| *lives[name].last().unwrap() == "cleanup"));
        assert!(SPOUTS.iter().all(|&name| *lives[name].last().unwrap() == "close"));
    });
}

/// Notes when it ticks, and takes its time with tuples.
struct Clockwork {
    ticks: Seen<(u32, Moment)>,
    task: Option<TaskContext>,
}

impl Bolt for Clockwork {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, _number: u64, _out: &mut Emitter<u64>) -> Result<(), Fail> {
        self.task.as_ref().unwrap().sleep(SECOND * 5 / 2).await;
        Ok(())
    }

    async fn tick(&mut self, out: &mut Emitter<u64>) -> Result<(), Fault> {
        let task = self.task.as_ref().unwrap();
        self.ticks.note((task.task(), task.now()));
        out.emit(7);
        Ok(())
    }
}

#[test]
fn ticks_come_at_their_interval_and_are_not_made_up_for() {
    for_seeds(SEEDS, |seed| {
        let (desk, ticks, emitted) = (Desk::default(), Seen::default(), Seen::default());
        let bell = Arc::new(Semaphore::new(0));
        let topology = Topology::new("clockwork");
        let (given, rung) = (desk.clone(), bell.clone());
        let numbers = topology.spout("given", move || Given { desk: given.clone(), bell: rung.clone() });
        let noted = ticks.clone();
        let ticked = topology
            .bolt("clockwork", move || Clockwork { ticks: noted.clone(), task: None })
            .tasks(2)
            .global(&numbers)
            .tick_every(SECOND);
        topology.bolt("note", note(&emitted)).shuffle(&ticked);
        let lab = Lab::launch(seed, topology);
        lab.scheduler.advance(SECOND * 3);
        // Task 0 is busy from 3.2 to 5.7 seconds: it ticks then, and every second after.
        lab.scheduler.advance(SECOND / 5);
        desk.add(1);
        bell.add_permits(1);
        lab.scheduler.advance(SECOND * 4);
        let of_task = |task: u32| -> Vec<u64> {
            let all = ticks.all();
            let own = all.iter().filter(|(one, _)| *one == task);
            own.map(|(_, at)| at.as_nanos() / 100_000_000).collect()
        };
        assert_eq!(of_task(1), [10, 20, 30, 40, 50, 60, 70]);
        assert_eq!(of_task(0), [10, 20, 30, 57, 67]);
        lab.stop();
        assert_eq!(emitted.count(), 12, "what ticks emit is sent at once");
    });
}

#[test]
fn a_handle_that_outlives_the_launch_changes_nothing() {
    let desk = Desk::new(10, 1);
    let topology = Topology::new("handles");
    let numbers = topology.spout("numbers", desk.source());
    let again = topology.feedback::<u64>("again");
    let late = topology.feedback::<u64>("late");
    let passed = topology.bolt("pass", pass()).shuffle(&numbers).shuffle(&again).shuffle(&late);
    let nothing = topology.bolt("nothing", act(|_: u64, _: &mut Emitter<u64>, _| Ok(()))).shuffle(&passed);
    again.connect(&nothing);
    late.connect(&nothing);
    let lab = Lab::launch(1, topology);
    let passed = passed.tasks(7).tick_every(SECOND);
    numbers.tasks(7).max_pending(7);
    passed.shuffle(&nothing);
    assert_eq!(lab.finish().components[1].tasks.len(), 1);
    desk.assert_all_acked(10);
}
