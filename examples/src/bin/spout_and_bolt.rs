//! A spout and two bolts of one's own: thermometers are read, converted, and their extremes kept.
//!
//! ```text
//! cargo run -p topo-examples --bin spout_and_bolt
//! ```
//!
//! For a reader who knows Storm: the spout tracks every reading under a message id, keeps it until the ack, and emits it
//! again when its tree fails. The first bolt is what Storm calls a basic bolt: returning `Ok` acknowledges, an error
//! fails, and what it emits is anchored to its input by itself. Nobody calls `ack`, nobody declares fields: tuples are
//! Rust types, and a stream that does not fit does not compile.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use topo_core::schedule::TokioScheduler;
use topo_core::{
    Bolt, Config, Emitter, Fail, FailKind, Failure, Fault, Next, Spout, SpoutEmitter, TaskContext, Topology,
};

/// What the spout emits: a line as it came from the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line(String);

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    thermometer: String,
    celsius: f64,
}

/// Reads thermometers, and again those whose reading did not come through.
struct Thermometers {
    /// What was read and not emitted yet: message id, attempt, line.
    to_emit: VecDeque<(u64, u32, Line)>,
    /// What was emitted and not answered yet, by its message id.
    pending: HashMap<u64, Line>,
}

impl Thermometers {
    fn new() -> Self {
        Self { to_emit: VecDeque::new(), pending: HashMap::new() }
    }
}

/// Stands for the wire: three thermometers, a broken one, and a line in Fahrenheit.
fn wire() -> impl Iterator<Item = Line> {
    let rising = (0..100).map(|n| format!("{} {:.1}C", ["attic", "cellar", "roof"][n % 3], n as f64 / 2.0));
    rising.chain(["shed ?".to_owned(), "roof 140.0F".to_owned()]).map(Line)
}

impl Spout for Thermometers {
    type Out = Line;
    /// What a tuple is known by: given back with its ack or fail.
    type Id = u64;

    /// Called once per instance, like Storm's `open`. Connections are made here, not in the factory.
    async fn open(&mut self, task: &TaskContext) -> Result<(), Fault> {
        // Each task reads its own share.
        let (task, tasks) = (task.task() as usize, task.tasks() as usize);
        let own = wire().enumerate().filter(|(at, _)| at % tasks == task);
        self.to_emit = own.map(|(at, line)| (at as u64, 1, line)).collect();
        Ok(())
    }

    /// Emits what there is, and never waits: the runtime calls it again.
    fn next(&mut self, out: &mut SpoutEmitter<Line, u64>) -> Result<Next, Fault> {
        let Some((id, attempt, line)) = self.to_emit.pop_front() else {
            // A spout with an endless source always says `Idle` here, and waits for more in `ready`.
            return Ok(if self.pending.is_empty() { Next::Finished } else { Next::Idle });
        };
        self.pending.insert(id, line.clone());
        // `next` is called only while there is room under `max_pending`, so one emit always fits.
        out.replay(id, attempt, line)?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// The failure says who failed the tuple, why, on which attempt, and whether it is worth another.
    fn fail(&mut self, id: u64, failure: &Failure) {
        let Some(line) = self.pending.remove(&id) else { return };
        if failure.kind == FailKind::Retry && failure.attempt < 3 {
            self.to_emit.push_back((id, failure.attempt + 1, line));
        } else {
            eprintln!("{line:?} is given up: {failure}");
        }
    }
}

/// Parses lines.
struct Convert;

impl Bolt for Convert {
    type In = Line;
    type Out = Reading;

    async fn execute(&mut self, line: Line, out: &mut Emitter<Reading>) -> Result<(), Fail> {
        let parsed = line.0.split_once(' ').and_then(|(thermometer, value)| {
            let celsius = match value.strip_suffix('F') {
                Some(fahrenheit) => (fahrenheit.parse::<f64>().ok()? - 32.0) / 1.8,
                None => value.strip_suffix('C')?.parse().ok()?,
            };
            Some(Reading { thermometer: thermometer.to_owned(), celsius })
        });
        // No replay makes a broken line whole, so it is rejected; `Fail::retry` would have it emitted again.
        out.emit(parsed.ok_or_else(|| Fail::reject("no temperature"))?);
        Ok(())
    }
}

/// The lowest and the highest temperature of each thermometer.
type Extremes = BTreeMap<String, (f64, f64)>;

/// Keeps the extremes where others can see them.
struct Watch(Arc<Mutex<Extremes>>);

impl Bolt for Watch {
    type In = Reading;
    /// It emits nothing.
    type Out = ();

    async fn execute(&mut self, reading: Reading, _out: &mut Emitter<()>) -> Result<(), Fail> {
        let mut extremes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = extremes.entry(reading.thermometer).or_insert((f64::INFINITY, f64::NEG_INFINITY));
        (*low, *high) = (low.min(reading.celsius), high.max(reading.celsius));
        Ok(())
    }
}

/// The topology, and where its results appear.
fn app() -> (Topology, Arc<Mutex<Extremes>>) {
    let extremes = Arc::new(Mutex::new(Extremes::new()));
    let topology = Topology::new("thermometers");
    let lines = topology.spout("thermometers", Thermometers::new).tasks(2).max_pending(50);
    let readings = topology.bolt("convert", || Convert).tasks(2).shuffle(&lines);
    let shared = Arc::clone(&extremes);
    // All readings of a thermometer go to the same task.
    topology
        .bolt("watch", move || Watch(Arc::clone(&shared)))
        .tasks(2)
        .fields(&readings, |reading| &reading.thermometer);
    (topology, extremes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (topology, extremes) = app();
    let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await?;
    running.finished().await;
    running.kill(Duration::from_secs(5)).await?;
    for (thermometer, (low, high)) in &*extremes.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{thermometer}: {low:.1} to {high:.1} °C");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use topo_core::schedule::Seeded;

    use super::*;

    #[test]
    fn every_reading_counts_and_the_broken_one_is_rejected() {
        for seed in 0..20 {
            // The whole topology on one thread, in an order that the seed decides.
            let scheduler = Seeded::new(seed);
            let (topology, extremes) = app();
            let running = scheduler.block_on(topology.launch(scheduler.clone(), Config::default())).unwrap();
            scheduler.block_on(running.finished());
            scheduler.block_on(running.kill(Duration::from_secs(5))).unwrap();

            let extremes = extremes.lock().unwrap();
            let told: Vec<String> =
                extremes.iter().map(|(name, (low, high))| format!("{name} {low:.1} {high:.1}")).collect();
            assert_eq!(told, ["attic 0.0 49.5", "cellar 0.5 48.5", "roof 1.0 60.0"], "seed {seed}");
            let numbers = running.snapshot();
            let spout = &numbers.components[0];
            assert_eq!((spout.total(|task| task.acked), spout.total(|task| task.rejected)), (101, 1));
        }
    }
}
