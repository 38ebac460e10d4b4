//! Queues are bounded, senders wait and are woken, and nothing waits longer for its batch than it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Semaphore;
use topo_core::metrics::{QueueSnapshot, TaskSnapshot};
use topo_core::schedule::{Clock, Moment};
use topo_core::{Bolt, Config, Delivery, Emitter, Fail, Fault, TaskContext, Topology};

use crate::lab::{Lab, SEEDS, config, for_seeds, total};
use crate::part::{Desk, Seen, act, note, pass};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Takes a millisecond for each tuple, and hands it on.
#[derive(Default)]
struct Slow<T> {
    task: Option<TaskContext>,
    passed: std::marker::PhantomData<fn() -> T>,
}

impl<T: topo_core::Tuple> Bolt for Slow<T> {
    type In = T;
    type Out = T;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, tuple: T, out: &mut Emitter<T>) -> Result<(), Fail> {
        self.task.as_ref().unwrap().sleep(MILLISECOND).await;
        out.emit(tuple);
        Ok(())
    }
}

fn slow<T: topo_core::Tuple>() -> Slow<T> {
    Slow { task: None, passed: std::marker::PhantomData }
}

/// The fullest that the queue of `name` is seen, looked at every half a millisecond: tuples and bytes.
fn fullest(lab: &Lab, name: &str, done: impl Fn() -> bool) -> (u64, u64) {
    let (mut tuples, mut bytes) = (0, 0);
    while !done() {
        lab.scheduler.advance(MILLISECOND / 2);
        let numbers = lab.running.snapshot();
        tuples = tuples.max(total(&numbers, name, |task| task.queue.tuples));
        bytes = bytes.max(total(&numbers, name, |task| task.queue.bytes));
    }
    (tuples, bytes)
}

/// No bound but the queue's.
fn wide(seed: u64) -> Config {
    let mut config = config(seed);
    config.max_pending = 100_000;
    config
}

#[test]
fn a_slow_bolt_bounds_its_queue_and_holds_the_spout() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(300, 1);
        let topology = Topology::new("slow");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).shuffle(&numbers);
        topology.bolt("slow", slow::<u64>).shuffle(&passed);
        let lab = Lab::launch_with(wide(seed), topology);
        let (tuples, _) = fullest(&lab, "slow", || desk.lock().acked.len() == 300);
        assert!((12..=16).contains(&tuples), "{tuples} tuples waited where 16 may");
        lab.finish();
        desk.assert_all_acked(300);
        // Two queues of 16, and in each of three tasks a batch in work, one refused, and one that fills.
        let open = desk.lock().most_open;
        assert!(open <= 2 * 16 + 3 * 3 * 4, "{open} were under way at once");
    });
}

/// Takes as long as it is told, in microseconds.
struct Paced {
    micros: Arc<AtomicU64>,
    task: Option<TaskContext>,
}

impl Bolt for Paced {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        let takes = Duration::from_micros(self.micros.load(Relaxed));
        self.task.as_ref().unwrap().sleep(takes).await;
        out.emit(number);
        Ok(())
    }
}

/// Tuples emitted by the spout, under way, queued, and their bytes.
fn levels(lab: &Lab) -> [u64; 4] {
    let numbers = lab.running.snapshot();
    let queued = |of: fn(&QueueSnapshot) -> u64| -> u64 {
        numbers.components.iter().map(|one| one.total(|task| of(&task.queue))).sum()
    };
    let spout = |counter: fn(&TaskSnapshot) -> u64| total(&numbers, "numbers", counter);
    [
        spout(|task| task.emitted),
        spout(|task| task.pending),
        queued(|one| one.tuples),
        queued(|one| one.bytes),
    ]
}

#[test]
fn a_bolt_a_hundred_times_slower_for_a_minute_holds_the_spout_and_costs_no_replay() {
    const COUNT: u64 = 8_000;
    let second = MILLISECOND * 1_000;
    for_seeds(SEEDS / 8, |seed| {
        let desk = Desk::new(COUNT, 1);
        let topology = Topology::new("minute");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).shuffle(&numbers);
        let micros = Arc::new(AtomicU64::new(100));
        let pace = Arc::clone(&micros);
        let paced = move || Paced { micros: Arc::clone(&pace), task: None };
        let slowed = topology.bolt("paced", paced).shuffle(&passed);
        topology.bolt("note", note(&Seen::default())).shuffle(&slowed);
        let lab = Lab::launch_with(wide(seed), topology);
        lab.scheduler.advance(MILLISECOND * 100);
        let quick = levels(&lab)[0];
        assert!(quick > 900, "{quick} in a tenth of a second at ten a millisecond");

        micros.store(10_000, Relaxed);
        lab.scheduler.advance(second);
        // A second later the spout emits what the bolt executes, a hundred a second, and no more.
        let mut last = levels(&lab);
        assert!(last[0] - quick <= 100 + 2 * 16 + 3 * 3 * 4, "{} in the first second", last[0] - quick);
        for _ in 1..60 {
            lab.scheduler.advance(second);
            let now = levels(&lab);
            assert!((88..=112).contains(&(now[0] - last[0])), "{} in a second", now[0] - last[0]);
            // Two queues of 16 and, in each of three tasks, a batch in work, one refused and one that fills.
            let [_, pending, tuples, bytes] = now;
            assert!(pending <= 2 * 16 + 3 * 3 * 4, "{pending} under way");
            assert!(pending.abs_diff(last[1]) <= 16, "{pending} under way after {}", last[1]);
            assert!(tuples <= 2 * 16 && bytes <= 2 * 16 * 32, "{tuples} tuples of {bytes} bytes queued");
            last = now;
        }

        micros.store(100, Relaxed);
        let numbers = lab.finish();
        desk.assert_all_acked(COUNT);
        let spout = |counter: fn(&TaskSnapshot) -> u64| total(&numbers, "numbers", counter);
        assert_eq!((spout(|task| task.emitted), spout(|task| task.acked)), (COUNT, COUNT));
        assert_eq!((spout(|task| task.failed), spout(|task| task.timed_out)), (0, 0));
    });
}

#[test]
fn bytes_bound_a_queue_of_large_tuples() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(200, 1);
        let topology = Topology::new("large");
        let numbers = topology.spout("numbers", desk.source());
        let swell = act(|number: u64, out: &mut Emitter<String>, _task: &TaskContext| {
            out.emit(number.to_string().repeat(1_000));
            Ok(())
        });
        let swollen = topology.bolt("swell", swell).shuffle(&numbers);
        topology.bolt("slow", slow::<String>).shuffle(&swollen);
        let mut config = wide(seed);
        (config.queue_tuples, config.queue_bytes) = (8_192, 20_000);
        let lab = Lab::launch_with(config, topology);
        let (tuples, bytes) = fullest(&lab, "slow", || desk.lock().acked.len() == 200);
        assert!((8_000..=20_000).contains(&bytes), "{bytes} bytes waited where 20,000 may");
        assert!(tuples <= 20, "{tuples} tuples of 1 to 3 kB are more than 20 kB");
        lab.finish();
        desk.assert_all_acked(200);
    });
}

#[test]
fn bytes_are_given_back_as_they_were_taken() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(200, 1);
        let topology = Topology::new("tiny");
        let numbers = topology.spout("numbers", desk.source()).tasks(2);
        // A diamond in which everybody waits for everybody's queue of one tuple.
        let left = topology.bolt("left", pass()).tasks(2).shuffle(&numbers);
        let right = topology.bolt("right", pass()).all(&left).shuffle(&numbers);
        topology.bolt("end", note(&Seen::default())).tasks(2).shuffle(&right).fields(&left, |number| number);
        let mut config = wide(seed);
        (config.queue_tuples, config.queue_bytes, config.batch_size) = (1, 1, 3);
        Lab::launch_with(config, topology).finish();
        desk.assert_all_acked(200);
    });
}

#[test]
fn a_busy_sender_keeps_nothing_longer_than_max_batch_delay() {
    for_seeds(SEEDS, |seed| {
        let (desk, lags) = (Desk::new(100, 1), Seen::default());
        let topology = Topology::new("busy");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("slow", slow::<u64>).shuffle(&numbers);
        let noted = lags.clone();
        let lag = act(move |number: u64, _out: &mut Emitter<()>, task: &TaskContext| {
            // The first is emitted after a millisecond, and so on.
            let emitted = Moment::default().after(MILLISECOND * (number as u32 + 1));
            noted.note(task.now().since(emitted));
            Ok(())
        });
        topology.bolt("lag", lag).tasks(2).shuffle(&passed);
        let mut config = wide(seed);
        (config.batch_size, config.queue_tuples) = (512, 8_192);
        config.max_batch_delay = MILLISECOND * 5;
        let lab = Lab::launch_with(config, topology);
        lab.finish();
        desk.assert_all_acked(100);
        let longest = lags.all().into_iter().max().unwrap();
        assert!(longest <= MILLISECOND * 5, "{longest:?}");
    });
}

#[test]
fn an_idle_sender_waits_for_nothing() {
    for_seeds(SEEDS, |seed| {
        let desk = Desk::new(5, 1);
        let topology = Topology::new("idle");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("pass", pass()).tasks(2).shuffle(&numbers);
        topology.bolt("end", note(&Seen::default())).shuffle(&passed);
        let mut config = wide(seed);
        (config.batch_size, config.max_batch_delay) = (512, Duration::from_secs(3_600));
        let lab = Lab::launch_with(config, topology);
        lab.block_on(lab.running.finished());
        assert_eq!(lab.scheduler.now(), Moment::default());
        desk.assert_all_acked(5);
    });
}

/// Emits each number a thousand times, as fast as it may.
struct Expand(Arc<AtomicU64>);

impl Bolt for Expand {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        for _ in 0..1_000 {
            out.emit(number);
            self.0.fetch_add(1, Relaxed);
            out.ready().await;
        }
        Ok(())
    }
}

#[test]
fn ready_bounds_a_huge_expansion() {
    for_seeds(SEEDS / 4, |seed| {
        let (desk, emitted) = (Desk::new(3, 1), Arc::new(AtomicU64::new(0)));
        let topology = Topology::new("expand");
        let numbers = topology.spout("numbers", desk.source());
        let counted = emitted.clone();
        let expanded = topology.bolt("expand", move || Expand(counted.clone())).shuffle(&numbers);
        let (executed, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (done, peak) = (executed.clone(), most.clone());
        let end = act(move |_: u64, _out: &mut Emitter<()>, _task: &TaskContext| {
            let waiting = emitted.load(Relaxed) - done.fetch_add(1, Relaxed);
            peak.fetch_max(waiting, Relaxed);
            Ok(())
        });
        topology.bolt("end", end).shuffle(&expanded);
        Lab::launch(seed, topology).finish();
        desk.assert_all_acked(3);
        assert_eq!(executed.load(Relaxed), 3_000);
        // A queue of 16, a batch in work, one refused and one that fills.
        assert!(most.load(Relaxed) <= 16 + 3 * 4, "{} at once", most.load(Relaxed));
    });
}

/// Does nothing until it is let through.
struct Gate(Arc<Semaphore>);

impl Bolt for Gate {
    type In = u64;
    type Out = ();

    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        self.0.acquire().await?.forget();
        Ok(())
    }
}

#[test]
fn who_waits_for_space_stops_when_the_topology_does() {
    for_seeds(SEEDS, |seed| {
        for expands in [false, true] {
            let (desk, gate) = (Desk::new(200, 1), Arc::new(Semaphore::new(0)));
            let topology = Topology::new("gate");
            let numbers = topology.spout("numbers", desk.source());
            let passed = match expands {
                true => topology.bolt("expand", || Expand(Arc::default())).shuffle(&numbers),
                false => topology.bolt("pass", pass()).shuffle(&numbers),
            };
            let opened = gate.clone();
            topology.bolt("gate", move || Gate(opened.clone())).shuffle(&passed);
            let lab = Lab::launch_with(wide(seed), topology);
            lab.scheduler.run_until_stalled();
            let stuck = lab.block_on(lab.running.kill(MILLISECOND));
            assert_eq!(stuck.map_err(|stuck| stuck.stuck), Err(1), "only the gate is stuck");
            // The batch in work passes, and then it stops as well.
            gate.add_permits(4);
            lab.scheduler.run_until_stalled();
            assert_eq!(lab.scheduler.unfinished(), []);
        }
    });
}

#[test]
fn without_acks_the_queues_alone_hold_the_spout() {
    for_seeds(SEEDS, |seed| {
        let (desk, seen) = (Desk::new(300, 1), Seen::default());
        let topology = Topology::new("unacked");
        let numbers = topology.spout("numbers", desk.source());
        let passed = topology.bolt("slow", slow::<u64>).shuffle(&numbers);
        topology.bolt("note", note(&seen)).shuffle(&passed);
        let mut config = wide(seed);
        config.delivery = Delivery::AtMostOnce;
        let lab = Lab::launch_with(config, topology);
        lab.scheduler.advance(MILLISECOND * 50);
        let emitted = 300 - desk.lock().left();
        assert!((50..=50 + 16 + 3 * 4).contains(&emitted), "{emitted} after 50 ms");
        lab.finish();
        assert_eq!(seen.count(), 300);
    });
}
