//! How a run ends and the next one begins: what a bolt emits as it finishes is committed, and txids go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_connectors::{LogSink, LogSpout, LogSpoutConfig};
use topo_core::log::{Log, Record};
use topo_core::state::State;
use topo_core::{Bolt, Emitter, Fail, Fault, Input, LastBatch, RichBolt, TaskContext, Topology};
use topo_tests::seeds::for_seeds;

use crate::lab::{IN, Lab, NAME, OUT, lines, text};
use crate::trouble::Trouble;
use crate::word_count::decode;

/// Counts lines in its state, and says how many there were as it finishes; some time after it erred so often.
#[derive(Default)]
struct Total {
    total: Option<State<u8, u64>>,
    errs: Arc<AtomicU32>,
}

impl RichBolt for Total {
    type In = String;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.total = Some(task.state("total").await?);
        Ok(())
    }

    async fn execute(&mut self, input: Input<String>, _out: &mut Emitter<u64>) -> Result<(), Fault> {
        let total = self.total.as_mut().ok_or("not prepared")?;
        total.update(&0, |total| *total += 1)?;
        input.ack();
        Ok(())
    }

    async fn finish(&mut self, out: &mut Emitter<u64>) -> Result<(), Fault> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.errs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err("not yet".into());
        }
        let total = self.total.as_mut().ok_or("not prepared")?;
        out.emit(total.get(&0)?.unwrap_or_default());
        Ok(())
    }
}

/// Passes on what it gets, so that what is finished has some way to go.
struct Pass;

impl Bolt for Pass {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        out.emit(number);
        Ok(())
    }
}

fn totals(lab: &Lab) -> Topology {
    totals_after(lab, 0)
}

/// Its totals come once it has erred so often as it finishes.
fn totals_after(lab: &Lab, errs: u32) -> Topology {
    let errs = Arc::new(AtomicU32::new(errs));
    let topology = Topology::new(NAME);
    let log = lab.log.clone() as Arc<dyn Log>;
    let config = LogSpoutConfig { attempts: 20, ..LogSpoutConfig::new(IN, NAME) };
    let progress = lab.progress.clone();
    let spout = move || LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode);
    let lines = topology.spout("lines", spout);
    let total = topology.rich_bolt("total", move || Total { total: None, errs: Arc::clone(&errs) });
    let total = total.global(&lines);
    let passed = topology.bolt("pass", || Pass).tasks(2).shuffle(&total);
    let log = lab.log.clone() as Arc<dyn Log>;
    let encode = |total: &u64| Ok(Record { value: Some(total.to_string().into()), ..Record::default() });
    topology.rich_bolt(OUT, move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, encode)).global(&passed);
    topology
}

#[test]
fn what_a_bolt_emits_as_it_finishes_is_committed_once_in_each_run_that_ends_in_order() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.build(totals);
        lab.feed(lines(seed, 30));
        let mut expected = Vec::new();
        for run in 1..=3 {
            lab.launch();
            lab.pass(Duration::from_millis(seed * 13));
            lab.crash();
            lab.launch();
            lab.finish();
            lab.stop();
            expected.push((run * 30).to_string());
            let seen: Vec<String> = lab.log.records(OUT, 0).into_iter().map(|one| text(one.value)).collect();
            assert_eq!(seen, expected);
            lab.progress = Default::default();
            lab.feed(lines(seed + run, 30));
        }
    });
}

#[test]
fn where_a_bolt_errs_as_it_finishes_the_last_batch_is_left_to_the_next_run() {
    let mut lab = Lab::new(8, 1);
    lab.feed(lines(8, 30));
    for build in [|lab: &Lab| totals_after(lab, 1), totals] {
        assert!(lab.log.records(OUT, 0).is_empty());
        lab.build(build);
        lab.launch();
        lab.finish();
        lab.stop();
        lab.progress = Default::default();
    }
    let seen: Vec<String> = lab.log.records(OUT, 0).into_iter().map(|one| text(one.value)).collect();
    assert_eq!(seen, ["30"]);
}

/// The txids that were noted with commits, in their order, each once.
fn noted(lab: &Lab) -> Vec<u64> {
    let commits = lab.log.commits();
    let mut noted: Vec<u64> =
        commits.iter().map(|commit| LastBatch::parse(&commit.note).expect("each is noted")).collect();
    noted.dedup();
    noted
}

#[test]
fn txids_rise_over_kills_and_restarts() {
    for_seeds(30, |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lab = Lab::new(seed, 3);
        lab.setup.spout_tasks = 2;
        for life in 0..5 {
            lab.feed(lines(seed + life, 30));
            lab.trouble(seed + life, &Trouble::random(seed + life, 3, 60));
            lab.launch();
            let before = noted(&lab).last().copied().unwrap_or(0);
            assert!(lab.numbers().txid > before, "{before} was committed: {:?}", lab.numbers());
            lab.pass(Duration::from_millis(random.random_range(0..300)));
            lab.crash();
        }
        lab.trouble(seed, &Trouble::none());
        lab.launch();
        lab.finish();
        lab.stop();
        lab.demand_truth(|_| false);
        let noted = noted(&lab);
        assert!(noted.len() > 5 && noted.is_sorted_by(|one, next| one < next), "{noted:?}");
    });
}

/// Emits a number at each tick.
struct Ticks;

impl Bolt for Ticks {
    type In = String;
    type Out = u64;

    async fn execute(&mut self, _line: String, _out: &mut Emitter<u64>) -> Result<(), Fail> {
        Ok(())
    }

    async fn tick(&mut self, out: &mut Emitter<u64>) -> Result<(), Fault> {
        out.emit(1);
        Ok(())
    }
}

#[test]
fn a_batch_of_which_nothing_was_read_has_a_number_of_its_own_too() {
    let mut lab = Lab::new(5, 1);
    lab.build(|lab| {
        let topology = Topology::new(NAME);
        let (log, progress) = (lab.log.clone() as Arc<dyn Log>, lab.progress.clone());
        let spout =
            move || LogSpout::new(Arc::clone(&log), LogSpoutConfig::new(IN, NAME), progress.clone(), decode);
        let lines = topology.spout("lines", spout);
        let ticks = topology.bolt("ticks", || Ticks).tick_every(Duration::from_millis(250)).shuffle(&lines);
        let log = lab.log.clone() as Arc<dyn Log>;
        let encode =
            |number: &u64| Ok(Record { value: Some(number.to_string().into()), ..Record::default() });
        topology.rich_bolt(OUT, move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, encode)).global(&ticks);
        topology
    });
    lab.feed(lines(5, 3));
    for run in 1..=2 {
        lab.launch();
        lab.pass(Duration::from_secs(2));
        let ticks = lab.log.records(OUT, 0).len();
        assert!(ticks >= 7 * run, "{ticks} ticks");
        let noted = noted(&lab);
        assert!(noted.len() > ticks - run && noted.is_sorted_by(|one, next| one < next), "{noted:?}");
        assert_eq!(lab.log.commits().last().map(|commit| commit.offset), Some(3));
        lab.crash();
    }
}
