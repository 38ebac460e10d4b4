//! What cannot be done exactly once is refused by name, before anything is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use topo_connectors::{LogSpout, LogSpoutConfig};
use topo_core::log::{
    Consumed, FetchLimit, Fetched, Joining, Log, LogError, Membership, Offsets, Record, TopicInfo,
    TopicPartition, TopicSpec,
};
use topo_core::{
    Bolt, Emitter, Fail, Fault, Input, Next, RichBolt, Spout, SpoutEmitter, TaskContext, TaskStore, Topology,
};
use topo_tests::memory_log::MemoryLog;

use crate::lab::{DEAD, IN, Lab, NAME, text};

struct Sensor;

impl Spout for Sensor {
    type Out = String;
    type Id = ();

    fn next(&mut self, _out: &mut SpoutEmitter<String, ()>) -> Result<Next, Fault> {
        Ok(Next::Idle)
    }
}

/// Passes on what it gets, and keeps something beside its state where it is told to.
struct Pass {
    keeps: bool,
}

struct Aside;

#[async_trait]
impl TaskStore for Aside {
    async fn flush(&self) -> Result<(), Fault> {
        Ok(())
    }
}

impl Bolt for Pass {
    type In = String;
    type Out = String;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        if self.keeps {
            task.keep_store("aside", Arc::new(Aside));
        }
        Ok(())
    }

    async fn execute(&mut self, value: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        out.emit(value);
        Ok(())
    }
}

/// Never answers.
#[derive(Default)]
struct Hoard(VecDeque<Input<String>>);

impl RichBolt for Hoard {
    type In = String;
    type Out = ();

    async fn execute(&mut self, input: Input<String>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        self.0.push_back(input);
        Ok(())
    }
}

/// How records become values.
type Decode = fn(&Consumed) -> Result<String, Fail>;

fn log_spout(lab: &Lab) -> impl Fn() -> LogSpout<String, Decode> + use<> {
    let (log, progress) = (lab.log.clone() as Arc<dyn Log>, lab.progress.clone());
    let decode: fn(&Consumed) -> Result<String, Fail> = |record| Ok(text(record.value.clone()));
    move || LogSpout::new(Arc::clone(&log), LogSpoutConfig::new(IN, NAME), progress.clone(), decode)
}

fn refusal(build: fn(&Lab) -> Topology) -> String {
    let mut lab = Lab::new(7, 1);
    lab.build(build);
    lab.try_launch().unwrap_err().to_string()
}

#[test]
fn a_spout_that_cannot_go_back_is_refused() {
    let said = refusal(|_| {
        let topology = Topology::new(NAME);
        let values = topology.spout("sensor", || Sensor);
        topology.bolt("pass", || Pass { keeps: false }).shuffle(&values);
        topology
    });
    assert!(said.starts_with("spout `sensor` cannot go back to what was committed"), "{said}");
}

#[test]
fn a_cycle_is_refused() {
    let said = refusal(|lab| {
        let topology = Topology::new(NAME);
        let lines = topology.spout("lines", log_spout(lab));
        let again = topology.feedback::<String>("again");
        let passed = topology.bolt("pass", || Pass { keeps: false }).shuffle(&lines).shuffle(&again);
        again.connect(&passed);
        topology
    });
    assert!(said.starts_with("feedback `again` makes a cycle"), "{said}");
}

#[test]
fn what_is_kept_beside_the_state_is_refused() {
    let said = refusal(|lab| {
        let topology = Topology::new(NAME);
        let lines = topology.spout("lines", log_spout(lab));
        topology.bolt("pass", || Pass { keeps: true }).shuffle(&lines);
        topology
    });
    assert!(said.starts_with("`pass` could not start: it keeps `aside` beside its state"), "{said}");
}

/// The log in memory as one that has no transactions.
struct Plain(Arc<MemoryLog>);

#[async_trait]
impl Log for Plain {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        self.0.create_topic(topic, spec).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.0.delete_topic(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.0.topics().await
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.0.topic(topic).await
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        self.0.append(to, records).await
    }

    async fn fetch(&self, from: &TopicPartition, at: i64, limit: FetchLimit) -> Result<Fetched, LogError> {
        self.0.fetch(from, at, limit).await
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        self.0.offsets(of).await
    }

    async fn offset_for_time(&self, of: &TopicPartition, at_ms: i64) -> Result<Option<i64>, LogError> {
        self.0.offset_for_time(of, at_ms).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.0.commit(group, offsets).await
    }

    async fn noted(&self, group: &str, of: &TopicPartition) -> Result<Option<(i64, String)>, LogError> {
        self.0.noted(group, of).await
    }

    async fn join(&self, joining: &Joining) -> Result<Arc<dyn Membership>, LogError> {
        self.0.join(joining).await
    }
}

#[test]
fn a_log_without_transactions_is_refused_and_so_is_none() {
    let mut lab = Lab::new(7, 1);
    lab.setup.runtime.state.log = Some(Arc::new(Plain(Arc::clone(&lab.log))));
    let said = lab.try_launch().unwrap_err().to_string();
    assert_eq!(
        said,
        "exactly once needs transactions, and the log gives none: this log has no transactions, as `exact` needs them; use \
         the embedded log or a Kafka broker"
    );
    lab.setup.runtime.state.log = None;
    let said = lab.try_launch().unwrap_err().to_string();
    assert!(said.ends_with("name it in Config::state.log"), "{said}");
}

/// A topology whose first input is held for good.
fn hoarding(hold_timeout: Option<Duration>) -> impl Fn(&Lab) -> Topology {
    move |lab| {
        let topology = Topology::new(NAME);
        let lines = topology.spout("lines", log_spout(lab));
        topology.rich_bolt("hoard", Hoard::default).hold_timeout(hold_timeout).shuffle(&lines);
        topology
    }
}

#[test]
fn an_input_that_is_held_past_its_marker_fails_the_batch_by_the_bolt_s_name_and_is_left_out_in_the_end() {
    let mut lab = Lab::new(7, 1);
    lab.build(|lab| hoarding(None)(lab));
    lab.feed(["a".to_owned()]);
    lab.launch();
    lab.pass(Duration::from_secs(10));
    let numbers = lab.numbers();
    let why = numbers.last_abort.unwrap();
    assert!(why.starts_with("`hoard` still held an input"), "{why}");
    assert_eq!(numbers.commits, 0);
    lab.finish();
    assert_eq!((lab.numbers().aborts, lab.numbers().commits), (5, 1));
    let letters = lab.log.records(DEAD, 0);
    assert_eq!(letters.len(), 1);
    let said =
        letters[0].headers.iter().filter_map(|header| header.value.clone()).map(|value| text(Some(value)));
    assert!(said.into_iter().any(|said| said.starts_with("`hoard` still held an input")), "{letters:?}");
    lab.stop();
}

#[test]
fn an_input_that_is_held_for_too_long_is_not_committed_as_if_it_were_done() {
    let mut lab = Lab::new(7, 1);
    lab.build(|lab| hoarding(Some(Duration::from_secs(1)))(lab));
    lab.feed(["a".to_owned()]);
    lab.launch();
    lab.finish();
    assert_eq!(lab.log.records(DEAD, 0).len(), 1, "it is left out by name, and not lost");
    lab.stop();
}
