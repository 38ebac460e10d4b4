//! What takes too long: an execute, an idle or a tick that hangs, an input that is held. Time is charged to whom it hangs
//! at, and to nobody who waits for somebody else.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topo_core::metrics::TopologySnapshot;
use topo_core::schedule::{Clock, Moment, Stall};
use topo_core::{
    Bolt, Config, Delivery, Emitter, Fail, FailKind, Fault, Input, RichBolt, TaskContext, Topology,
};

use crate::lab::{Lab, SEEDS, component, config, for_seeds, total};
use crate::part::{Desk, Seen, note, pass, rich};

const SECOND: Duration = Duration::from_secs(1);
/// A hundredth of a second, where timeouts are a hundredth of the usual: a spout without `ready` is asked every millisecond.
const HUNDREDTH: Duration = Duration::from_millis(10);
const COUNT: u64 = 40;
/// For runs over virtual minutes, in which a spout without `ready` is asked every millisecond.
const SLOW_SEEDS: u64 = 4;

/// How long an execute takes: by its number and how often that was seen, from 1. `None` for ever.
type Plan = Arc<dyn Fn(u64, usize) -> Option<Duration> + Send + Sync>;

/// Takes its time, and hands its number on.
struct Timed {
    plan: Plan,
    seen: Seen<u64>,
    task: Option<TaskContext>,
}

/// A factory of bolts that take their time.
fn timed(
    plan: impl Fn(u64, usize) -> Option<Duration> + Send + Sync + 'static,
) -> impl Fn() -> Timed + Send + Sync + 'static {
    let (plan, seen): (Plan, Seen<u64>) = (Arc::new(plan), Seen::default());
    move || Timed { plan: Arc::clone(&plan), seen: seen.clone(), task: None }
}

impl Bolt for Timed {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        self.seen.note(number);
        let times = self.seen.all().iter().filter(|&&one| one == number).count();
        out.emit(number);
        match (self.plan)(number, times) {
            Some(Duration::ZERO) => {}
            Some(takes) => self.task.as_ref().unwrap().sleep(takes).await,
            None => pending().await,
        }
        Ok(())
    }
}

/// With timeouts of 30 and 300 hundredths.
fn quick(seed: u64) -> Config {
    Config { execute_timeout: Some(HUNDREDTH * 30), hold_timeout: Some(HUNDREDTH * 300), ..config(seed) }
}

fn last_error(numbers: &TopologySnapshot, name: &str) -> String {
    let errors = component(numbers, name).tasks.iter().filter_map(|task| task.last_error.as_ref());
    errors.max_by_key(|error| error.at_ms).map(|error| error.message.to_string()).unwrap_or_default()
}

#[test]
fn an_execute_that_hangs_is_dropped_and_names_component_task_and_time() {
    for_seeds(SLOW_SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 2), Seen::default());
        let topology = Topology::new("hangs");
        let numbers = topology.spout("numbers", desk.source());
        let count = timed(|number, times| (number % 10 != 3 || times > 1).then_some(Duration::ZERO));
        let counted = topology.bolt("count", count).tasks(2).fields_by(&numbers, |number| number % 10);
        topology.bolt("note", note(&seen)).shuffle(&counted);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        let took = lab.scheduler.now().since(Moment::default());
        let numbers = lab.stop();
        desk.assert_all_acked(COUNT);
        // One task had them all; the other was not touched.
        let tasks = &component(&numbers, "count").tasks;
        let (broken, whole) = if tasks[0].restarted > 0 { (0, 1) } else { (1, 0) };
        assert_eq!(
            (tasks[broken].restarted, tasks[broken].failed, tasks[broken].timed_out, tasks[whole].timed_out),
            (4, 4, 4, 0)
        );
        let reason = format!("`count` task {broken} was still executing it after 30s");
        let failed: Vec<(u64, String)> =
            desk.lock().failed.iter().map(|(number, failure)| (*number, failure.to_string())).collect();
        let expected = [3, 13, 23, 33].map(|number| (number, format!("{reason} (in count, attempt 1)")));
        assert_eq!(failed, expected);
        assert!(desk.lock().failed.iter().all(|(_, failure)| failure.kind == FailKind::Retry));
        assert_eq!(last_error(&numbers, "count"), reason);
        let spout =
            |counter: fn(&topo_core::metrics::TaskSnapshot) -> u64| total(&numbers, "numbers", counter);
        assert_eq!((spout(|task| task.failed), spout(|task| task.timed_out)), (4, 4));
        assert_eq!(seen.count() as u64, COUNT, "what was emitted before it hung is taken back");
        // Four times 30 s, each found within a second, and the delays of the restarts.
        assert!(took >= SECOND * 120 && took < SECOND * 125, "{took:?}");
    });
}

#[test]
fn an_execute_that_ends_in_time_is_left_alone_however_many_wait_behind_it() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("slow");
        let numbers = topology.spout("numbers", desk.source());
        // Quick at first, so that many share a chunk; then each takes nearly as long as it may.
        let slow = timed(|number, _| Some(if number < 20 { Duration::ZERO } else { HUNDREDTH * 29 }));
        let slowed = topology.bolt("slow", slow).shuffle(&numbers);
        topology.bolt("note", note(&Seen::default())).shuffle(&slowed);
        let mut config = quick(seed);
        (config.batch_size, config.queue_tuples, config.max_pending) = (64, 64, 64);
        let numbers = Lab::launch_with(config, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(total(&numbers, "slow", |task| task.timed_out + task.failed), 0);
        assert!(numbers.uptime >= HUNDREDTH * 29 * 20);
    });
}

/// Emits each number many times, and waits for room.
struct Expand;

impl Bolt for Expand {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        for _ in 0..300 {
            out.emit(number);
            out.ready().await;
        }
        Ok(())
    }
}

#[test]
fn waiting_for_room_in_another_s_queue_is_not_to_take_long() {
    for_seeds(SEEDS / 4, |seed| {
        let desk = Desk::new(3, 1);
        let topology = Topology::new("room");
        let numbers = topology.spout("numbers", desk.source());
        let expanded = topology.bolt("expand", || Expand).shuffle(&numbers);
        topology.bolt("slow", timed(|_, _| Some(HUNDREDTH))).shuffle(&expanded);
        let numbers = Lab::launch_with(quick(seed), topology).finish();
        desk.assert_all_acked(3);
        assert_eq!(total(&numbers, "expand", |task| task.timed_out + task.restarted), 0);
        assert!(numbers.uptime >= HUNDREDTH * 900);
    });
}

#[test]
fn an_execute_that_hangs_after_it_waited_for_room_is_found() {
    struct Then(Seen<u64>);
    impl Bolt for Then {
        type In = u64;
        type Out = u64;
        async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
            for _ in 0..100 {
                out.emit(number);
                out.ready().await;
            }
            let first = !self.0.all().contains(&number);
            self.0.note(number);
            if first { pending().await } else { Ok(()) }
        }
    }
    for_seeds(SEEDS / 4, |seed| {
        let (desk, seen) = (Desk::new(2, 2), Seen::default());
        let topology = Topology::new("then");
        let numbers = topology.spout("numbers", desk.source());
        let then = topology.bolt("then", move || Then(seen.clone())).shuffle(&numbers);
        topology.bolt("slow", timed(|_, _| Some(HUNDREDTH))).shuffle(&then);
        let numbers = Lab::launch_with(quick(seed), topology).finish();
        desk.assert_all_acked(2);
        assert_eq!(total(&numbers, "numbers", |task| task.timed_out), 2);
        assert_eq!(total(&numbers, "then", |task| task.timed_out), 2);
    });
}

#[test]
fn a_hang_on_a_joint_input_fails_all_of_its_trees() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 2);
        let topology = Topology::new("joint");
        let numbers = topology.spout("numbers", desk.source());
        let waits: Arc<Mutex<Option<Input<u64>>>> = Arc::default();
        let join = rich(move |input: Input<u64>, out: &mut Emitter<u64>| {
            let mut waits = waits.lock().unwrap();
            match waits.take() {
                None => *waits = Some(input),
                Some(other) => {
                    out.emit_anchored(&[&other, &input], 0);
                    other.ack();
                    input.ack();
                }
            }
            Ok(())
        });
        let joined = topology.rich_bolt("join", join).shuffle(&numbers);
        let hangs = timed(|_, times| (times != 5).then_some(Duration::ZERO));
        topology.bolt("hangs", hangs).shuffle(&joined);
        let numbers = Lab::launch(seed, topology).finish();
        desk.assert_all_acked(COUNT);
        assert_eq!(desk.lock().failed.len(), 2);
        assert_eq!(total(&numbers, "numbers", |task| task.timed_out), 2);
        assert_eq!(total(&numbers, "hangs", |task| task.timed_out), 1);
    });
}

/// Where a bolt that owns its inputs hangs, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Execute,
    Idle,
    Tick,
}

/// Holds what it gets, hangs where it is told to, and answers with every tick.
struct Hoard {
    at: At,
    hung: Seen<()>,
    held: Vec<Input<u64>>,
}

impl Hoard {
    async fn hang(&self, at: At) {
        if at == self.at && self.held.len() >= 5 && self.hung.count() == 0 {
            self.hung.note(());
            pending().await
        }
    }
}

impl RichBolt for Hoard {
    type In = u64;
    type Out = ();

    async fn execute(&mut self, input: Input<u64>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.hang(At::Execute).await;
        self.held.push(input);
        Ok(())
    }

    async fn idle(&mut self, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.hang(At::Idle).await;
        Ok(())
    }

    async fn tick(&mut self, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.hang(At::Tick).await;
        self.held.drain(..).for_each(Input::ack);
        Ok(())
    }
}

#[test]
fn what_a_bolt_that_hangs_held_fails_with_why() {
    for_seeds(SLOW_SEEDS, |seed| {
        for (at, doing) in
            [(At::Execute, "executing it"), (At::Idle, "in its idle"), (At::Tick, "in its tick")]
        {
            let (desk, hung) = (Desk::new(20, 2), Seen::default());
            let topology = Topology::new("hoard");
            let numbers = topology.spout("numbers", desk.source());
            let noted = hung.clone();
            topology
                .rich_bolt("hoard", move || Hoard { at, hung: noted.clone(), held: Vec::new() })
                .shuffle(&numbers)
                .tick_every(SECOND)
                .execute_timeout(SECOND * 10);
            let numbers = Lab::launch(seed, topology).finish();
            desk.assert_all_acked(20);
            let ledger = desk.lock();
            assert!(ledger.failed.len() >= 5, "{} failed", ledger.failed.len());
            let reason = format!("`hoard` task 0 was still {doing} after 10s");
            assert!(ledger.failed.iter().all(|(_, failure)| *failure.reason == *reason), "{reason}");
            assert_eq!(last_error(&numbers, "hoard"), reason);
            let (restarted, timed_out) =
                (total(&numbers, "hoard", |task| task.restarted), total(&numbers, "hoard", |t| t.timed_out));
            assert_eq!((restarted, timed_out), (1, 1));
            let trees = total(&numbers, "numbers", |task| task.timed_out);
            assert_eq!(trees, ledger.failed.len() as u64);
        }
    });
}

#[test]
fn an_input_that_is_held_too_long_fails_and_a_late_answer_changes_nothing() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 2);
        let topology = Topology::new("keeps");
        let numbers = topology.spout("numbers", desk.source());
        let kept: Arc<Mutex<Vec<Input<u64>>>> = Arc::default();
        let (keeps, seen) = (Arc::clone(&kept), Seen::default());
        let keep = rich(move |input: Input<u64>, _out: &mut Emitter<()>| {
            let first = !seen.all().contains(&*input);
            seen.note(*input);
            match *input % 10 {
                7 if first => keeps.lock().unwrap().push(input),
                _ => input.ack(),
            }
            Ok(())
        });
        topology.rich_bolt("keep", keep).tasks(2).shuffle(&numbers).hold_timeout(SECOND * 5);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        let took = lab.scheduler.now().since(Moment::default());
        assert!(took >= SECOND * 5 && took < SECOND * 8, "{took:?}");
        desk.assert_all_acked(COUNT);
        let late: Vec<Input<u64>> = std::mem::take(&mut kept.lock().unwrap());
        assert_eq!(late.len(), 4);
        for (at, input) in late.into_iter().enumerate() {
            match at {
                0 => drop(input),
                1 => input.fail(Fail::reject("too late")),
                _ => input.ack(),
            }
        }
        lab.scheduler.run_until_stalled();
        desk.assert_all_acked(COUNT);
        let numbers = lab.stop();
        let ledger = desk.lock();
        assert_eq!(ledger.failed.len(), 4);
        for (number, failure) in &ledger.failed {
            let reasons = [0, 1].map(|task| format!("`keep` task {task} had held it for 5s"));
            assert!(number % 10 == 7 && reasons.iter().any(|reason| **reason == *failure.reason));
        }
        assert_eq!(total(&numbers, "keep", |task| task.timed_out), 4);
        assert_eq!(total(&numbers, "keep", |task| task.restarted), 0);
        assert_eq!(total(&numbers, "numbers", |task| task.timed_out), 4);
    });
}

#[test]
fn a_bolt_may_be_given_another_time_or_all_of_it() {
    for_seeds(SLOW_SEEDS, |seed| {
        for longest in [None, Some(HUNDREDTH * 720)] {
            let (desk, kept) = (Desk::new(8, 1), Arc::new(Mutex::new(Vec::new())));
            let topology = Topology::new("patient");
            let numbers = topology.spout("numbers", desk.source());
            let slow = timed(|_, _| Some(HUNDREDTH * 360));
            let slowed = topology.bolt("slow", slow).shuffle(&numbers).execute_timeout(longest);
            let keeps = Arc::clone(&kept);
            let keep = rich(move |input: Input<u64>, _out: &mut Emitter<()>| {
                keeps.lock().unwrap().push(input);
                Ok(())
            });
            topology.rich_bolt("keep", keep).shuffle(&slowed).hold_timeout(None);
            let lab = Lab::launch_with(quick(seed), topology);
            lab.scheduler.advance(HUNDREDTH * 360 * 9);
            assert_eq!((kept.lock().unwrap().len(), desk.lock().open()), (8, 8));
            kept.lock().unwrap().drain(..).for_each(Input::ack);
            lab.finish();
            desk.assert_all_acked(8);
        }
    });
}

#[test]
fn a_wall_clock_that_jumps_an_hour_fails_nothing() {
    const HOUR_MS: i64 = 3_600_000;
    for_seeds(SEEDS, |seed| {
        let (desk, kept) = (Desk::new(COUNT, 1), Arc::new(Mutex::new(Vec::new())));
        let topology = Topology::new("jumps");
        let numbers = topology.spout("numbers", desk.source());
        let slowed = topology.bolt("slow", timed(|_, _| Some(SECOND))).shuffle(&numbers);
        let keeps = Arc::clone(&kept);
        let keep = rich(move |input: Input<u64>, _out: &mut Emitter<()>| {
            keeps.lock().unwrap().push(input);
            Ok(())
        });
        topology.rich_bolt("keep", keep).shuffle(&slowed);
        let mut config = config(seed);
        config.max_pending = COUNT as usize;
        let lab = Lab::launch_with(config, topology);
        for jump in [HOUR_MS, -2 * HOUR_MS, HOUR_MS, -HOUR_MS] {
            lab.scheduler.advance(SECOND * 10 + SECOND / 2);
            lab.scheduler.set_wall_ms(lab.scheduler.wall_ms() + jump);
        }
        kept.lock().unwrap().drain(..).for_each(Input::ack);
        let numbers = lab.finish();
        desk.assert_all_acked(COUNT);
        for name in ["numbers", "slow", "keep"] {
            assert_eq!(total(&numbers, name, |task| task.timed_out + task.failed + task.restarted), 0);
        }
    });
}

#[test]
fn without_acks_a_bolt_that_hangs_goes_on_with_the_next_tuple() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(COUNT, 1), Seen::default());
        let topology = Topology::new("unacked");
        let numbers = topology.spout("numbers", desk.source());
        let hangs = timed(|number, _| (number % 10 != 3).then_some(Duration::ZERO));
        let passed = topology.bolt("hangs", hangs).shuffle(&numbers);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let mut config = config(seed);
        config.delivery = Delivery::AtMostOnce;
        let numbers = Lab::launch_with(config, topology).finish();
        assert_eq!(seen.count(), 36);
        assert_eq!(total(&numbers, "hangs", |task| task.timed_out), 4);
        assert_eq!(total(&numbers, "hangs", |task| task.restarted), 4);
    });
}

#[test]
fn a_topology_that_rests_sets_no_timer() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("rests");
        let numbers = topology.spout("numbers", desk.source());
        topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
        let lab = Lab::launch(seed, topology);
        lab.block_on(lab.running.finished());
        let Err(Stall::Deadlock { waiting, .. }) = lab.scheduler.try_block_on(pending::<()>()) else {
            panic!("somebody still works");
        };
        assert!(waiting.iter().any(|one| **one == *"watch"));
        assert!(lab.scheduler.now() <= Moment::default().after(SECOND * 3));
        lab.stop();
    });
}

#[test]
fn nothing_is_watched_where_nothing_has_a_timeout() {
    let desk = Desk::new(COUNT, 1);
    let topology = Topology::new("unwatched");
    let numbers = topology.spout("numbers", desk.source());
    topology.bolt("slow", timed(|_, _| Some(SECOND))).shuffle(&numbers);
    let config = Config { execute_timeout: None, hold_timeout: None, ..config(3) };
    let lab = Lab::launch_with(config, topology);
    lab.scheduler.run_until_stalled();
    assert!(lab.scheduler.unfinished().iter().all(|one| **one != *"watch"));
    lab.finish();
    desk.assert_all_acked(COUNT);
}
