//! What closes a batch: its time, its records, its bytes; and that one is processed while the one before it is on its way.

use std::sync::Arc;
use std::time::Duration;

use topo_connectors::{LogSpout, LogSpoutConfig};
use topo_core::log::{Log, TopicPartition};
use topo_core::{Bolt, Emitter, Fail, Fault, TaskContext, Topology};

use crate::lab::{IN, Lab, NAME, lines};
use crate::word_count::decode;

const NEVER: Duration = Duration::from_secs(3_600);

/// A lab whose batches are closed by nothing.
fn lab() -> Lab {
    let mut lab = Lab::new(3, 1);
    let batches = &mut lab.setup.runtime.transactions;
    (batches.interval, batches.batch_records, batches.batch_bytes) = (NEVER, usize::MAX, usize::MAX);
    lab
}

fn committed(lab: &Lab) -> Option<i64> {
    lab.block_on(lab.log.committed(NAME, &TopicPartition::new(IN, 0))).unwrap()
}

#[test]
fn a_batch_ends_by_its_time() {
    let mut lab = lab();
    lab.setup.runtime.transactions.interval = Duration::from_millis(50);
    lab.feed(lines(1, 30));
    lab.launch();
    lab.pass(Duration::from_millis(49));
    assert_eq!(committed(&lab), None);
    lab.pass(Duration::from_millis(10));
    assert_eq!((committed(&lab), lab.numbers().trees), (Some(30), 30));
    lab.feed(lines(2, 5));
    lab.pass(Duration::from_millis(100));
    let numbers = lab.numbers();
    assert_eq!((committed(&lab), numbers.trees, numbers.commits), (Some(35), 5, 2));
    assert!(numbers.lasted >= Duration::from_millis(50), "{numbers:?}");
    lab.stop();
    lab.demand_truth(|_| false);
}

#[test]
fn a_batch_ends_by_its_records() {
    let mut lab = lab();
    lab.setup.runtime.transactions.batch_records = 10;
    lab.feed(lines(1, 25));
    lab.launch();
    lab.pass(Duration::from_secs(1));
    assert_eq!((committed(&lab), lab.numbers().commits, lab.numbers().trees), (Some(20), 2, 10));
    lab.stop();
    assert_eq!(committed(&lab), Some(25), "the last one is closed by the stop");
    lab.demand_truth(|_| false);
}

#[test]
fn a_batch_ends_by_its_bytes_and_takes_little_more() {
    let mut lab = lab();
    let most = 4_000;
    lab.setup.runtime.transactions.batch_bytes = most;
    lab.setup.runtime.max_pending = 4;
    lab.feed(lines(1, 400));
    lab.launch();
    lab.pass(Duration::from_secs(1));
    let numbers = lab.numbers();
    assert!(numbers.commits >= 10, "{numbers:?}");
    // Outputs are counted as they come, changes of state are added at the end: no more than there are outputs.
    assert!((numbers.bytes as usize) < 3 * most, "{numbers:?}");
    assert!(committed(&lab) > Some(200));
    lab.stop();
    lab.demand_truth(|_| false);
}

/// Takes a second for a line.
struct Slow(Option<TaskContext>);

impl Bolt for Slow {
    type In = String;
    type Out = ();

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.0 = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, _line: String, _out: &mut Emitter<()>) -> Result<(), Fail> {
        if let Some(task) = &self.0 {
            task.sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

#[test]
fn the_next_batch_is_emitted_while_one_is_still_being_processed() {
    let mut lab = lab();
    lab.setup.runtime.transactions.batch_records = 3;
    lab.build(|lab| {
        let topology = Topology::new(NAME);
        let (log, progress) = (lab.log.clone() as Arc<dyn Log>, lab.progress.clone());
        let config = LogSpoutConfig::new(IN, NAME);
        let lines = topology.spout("lines", move || {
            LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode)
        });
        topology.bolt("slow", || Slow(None)).shuffle(&lines);
        topology
    });
    lab.feed(lines(1, 9));
    lab.launch();
    let emitted = |lab: &Lab| lab.running().snapshot().components[0].total(|task| task.emitted);
    lab.pass(Duration::from_millis(500));
    assert_eq!((lab.numbers().committed, lab.numbers().txid, emitted(&lab)), (0, 2, 6));
    lab.pass(Duration::from_secs(3));
    assert_eq!((lab.numbers().committed, lab.numbers().txid, emitted(&lab)), (1, 3, 9));
    lab.finish();
    assert_eq!(lab.numbers().commits, 3);
    lab.stop();
}
