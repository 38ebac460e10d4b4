//! What the page shows: a topology of many components on a topic of many partitions, at work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo::launcher::Durability;
use topo::status::{LogGroups, Snapshots};
use topo_broker::BrokerConfig;
use topo_connectors::dead_letters::Causes;
use topo_connectors::{LogSpout, LogSpoutConfig, SourceProgress};
use topo_core::log::{Consumed, Log, Record, TopicPartition, TopicSpec};
use topo_core::metrics::TopologySnapshot;
use topo_core::schedule::TokioScheduler;
use topo_core::state::{State, StateHub};
use topo_core::{Bolt, Config, Emitter, Fail, Fault, Running, StateSettings, Stream, TaskContext, Topology};

use crate::failure::Failure;
use crate::page::{PageAt, encoded};

const TOPIC: &str = "records";
const NAME: &str = "many";
/// How often records are appended.
const TICK: Duration = Duration::from_millis(50);
/// How long the topology may take to stop, or to do its first records.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Subject {
    log: EmbeddedLog,
    running: Running,
    progress: SourceProgress,
    partitions: u32,
}

/// Gives its input through.
struct Relay;

impl Bolt for Relay {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        out.emit(number);
        Ok(())
    }
}

/// Counts its inputs by their last digits.
#[derive(Default)]
struct Count(Option<State<u64, u64>>);

impl Bolt for Count {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.0 = Some(task.state("counts").await?);
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        if let Some(counts) = &mut self.0 {
            counts.update(&(number % 1_000), |count| *count += 1)?;
        }
        out.emit(number);
        Ok(())
    }
}

/// A spout, and bolts each of which reads what the one of half its number emits.
fn topology(log: &Arc<dyn Log>, progress: &SourceProgress, components: u32) -> Topology {
    let topology = Topology::new(NAME);
    let (from, progress) = (Arc::clone(log), progress.clone());
    let spout =
        move || LogSpout::new(Arc::clone(&from), LogSpoutConfig::new(TOPIC, NAME), progress.clone(), number);
    let mut streams: Vec<Stream<u64>> = vec![(*topology.spout("records", spout)).clone()];
    for place in 1..components {
        let name = format!("bolt-{place}");
        let from = &streams[place as usize / 2];
        let bolt = if place == 1 {
            topology.bolt(&name, Count::default).key_groups_by(from, |number: &u64| number % 1_000)
        } else {
            topology.bolt(&name, || Relay).shuffle(from)
        };
        streams.push((*bolt).clone());
    }
    topology
}

fn number(record: &Consumed) -> Result<u64, Fail> {
    let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
    text.parse().map_err(|_| Fail::reject("it is no number"))
}

impl Subject {
    /// Begins a log in `dir`, and the topology on it.
    pub(super) async fn start(dir: &Path, components: u32, partitions: u32) -> Result<Self, Failure> {
        let mut broker = BrokerConfig::default();
        broker.topic_defaults.durability = Durability::Os;
        let config = EmbeddedConfig { broker, ..EmbeddedConfig::default() };
        let scheduler = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(dir.join("data"), config, Arc::clone(&scheduler) as _)?;
        log.create_topic(TOPIC, &TopicSpec { partitions, ..TopicSpec::default() }).await?;
        let (shared, progress) = (Arc::new(log.clone()) as Arc<dyn Log>, SourceProgress::default());
        let topology = topology(&shared, &progress, components);
        let state = StateSettings { log: Some(shared), ..StateSettings::default() };
        let launched = topology.launch(scheduler, Config { state, ..Config::default() }).await;
        let running = launched.map_err(|error| Failure::Topology(error.to_string()))?;
        Ok(Self { log, running, progress, partitions })
    }

    pub(super) fn id(&self) -> &str {
        self.running.id()
    }

    /// Appends so many records a second, to one partition after the other, until it is dropped.
    pub(super) async fn feed(&self, rate: u32) -> Result<(), Failure> {
        let (mut next, mut owed) = (0_u64, 0.0);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            owed += f64::from(rate) * TICK.as_secs_f64();
            while owed >= 1.0 {
                owed -= 1.0;
                let partition = (next % u64::from(self.partitions)) as u32;
                let record = Record { value: Some(Bytes::from(next.to_string())), ..Record::default() };
                self.log.append(&TopicPartition::new(TOPIC, partition), vec![record]).await?;
                next += 1;
            }
        }
    }

    /// Waits until the first tree is done.
    pub(super) async fn is_at_work(&self, page: &PageAt) -> Result<(), Failure> {
        let path = format!("/api/v1/topology/{}", encoded(self.id()));
        let begun = std::time::Instant::now();
        loop {
            let told: Value = page.json(&page.get(&path).await?)?;
            if told["topologyStats"][0]["acked"].as_u64() > Some(0) {
                return Ok(());
            }
            if begun.elapsed() > LONGEST {
                return Err(Failure::Topology("no record comes through".to_owned()));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// All that is read of a page, with something there is in each place.
    pub(super) async fn paths(&self, page: &PageAt) -> Result<Vec<String>, Failure> {
        let topology = format!("/api/v1/topology/{}", encoded(self.id()));
        let trees: Value = page.json(&page.get(&format!("{topology}/trees")).await?)?;
        let mut paths = vec!["/".to_owned(), "/metrics".to_owned(), "/api/state".to_owned()];
        paths.push("/api/state/bolt-1/counts?key=1".to_owned());
        paths.push("/api/v1/topology/summary".to_owned());
        paths.push(topology.clone());
        for of in ["errors", "graph", "layout", "component/bolt-2", "trees", "taps/0"] {
            paths.push(format!("{topology}/{of}"));
        }
        if let Some(root) = trees["ended"][0]["root"].as_str() {
            paths.push(format!("{topology}/trees/{root}"));
        }
        let topic = format!("/api/v1/topic/{TOPIC}");
        for of in
            ["messages?from=start", "messages?from=end", "messages?search=99", "message?partition=0&offset=0"]
        {
            paths.push(format!("{topic}/{of}"));
        }
        paths.push("/api/v1/log-level".to_owned());
        paths.push("/api/v1/openapi.json".to_owned());
        Ok(paths)
    }

    pub(super) async fn stop(&self) -> Result<(), Failure> {
        let stopped = self.running.kill(LONGEST).await;
        let closed = self.log.close().await;
        stopped.map_err(|error| Failure::Topology(error.to_string()))?;
        Ok(closed?)
    }
}

impl Snapshots for Subject {
    fn snapshots(&self) -> Vec<TopologySnapshot> {
        vec![self.running.snapshot()]
    }

    fn causes(&self, _: &str) -> Causes {
        self.progress.causes()
    }

    fn running(&self, id: &str) -> Option<Running> {
        (**self.running.id() == *id).then(|| self.running.clone())
    }

    fn log(&self) -> Option<Arc<dyn Log>> {
        Some(Arc::new(self.log.clone()))
    }

    fn log_groups(&self) -> Option<Arc<dyn LogGroups>> {
        Some(Arc::new(self.log.clone()))
    }

    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        vec![(Arc::clone(self.running.id()), self.running.states().clone())]
    }
}
