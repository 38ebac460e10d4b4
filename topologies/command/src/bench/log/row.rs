//! A line of the report.

use std::fmt;

use serde::Serialize;

use super::batches::Batch;
use super::tally::Tally;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    /// Batches into the log, many ahead
    Produce,
    /// Batches from the log
    Fetch,
    /// One record at a time: how long its acknowledgement takes
    Ack,
    /// Produce to few partitions and to many
    Spread,
}

/// How the log is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Path {
    /// By Kafka's protocol
    Tcp,
    /// By calls
    InProcess,
}

/// How durable a record is when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Setting {
    /// Synced
    Fsync,
    /// Written
    Os,
}

/// What the machine gave in the same run, doing the same without us.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bound {
    /// What did it: the disk, the loopback, or fewer partitions.
    pub(super) name: &'static str,
    pub(super) megabytes_per_second: f64,
    pub(super) cpu_seconds_per_gigabyte: f64,
    pub(super) p50_us: f64,
}

impl Bound {
    pub(super) fn new(name: &'static str, tally: &Tally) -> Self {
        Self {
            name,
            megabytes_per_second: tally.megabytes_per_second(),
            cpu_seconds_per_gigabyte: tally.cpu_seconds_per_gigabyte(),
            p50_us: tally.quantile_us(0.5),
        }
    }
}

/// What one measurement gave.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    what: What,
    path: Path,
    durability: Setting,
    record_bytes: usize,
    /// As it was asked for: records, or KiB.
    batch: String,
    batch_bytes: usize,
    partitions: u32,
    /// Requests ahead, on all connections together.
    depth: usize,
    megabytes_per_second: f64,
    records_per_second: f64,
    /// Of the whole process, the client included.
    cpu_seconds_per_gigabyte: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    bound: Option<Bound>,
    /// Of the bound: of its rate, or, where the time of one acknowledgement is measured, of its median time.
    ratio: Option<f64>,
    /// The same disk, given as much at a time as makes it fast.
    stream: Option<Bound>,
    stream_ratio: Option<f64>,
}

/// What is measured how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) what: What,
    pub(super) path: Path,
    pub(super) durability: Setting,
    pub(super) partitions: u32,
    pub(super) depth: usize,
}

impl Row {
    pub(super) fn new(case: Case, batch: &Batch, tally: &Tally, bound: Option<Bound>) -> Self {
        let Case { what, path, durability, partitions, depth } = case;
        let (megabytes_per_second, p50_us) = (tally.megabytes_per_second(), tally.quantile_us(0.5));
        let ratio = bound.as_ref().map(|bound| match what {
            What::Ack => p50_us / bound.p50_us,
            _ => megabytes_per_second / bound.megabytes_per_second,
        });
        Self {
            what,
            path,
            durability,
            record_bytes: batch.record_bytes,
            batch: batch.fill.to_string(),
            batch_bytes: batch.bytes.len(),
            partitions,
            depth,
            megabytes_per_second,
            records_per_second: tally.records_per_second(),
            cpu_seconds_per_gigabyte: tally.cpu_seconds_per_gigabyte(),
            p50_us,
            p99_us: tally.quantile_us(0.99),
            p999_us: tally.quantile_us(0.999),
            bound,
            ratio,
            stream: None,
            stream_ratio: None,
        }
    }

    /// The same, with what the disk gives at its best.
    pub(super) fn beside(self, stream: Bound) -> Self {
        let stream_ratio = Some(self.megabytes_per_second / stream.megabytes_per_second);
        Self { stream: Some(stream), stream_ratio, ..self }
    }
}

/// The line above the rows.
pub(super) const HEADINGS: &str = "what    path       durable record  batch parts depth     MB/s  records/s CPU-s/GB    \
                                   p50 µs    p99 µs  p99.9 µs  beside it";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Produce => "produce",
            What::Fetch => "fetch",
            What::Ack => "ack",
            What::Spread => "spread",
        };
        let path = match self.path {
            Path::Tcp => "tcp",
            Path::InProcess => "in process",
        };
        let durability = match self.durability {
            Setting::Fsync => "fsync",
            Setting::Os => "os",
        };
        let Self { record_bytes, batch, partitions, depth, .. } = self;
        write!(
            f,
            "{what:<7} {path:<10} {durability:<7} {record_bytes:>6} {batch:>6} {partitions:>5} {depth:>5} {:>8.1} \
             {:>10.0} {:>8.2} {:>9.1} {:>9.1} {:>9.1}",
            self.megabytes_per_second,
            self.records_per_second,
            self.cpu_seconds_per_gigabyte,
            self.p50_us,
            self.p99_us,
            self.p999_us
        )?;
        let (Some(bound), Some(ratio)) = (&self.bound, self.ratio) else { return Ok(()) };
        let name = bound.name;
        match self.what {
            What::Ack => write!(f, "  {ratio:.2} of {name}, {:.1} µs", bound.p50_us),
            _ => write!(
                f,
                "  {ratio:.2} of {name}, {:.1} MB/s at {:.2} CPU-s/GB",
                bound.megabytes_per_second, bound.cpu_seconds_per_gigabyte
            ),
        }?;
        let (Some(stream), Some(ratio)) = (&self.stream, self.stream_ratio) else { return Ok(()) };
        write!(f, "; {ratio:.2} of {}, {:.1} MB/s", stream.name, stream.megabytes_per_second)
    }
}
