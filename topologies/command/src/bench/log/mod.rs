//! The log as workload: produce and fetch, over TCP and in process, each beside what the machine gives without us.
//!
//! Bounds are measured in the same run, before and after what they stand beside, or in turn with it: the disk by one writer
//! that appends the same bytes to a plain file and syncs each time, the loopback by two threads and one connection. Bytes are
//! those of batches. The broker runs in this process, on a port of its own, so that over TCP client and broker share the
//! processors, as the two ends of the loopback do.

mod batches;
mod bounds;
mod client;
mod in_process;
mod open;
mod read;
mod row;
mod sparse;
mod tally;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig, Topic};

use self::batches::{Batch, Fill};
use self::client::Client;
use self::open::Open;
use self::read::Reader;
use self::row::{Bound, Case, HEADINGS, Path, Row, Setting, What};
use self::tally::{Span, Tally};
use super::{cpu_seconds, print};
use crate::failure::Failure;

/// How to measure the log.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct LogBench {
    #[command(subcommand)]
    workload: Option<LogWorkload>,
    /// How long each measurement takes; one ends before where it has written 2 GiB
    #[arg(long, default_value_t = 0.5, value_name = "N")]
    seconds: f64,
    /// Where to write: into a directory of its own there, which is removed at the end
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// Partitions that are produced to and fetched from
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: u32,
    /// Connections, or tasks in process
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Requests that each of them is ahead of its acknowledgements
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    depth: u16,
    /// Bytes of a record's value
    #[arg(long, value_delimiter = ',', default_value = "100,1024", value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    record_bytes: Vec<u32>,
    /// What a batch holds: records, or KiB
    #[arg(long, value_delimiter = ',', default_value = "1,100,64KiB", value_name = "N|NKiB,…")]
    batch: Vec<Fill>,
    /// Bytes that a fetch asks for of each partition
    #[arg(long, default_value_t = 1 << 20, value_name = "N")]
    fetch_bytes: usize,
    /// Numbers of partitions that are compared with the first of them
    #[arg(long, value_delimiter = ',', default_value = "10,1000", value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    spread: Vec<u32>,
    /// Measure only these
    #[arg(long, value_delimiter = ',', value_name = "WHAT,…")]
    only: Vec<What>,
    /// Reach the log only so
    #[arg(long, value_name = "PATH")]
    path: Option<Path>,
    /// Measure only this durability
    #[arg(long, value_name = "SETTING")]
    durability: Option<Setting>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum LogWorkload {
    /// Open a data directory of many gigabytes, sparse ones, after a clean end, a kill and a loss of power
    Open(Open),
}

/// The bytes of a record whose acknowledgement is timed.
const ACK_RECORD_BYTES: usize = 100;
const ACK_ROUNDS: u32 = 8;
/// How often fetches and the loopback take turns.
const FETCH_ROUNDS: u32 = 4;
/// How often few partitions and many take turns, for half the length of a measurement.
const SPREAD_ROUNDS: u32 = 4;
/// What is produced to few partitions and many.
const SPREAD_RECORD_BYTES: usize = 1_024;
const SPREAD_FILL: Fill = Fill::Bytes(64 << 10);
/// Batches that every partition holds before the clock starts.
const SPREAD_FIRST: usize = 4;
/// What the disk takes in one go where it is to be as fast as it can.
const STREAM_FILL: Fill = Fill::Bytes(1 << 20);

impl LogBench {
    /// Measures, and prints each line as it is there.
    ///
    /// # Errors
    /// [`Failure`]: what the disk, the network or the broker says.
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(LogWorkload::Open(open)) = self.workload {
            return open.run().await;
        }
        let dir = tempfile::Builder::new().prefix("topo-bench-").tempdir_in(&self.data_dir);
        let dir = dir.map_err(Failure::System)?;
        let broker = Broker::open(dir.path().join("data"), BrokerConfig::default())?;
        let listen = vec![ListenAddress::localhost(0)];
        let server = Server::bind(broker.clone(), ServerConfig { listen, ..ServerConfig::default() });
        let server = server.map_err(|error| Failure::System(io::Error::other(error)))?;
        let address = server.local_addrs()[0];
        let bench = Measuring { options: self, dir: dir.path().to_owned(), broker, address };
        let measured = bench.measure().await;
        server.shutdown().await;
        let closed = bench.broker.close().await;
        measured?;
        Ok(closed?)
    }

    fn wants(&self, what: What) -> bool {
        self.only.is_empty() || self.only.contains(&what)
    }

    fn paths(&self) -> impl Iterator<Item = Path> {
        [Path::Tcp, Path::InProcess].into_iter().filter(|path| self.path.is_none_or(|only| only == *path))
    }

    fn wants_setting(&self, setting: Setting) -> bool {
        self.durability.is_none_or(|only| only == setting)
    }
}

/// A bench under way.
struct Measuring {
    options: LogBench,
    dir: PathBuf,
    broker: Broker,
    address: SocketAddr,
}

impl Measuring {
    async fn measure(&self) -> Result<(), Failure> {
        if !self.options.json {
            print(HEADINGS)?;
        }
        if self.options.wants(What::Ack) {
            self.ack().await?;
        }
        for &record_bytes in &self.options.record_bytes {
            for &fill in &self.options.batch {
                let batch = batch(record_bytes as usize, fill)?;
                self.produce_synced(&batch).await?;
                self.produce_written_and_fetch(&batch).await?;
            }
        }
        if self.options.wants(What::Spread) && self.options.wants_setting(Setting::Fsync) {
            self.spread().await?;
        }
        Ok(())
    }

    /// One record at a time, beside one append and `fdatasync` of the same bytes.
    async fn ack(&self) -> Result<(), Failure> {
        let batch = batch(ACK_RECORD_BYTES, Fill::Records(1))?;
        let settings = [Setting::Fsync, Setting::Os];
        for durability in settings.into_iter().filter(|setting| self.options.wants_setting(*setting)) {
            let topic = self.create("ack", 1, durability).await?;
            let case = |path| Case { what: What::Ack, path, durability, partitions: 1, depth: 1 };
            let mut measured: Vec<_> =
                self.options.paths().map(|path| (case(path), Tally::default())).collect();
            let mut disk = Tally::default();
            // In turn, so that what else the disk has to do disturbs all alike.
            for _ in 0..ACK_ROUNDS {
                let length = self.length() / ACK_ROUNDS;
                if durability == Setting::Fsync {
                    disk.extend(&self.disk(&batch, length).await?);
                }
                for (case, tally) in &mut measured {
                    tally.extend(&self.produce(*case, &topic, &batch, length).await?);
                }
            }
            self.broker.delete_topic("ack").await?;
            for (case, tally) in measured {
                let bound = (durability == Setting::Fsync).then(|| Bound::new("one fdatasync", &disk));
                self.report(&Row::new(case, &batch, &tally, bound))?;
            }
        }
        Ok(())
    }

    /// Durable produce, beside what one writer makes the disk take.
    async fn produce_synced(&self, batch: &Batch) -> Result<(), Failure> {
        if !self.options.wants(What::Produce) || !self.options.wants_setting(Setting::Fsync) {
            return Ok(());
        }
        let topic = self.create("synced", self.options.partitions, Setting::Fsync).await?;
        let whole = self::batch(batch.record_bytes, STREAM_FILL)?;
        let bound = async || {
            let disk = self.disk(batch, self.length() / 4).await?;
            Ok::<_, Failure>((disk, self.disk(&whole, self.length() / 4).await?))
        };
        let (mut disk, mut stream) = bound().await?;
        let mut measured = Vec::new();
        for path in self.options.paths() {
            let case = self.case(What::Produce, path, Setting::Fsync);
            measured.push((case, self.produce(case, &topic, batch, self.length()).await?));
        }
        let (disk_after, stream_after) = bound().await?;
        disk.extend(&disk_after);
        stream.extend(&stream_after);
        self.broker.delete_topic("synced").await?;
        for (case, tally) in measured {
            let row = Row::new(case, batch, &tally, Some(Bound::new("the disk", &disk)));
            self.report(&row.beside(Bound::new("1 MiB a sync", &stream)))?;
        }
        Ok(())
    }

    /// Produce that the system may sync when it pleases, and fetch of what was produced, beside the loopback.
    async fn produce_written_and_fetch(&self, batch: &Batch) -> Result<(), Failure> {
        let wants_produce = self.options.wants(What::Produce) && self.options.wants_setting(Setting::Os);
        if !wants_produce && !self.options.wants(What::Fetch) {
            return Ok(());
        }
        for path in self.options.paths() {
            let topic = self.create("written", self.options.partitions, Setting::Os).await?;
            let case = self.case(What::Produce, path, Setting::Os);
            let produced = self.produce(case, &topic, batch, self.length()).await?;
            let (mut loopback, mut fetched) = (Tally::default(), None);
            // In turn, so that what else the processors have to do disturbs both alike.
            for _ in 0..FETCH_ROUNDS {
                let length = self.length() / FETCH_ROUNDS;
                loopback.extend(&self.loopback(length / 2).await?);
                if self.options.wants(What::Fetch) {
                    let fetch = self.fetch(path, &topic, length).await?;
                    fetched.get_or_insert_with(Tally::default).extend(&fetch);
                }
            }
            self.broker.delete_topic("written").await?;
            let bound = Bound::new("the loopback", &loopback);
            if wants_produce {
                self.report(&Row::new(case, batch, &produced, Some(bound.clone())))?;
            }
            if let Some(tally) = fetched {
                let depth = self.options.connections.into();
                let case = Case { what: What::Fetch, depth, ..case };
                self.report(&Row::new(case, batch, &tally, Some(bound)))?;
            }
        }
        Ok(())
    }

    /// Durable produce to few partitions and to many, in turn.
    async fn spread(&self) -> Result<(), Failure> {
        let batch = batch(SPREAD_RECORD_BYTES, SPREAD_FILL)?;
        let topics: Vec<_> = self.options.spread.iter().map(|count| format!("spread-{count}")).collect();
        let mut created = Vec::new();
        for (name, &partitions) in topics.iter().zip(&self.options.spread) {
            let topic = self.create(name, partitions, Setting::Fsync).await?;
            // A file's first blocks cost more than those that follow, and many partitions have many first ones.
            let batches = vec![batch.bytes.as_ref().into(); SPREAD_FIRST];
            let first = |to| self.broker.start_append(&to, batches.clone(), 0);
            let first = in_process::topic_partitions(&topic).into_iter().map(first);
            for appending in first.collect::<Result<Vec<_>, _>>()? {
                appending.durable().await?;
            }
            created.push(topic);
        }
        for path in self.options.paths() {
            let cases = self
                .options
                .spread
                .iter()
                .map(|&partitions| Case { partitions, ..self.case(What::Spread, path, Setting::Fsync) });
            let cases: Vec<_> = cases.collect();
            let mut tallies: Vec<_> = cases.iter().map(|_| Tally::default()).collect();
            for _ in 0..SPREAD_ROUNDS {
                for ((case, topic), tally) in cases.iter().zip(&created).zip(&mut tallies) {
                    tally.extend(&self.produce(*case, topic, &batch, self.length() / 2).await?);
                }
            }
            let first = tallies.first().map(|first| Bound::new("the first", first));
            for (at, (case, tally)) in cases.into_iter().zip(&tallies).enumerate() {
                self.report(&Row::new(case, &batch, tally, first.clone().filter(|_| at > 0)))?;
            }
        }
        for name in &topics {
            self.broker.delete_topic(name).await?;
        }
        Ok(())
    }

    fn case(&self, what: What, path: Path, durability: Setting) -> Case {
        let LogBench { partitions, connections, depth, .. } = self.options;
        Case { what, path, durability, partitions, depth: usize::from(connections) * usize::from(depth) }
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.options.seconds.clamp(0.0, 3_600.0))
    }

    async fn create(&self, name: &str, partitions: u32, setting: Setting) -> Result<Arc<Topic>, Failure> {
        let flush_ms = match setting {
            Setting::Fsync => 0,
            Setting::Os => i64::MAX,
        };
        let config = BTreeMap::from([("flush.ms".to_owned(), flush_ms.to_string())]);
        Ok(self.broker.create_topic(name, partitions, config).await?)
    }

    /// Produces on every connection, or in as many tasks.
    async fn produce(
        &self,
        case: Case,
        topic: &Arc<Topic>,
        batch: &Batch,
        length: Duration,
    ) -> Result<Tally, Failure> {
        let connections = if case.what == What::Ack { 1 } else { self.options.connections };
        let depth = case.depth / usize::from(connections);
        match case.path {
            Path::Tcp => {
                let frames = client::produce_frames(topic.name(), topic.partition_count(), batch);
                let (frames, batch) = (frames.map_err(Failure::System)?, batch.clone());
                let span = Span::begin(length);
                let produce = move |mut client: Client| client.produce(&frames, &batch, depth, span);
                Self::metered(self.on_connections(connections, produce)).await
            }
            Path::InProcess => {
                let span = Span::begin(length);
                let produce =
                    || in_process::produce(self.broker.clone(), topic.clone(), batch.clone(), depth, span);
                Self::metered(in_tasks(connections, produce)).await
            }
        }
    }

    /// Fetches on every connection, or in as many tasks, one request at a time on each.
    async fn fetch(&self, path: Path, topic: &Arc<Topic>, length: Duration) -> Result<Tally, Failure> {
        let ends = in_process::topic_partitions(topic).into_iter().map(|partition| {
            let offsets = self.broker.offsets(&partition)?;
            Ok(Reader::new(offsets.high_watermark))
        });
        let readers = ends.collect::<Result<Vec<_>, Failure>>()?;
        let LogBench { connections, fetch_bytes, .. } = self.options;
        let span = Span::begin(length);
        match path {
            Path::Tcp => {
                let name = topic.name().clone();
                let fetch = move |mut client: Client| client.fetch(&name, readers.clone(), fetch_bytes, span);
                Self::metered(self.on_connections(connections, fetch)).await
            }
            Path::InProcess => {
                let fetch = || {
                    let (broker, topic) = (self.broker.clone(), topic.clone());
                    in_process::fetch(broker, topic, readers.clone(), fetch_bytes, span)
                };
                Self::metered(in_tasks(connections, fetch)).await
            }
        }
    }

    async fn on_connections(
        &self,
        connections: u16,
        work: impl Fn(Client) -> io::Result<Tally> + Send + Sync + 'static,
    ) -> Result<Tally, Failure> {
        let address = self.address;
        let on_one = move |work: &dyn Fn(Client) -> io::Result<Tally>| work(Client::connect(address)?);
        blocking(move || {
            thread::scope(|scope| {
                let work = &work;
                let threads: Vec<_> = (0..connections).map(|_| scope.spawn(move || on_one(work))).collect();
                let mut tally = Tally::default();
                for thread in threads {
                    let one = thread.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")));
                    tally.join(&one?);
                }
                Ok(tally)
            })
        })
        .await
    }

    /// Measures, and the processor time as well.
    async fn metered(work: impl Future<Output = Result<Tally, Failure>>) -> Result<Tally, Failure> {
        let before = cpu_seconds()?;
        let mut tally = work.await?;
        tally.cpu_seconds = cpu_seconds()? - before;
        Ok(tally)
    }

    async fn disk(&self, batch: &Batch, length: Duration) -> Result<Tally, Failure> {
        let (dir, batch) = (self.dir.clone(), batch.clone());
        Self::metered(blocking(move || bounds::disk(&dir, &batch.bytes, batch.records, length))).await
    }

    async fn loopback(&self, length: Duration) -> Result<Tally, Failure> {
        Self::metered(blocking(move || bounds::loopback(length))).await
    }

    fn report(&self, row: &Row) -> Result<(), Failure> {
        match self.options.json {
            true => print(&serde_json::to_string(row).map_err(|error| Failure::System(error.into()))?),
            false => print(&row.to_string()),
        }
    }
}

fn batch(record_bytes: usize, fill: Fill) -> Result<Batch, Failure> {
    Batch::new(record_bytes, fill).map_err(|error| Failure::System(io::Error::other(error)))
}

async fn in_tasks<W>(tasks: u16, work: impl Fn() -> W) -> Result<Tally, Failure>
where
    W: Future<Output = Result<Tally, topo_broker::BrokerError>> + Send + 'static,
{
    let tasks: Vec<_> = (0..tasks).map(|_| tokio::spawn(work())).collect();
    let mut tally = Tally::default();
    for task in tasks {
        tally.join(&task.await.map_err(|error| Failure::System(io::Error::other(error)))??);
    }
    Ok(tally)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(Failure::System)
}
