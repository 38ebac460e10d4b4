//! A topology as workload.
//!
//! Records are counted by a bolt, at the last one where nothing else is said, over the time from the launch until the last
//! tree is done; CPU time is the whole process's over the same span.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use topo_core::schedule::{Scheduler, Seeded, TokioScheduler};
use topo_core::{Config, Delivery, Running, Topology};

use super::{cpu_seconds, print};
use crate::failure::Failure;

/// How to run one.
#[derive(Debug, Args)]
pub(super) struct Pipeline {
    /// Track every tree in the ledger (the default)
    #[arg(long, conflicts_with = "unacked")]
    acked: bool,
    /// Track nothing: at most once
    #[arg(long)]
    unacked: bool,
    /// How long the spout emits
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    seconds: f64,
    /// End after so many of the spout's records, whatever the time: for counting instructions
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    records: Option<u64>,
    /// Run on the seeded single thread with a clock that stands still, where a run takes the same instructions each time
    #[arg(long, requires = "records")]
    seeded: bool,
    /// Tuples per batch
    #[arg(long, default_value_t = Config::default().batch_size, value_name = "N")]
    batch: usize,
    /// Trees that the spout may have open
    #[arg(long, default_value_t = Config::default().max_pending, value_name = "N")]
    max_pending: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long the workload's windows are, where it has any.
    #[arg(skip)]
    pub(super) window_seconds: Option<u64>,
}

/// Tells a spout when to stop, and adds up what the last bolts saw.
#[derive(Debug)]
pub(super) struct Meter {
    until: Option<Instant>,
    limit: u64,
    records: AtomicU64,
}

impl Meter {
    /// Whether the spout is to stop after `emitted` records. Reads the clock: ask it per hundreds of records.
    pub(super) fn is_over(&self, emitted: u64) -> bool {
        emitted >= self.limit || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Adds what one task of the last bolt saw, told when it is cleaned up.
    pub(super) fn count(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
    }
}

/// What a run gave.
#[derive(Debug, Serialize)]
struct Report {
    workload: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u64>,
    delivery: &'static str,
    records: u64,
    seconds: f64,
    cpu_seconds: f64,
    records_per_second: f64,
    cpu_seconds_per_million: f64,
    complete_p50_us: Option<f64>,
    complete_p99_us: Option<f64>,
}

impl Pipeline {
    /// Runs the topology of that name, and prints what it gave.
    ///
    /// # Errors
    /// [`Failure`]: the topology did not run, or nobody reads.
    pub(super) async fn run(
        self,
        workload: &'static str,
        topology: impl FnOnce(&Arc<Meter>) -> Topology,
    ) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_secs_f64(self.seconds.clamp(0.0, 86_400.0));
        let until = self.records.is_none().then_some(until);
        let limit = self.records.unwrap_or(u64::MAX);
        let meter = Arc::new(Meter { until, limit, records: AtomicU64::new(0) });
        let report = self.measure(workload, topology(&meter), &meter).await?;
        if self.json {
            let json = serde_json::to_string(&report).map_err(|error| Failure::System(error.into()))?;
            return print(&json);
        }
        let million = report.records_per_second / 1e6;
        let cpu = report.cpu_seconds_per_million;
        print(&format!(
            "{workload} ({}): {million:.2} M records/s, {cpu:.4} CPU-s per million",
            report.delivery
        ))
    }

    async fn measure(
        &self,
        workload: &'static str,
        topology: Topology,
        meter: &Meter,
    ) -> Result<Report, Failure> {
        let delivery = if self.unacked { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
        let config = Config {
            delivery,
            batch_size: self.batch.max(1),
            max_pending: self.max_pending,
            ..Config::default()
        };
        let (started, cpu) = (Instant::now(), cpu_seconds()?);
        let running = if self.seeded {
            let seeded = Seeded::new(1);
            seeded.set_step_limit(u64::MAX);
            seeded.block_on(run_to_end(topology, Arc::clone(&seeded) as _, Config { seed: 1, ..config }))?
        } else {
            run_to_end(topology, Arc::new(TokioScheduler::current()), config).await?
        };
        let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        let records = meter.records.load(Ordering::Relaxed);
        let (complete_p50_us, complete_p99_us) = completion(&running);
        Ok(Report {
            workload,
            window_seconds: self.window_seconds,
            delivery: if self.unacked { "unacked" } else { "acked" },
            records,
            seconds,
            cpu_seconds,
            records_per_second: records as f64 / seconds,
            cpu_seconds_per_million: cpu_seconds / (records as f64 / 1e6),
            complete_p50_us,
            complete_p99_us,
        })
    }
}

/// Runs until the spouts are finished and all trees are done.
async fn run_to_end(
    topology: Topology,
    scheduler: Arc<dyn Scheduler>,
    config: Config,
) -> Result<Running, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Topology(error.to_string());
    let running = topology.launch(scheduler, config).await.map_err(|error| refused(&error))?;
    running.finished().await;
    running.kill(Duration::from_secs(60)).await.map_err(|error| refused(&error))?;
    Ok(running)
}

/// Median and 99th percentile from emit to ack, in microseconds.
fn completion(running: &Running) -> (Option<f64>, Option<f64>) {
    let snapshot = running.snapshot();
    let complete = snapshot.components.first().map(|spout| spout.latency(|task| &task.complete));
    let at = |quantile| complete.as_ref()?.quantile(quantile).map(|time| time.as_secs_f64() * 1e6);
    (at(0.5), at(0.99))
}
