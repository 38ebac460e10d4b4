//! Opening a data directory that holds many gigabytes: how long it takes, and how much of it is read.
//!
//! The directory is a real one, every batch of it sound, whose records are zeros that take up no room on the disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use clap::Args;
use serde::Serialize;
use topo_broker::{Broker, BrokerConfig, ConfigChange, TopicPartition};
use topo_protocol::{BatchBuilder, Compression, NewRecord, Room};

use super::sparse::{SparseStorage, Traffic};
use crate::bench::print;
use crate::failure::Failure;

/// How large the directory is.
#[derive(Debug, Args)]
pub(super) struct Open {
    /// Gigabytes that the directory holds each time it is opened
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    gigabytes: Vec<u32>,
    /// Partitions that share them
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// Bytes of a segment
    #[arg(long, default_value_t = 1 << 30, value_name = "N", value_parser = clap::value_parser!(u32).range(2 << 20..))]
    segment_bytes: u32,
    /// Where to write: into a directory of its own there, which is removed at the end
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Bytes of a record, which is a batch: within what topics take by default.
const RECORD_BYTES: usize = 1_000_000;
/// Appends to each partition before the directory is left behind as if killed.
const TAIL: usize = 16;
const TOPIC: &str = "large";

/// How the directory was left.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Left {
    /// Closed.
    Closed,
    /// Killed, everything being synced.
    Killed,
    /// Killed, nothing being synced since the last segments were begun: the most that there can be to check.
    KilledUnsynced,
}

/// What one opening took.
#[derive(Debug, Serialize)]
struct Opened {
    gigabytes: f64,
    segments: u64,
    left: Left,
    milliseconds: f64,
    bytes_read: u64,
    bytes_written: u64,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = match self.left {
            Left::Closed => "closed",
            Left::Killed => "killed",
            Left::KilledUnsynced => "killed, nothing synced",
        };
        let (read, written) = (self.bytes_read as f64 / 1e6, self.bytes_written as f64 / 1e6);
        let Self { gigabytes, segments, milliseconds, .. } = self;
        write!(
            f,
            "{gigabytes:>7.1} GB in {segments:>5} segments, {left:<22}: {milliseconds:>8.1} ms, {read:>8.2} MB \
             read, {written:>8.2} MB written"
        )
    }
}

impl Open {
    /// Fills a directory, and opens it as it was left each way.
    ///
    /// # Errors
    /// [`Failure`]: what the disk or the broker says.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let dir = tempfile::Builder::new().prefix("topo-bench-").tempdir_in(&self.data_dir);
        let dir = dir.map_err(Failure::System)?;
        let large = Large { options: &self, dir: dir.path(), batch: zeros()? };
        let mut broker = large.open()?.0;
        let config = [("flush.ms", i64::MAX.to_string()), ("segment.bytes", self.segment_bytes.to_string())];
        let config = config.map(|(key, value)| (key.to_owned(), value));
        broker.create_topic(TOPIC, self.partitions, BTreeMap::from(config)).await?;
        for &gigabytes in &self.gigabytes {
            large.fill(&broker, u64::from(gigabytes) * 1_000_000_000).await?;
            for left in [Left::KilledUnsynced, Left::Closed, Left::Killed] {
                broker = large.leave_and_open(broker, left).await?;
            }
        }
        Ok(broker.close().await?)
    }
}

struct Large<'a> {
    options: &'a Open,
    dir: &'a Path,
    batch: BytesMut,
}

impl Large<'_> {
    fn open(&self) -> Result<(Broker, Arc<Traffic>), Failure> {
        let storage = SparseStorage::default();
        let traffic = storage.traffic.clone();
        let broker = Broker::open_on(Arc::new(storage), &self.dir.join("data"), BrokerConfig::default())?;
        Ok((broker, traffic))
    }

    /// Leaves the directory so, opens it again, and says what that took.
    async fn leave_and_open(&self, broker: Broker, left: Left) -> Result<Broker, Failure> {
        match left {
            Left::Closed => broker.close().await?,
            Left::Killed => {
                self.set_flush_ms(&broker, 0).await?;
                self.append_all(&broker).await?;
                // So that what is filled in later is not synced batch by batch. What is there is, and stays noted.
                self.set_flush_ms(&broker, i64::MAX).await?;
            }
            // As filling leaves it, once the syncs behind full segments have come to their end.
            Left::KilledUnsynced => broker.until_sealed_durable().await?,
        }
        drop(broker);
        let begun = Instant::now();
        let (broker, traffic) = self.open()?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        let (bytes_read, bytes_written) = traffic.take();
        let bytes = held(&broker)?;
        // Rolled before each would grow beyond its size.
        let segments = bytes.iter().map(|bytes| bytes.div_ceil(self.options.segment_bytes.into()));
        let opened = Opened {
            gigabytes: bytes.iter().sum::<u64>() as f64 / 1e9,
            segments: segments.sum(),
            left,
            milliseconds,
            bytes_read,
            bytes_written,
        };
        match self.options.json {
            true => print(&serde_json::to_string(&opened).map_err(|error| Failure::System(error.into()))?)?,
            false => print(&opened.to_string())?,
        }
        Ok(broker)
    }

    /// Appends until the directory holds `bytes`.
    async fn fill(&self, broker: &Broker, bytes: u64) -> Result<(), Failure> {
        let each = bytes / u64::from(self.options.partitions);
        let mut filling = Vec::new();
        for (index, held) in held(broker)?.into_iter().enumerate() {
            let (broker, batch) = (broker.clone(), self.batch.clone());
            let to = TopicPartition::new(TOPIC, index as u32);
            let appends = each.saturating_sub(held) / batch.len() as u64;
            filling.push(tokio::spawn(async move {
                for _ in 0..appends {
                    broker.append(&to, vec![batch.clone()]).await?;
                }
                Ok::<_, Failure>(())
            }));
        }
        for task in filling {
            task.await.map_err(|error| Failure::System(std::io::Error::other(error)))??;
        }
        Ok(())
    }

    /// Appends to every partition.
    async fn append_all(&self, broker: &Broker) -> Result<(), Failure> {
        for index in 0..self.options.partitions {
            let batches = vec![self.batch.clone(); TAIL];
            broker.append(&TopicPartition::new(TOPIC, index), batches).await?;
        }
        Ok(())
    }

    async fn set_flush_ms(&self, broker: &Broker, flush_ms: i64) -> Result<(), Failure> {
        let change = BTreeMap::from([("flush.ms".to_owned(), Some(flush_ms.to_string()))]);
        broker.alter_config(TOPIC, ConfigChange::Incremental(change)).await?;
        Ok(())
    }
}

/// Bytes of each partition.
fn held(broker: &Broker) -> Result<Vec<u64>, Failure> {
    let topic = broker.topic(TOPIC)?;
    let bytes = (0..topic.partition_count()).map(|index| Ok(topic.partition(index)?.bytes()?));
    bytes.collect()
}

/// A batch of one record of zeros.
fn zeros() -> Result<BytesMut, Failure> {
    let value = vec![0; RECORD_BYTES];
    let record = NewRecord { timestamp_ms: i64::MAX >> 20, value: Some(&value), ..NewRecord::default() };
    let mut builder = BatchBuilder::new(RECORD_BYTES);
    let built = builder.append(&record).and_then(|room| match room {
        Room::Taken => builder.finish(Compression::None),
        Room::Full => unreachable!("a first record is always taken"),
    });
    built.map_err(|error| Failure::System(std::io::Error::other(error)))
}
