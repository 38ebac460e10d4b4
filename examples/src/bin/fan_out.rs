//! One bolt with several output streams, and one that reads two streams of different types.
//!
//! ```text
//! cargo run -p topo-examples --bin fan_out
//! ```
//!
//! For a reader who knows Storm: where Storm declares streams by name and emits with a stream id, here `ports!` declares
//! a struct with one typed field per stream. In `execute` the fields are emitters; on the bolt's handle they are the
//! streams to subscribe to. A bolt that reads several streams says what it takes with `From`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use topo_core::schedule::TokioScheduler;
use topo_core::{Bolt, Config, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology, ports};

/// A request that a web server answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hit {
    path: String,
    bytes: u64,
}

/// A request that it could not answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Miss {
    path: String,
    status: u16,
}

ports! {
    /// What the lines of an access log are sorted into.
    struct Sorted {
        /// Answered requests.
        hits: Hit,
        /// Those that were not.
        misses: Miss,
        /// Lines that nobody understands.
        unknown: String,
    }
}

/// Emits the lines of an access log.
struct AccessLog(std::vec::IntoIter<String>);

impl AccessLog {
    fn new() -> Self {
        let lines = (0..300).map(|n| match n % 10 {
            3 => format!("/missing/{} 404 0", n % 4),
            7 if n % 20 == 7 => format!("/page/{} 503 0", n % 4),
            9 if n == 99 => "cat walked over the keyboard".to_owned(),
            _ => format!("/page/{} 200 {}", n % 4, 1_000 + n),
        });
        Self(lines.collect::<Vec<_>>().into_iter())
    }
}

impl Spout for AccessLog {
    type Out = String;
    type Id = ();

    fn next(&mut self, out: &mut SpoutEmitter<String, ()>) -> Result<Next, Fault> {
        let Some(line) = self.0.next() else { return Ok(Next::Finished) };
        out.emit_with((), line)?;
        Ok(Next::Emitted)
    }
}

/// Sorts lines by what they say.
struct Sort;

impl Bolt for Sort {
    type In = String;
    type Out = Sorted;

    async fn execute(&mut self, line: String, out: &mut Sorted) -> Result<(), Fail> {
        let mut words = line.split(' ');
        let fields = (words.next(), words.next().map(str::parse::<u16>), words.next().map(str::parse::<u64>));
        match fields {
            (Some(path), Some(Ok(200)), Some(Ok(bytes))) => out.hits.emit(Hit { path: path.into(), bytes }),
            (Some(path), Some(Ok(status)), _) => out.misses.emit(Miss { path: path.into(), status }),
            _ => out.unknown.emit(line),
        }
        Ok(())
    }
}

/// What there is to see at the end.
#[derive(Debug, Default)]
struct Report {
    bytes: BTreeMap<String, u64>,
    requests: BTreeMap<u16, u64>,
    unknown: Vec<String>,
}

/// A report that several bolts write.
#[derive(Debug, Clone, Default)]
struct Desk(Arc<Mutex<Report>>);

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds up the bytes of each path.
struct Traffic(Desk);

impl Bolt for Traffic {
    type In = Hit;
    type Out = ();

    async fn execute(&mut self, hit: Hit, _out: &mut Emitter<()>) -> Result<(), Fail> {
        *self.0.lock().bytes.entry(hit.path).or_default() += hit.bytes;
        Ok(())
    }
}

/// What [`Requests`] takes: the status of a hit or a miss. Each stream's tuples are converted on the way.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Status(u16);

impl From<Hit> for Status {
    fn from(_hit: Hit) -> Self {
        Self(200)
    }
}

impl From<Miss> for Status {
    fn from(miss: Miss) -> Self {
        Self(miss.status)
    }
}

/// Counts requests by their status.
struct Requests(Desk);

impl Bolt for Requests {
    type In = Status;
    type Out = ();

    async fn execute(&mut self, status: Status, _out: &mut Emitter<()>) -> Result<(), Fail> {
        *self.0.lock().requests.entry(status.0).or_default() += 1;
        Ok(())
    }
}

/// Keeps the lines that nobody understands.
struct Unknown(Desk);

impl Bolt for Unknown {
    type In = String;
    type Out = ();

    async fn execute(&mut self, line: String, _out: &mut Emitter<()>) -> Result<(), Fail> {
        self.0.lock().unknown.push(line);
        Ok(())
    }
}

/// The topology, and where its results appear.
fn app() -> (Topology, Desk) {
    let desk = Desk::default();
    let topology = Topology::new("access-log");
    let lines = topology.spout("access-log", AccessLog::new);
    let sorted = topology.bolt("sort", || Sort).tasks(2).shuffle(&lines);

    let report = desk.clone();
    topology.bolt("traffic", move || Traffic(report.clone())).tasks(2).fields(&sorted.hits, |hit| &hit.path);
    let report = desk.clone();
    topology.bolt("requests", move || Requests(report.clone())).shuffle(&sorted.hits).shuffle(&sorted.misses);
    let report = desk.clone();
    topology.bolt("unknown", move || Unknown(report.clone())).global(&sorted.unknown);
    (topology, desk)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (topology, desk) = app();
    let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await?;
    running.finished().await;
    running.kill(Duration::from_secs(5)).await?;
    println!("{:#?}", desk.lock());
    Ok(())
}

#[cfg(test)]
mod tests {
    use topo_core::schedule::Seeded;

    use super::*;

    #[test]
    fn every_line_goes_where_it_belongs() {
        for seed in 0..20 {
            let scheduler = Seeded::new(seed);
            let (topology, desk) = app();
            let running = scheduler.block_on(topology.launch(scheduler.clone(), Config::default())).unwrap();
            scheduler.block_on(running.finished());
            scheduler.block_on(running.kill(Duration::from_secs(5))).unwrap();

            let report = desk.lock();
            assert_eq!(report.requests, [(200, 254), (404, 30), (503, 15)].into(), "seed {seed}");
            assert_eq!(report.unknown, ["cat walked over the keyboard"], "seed {seed}");
            let hits = (0..300).filter(|n| n % 10 != 3 && n % 20 != 7 && *n != 99);
            let bytes: u64 = hits.map(|n| 1_000 + n).sum();
            assert_eq!(report.bytes.values().sum::<u64>(), bytes, "seed {seed}");
            assert_eq!(report.bytes.len(), 4, "seed {seed}");
        }
    }
}
