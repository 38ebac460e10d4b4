//! What a run came to.

use std::fmt;
use std::time::Duration;

use topo_connectors::SourceProgress;
use topo_core::metrics::{ComponentKind, ComponentSnapshot, Latency, TopologySnapshot, TransactionSnapshot};

/// The numbers of a run, added up over its spouts.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The topology's name.
    pub name: String,
    /// Trees that the spouts opened, later attempts among them.
    pub emitted: u64,
    /// Trees completed.
    pub acked: u64,
    /// Trees failed; a tuple that was replayed may have failed more than once.
    pub failed: u64,
    /// Records that a bolt refused and that are in the dead letters.
    pub rejected: u64,
    /// Records that ran out of attempts and are in the dead letters.
    pub exhausted: u64,
    /// Results of operators that were refused, or failed as often as they may.
    pub given_up: u64,
    /// Its micro-transactions, where there were any.
    pub transactions: Option<TransactionSnapshot>,
    /// Time from emit to completion: median and 99th percentile.
    pub complete: Option<(Duration, Duration)>,
    /// How long the topology ran.
    pub elapsed: Duration,
    /// Whether all of the input was done at the end.
    pub idle: bool,
}

impl Summary {
    pub(super) fn new(
        snapshot: &TopologySnapshot,
        progress: &SourceProgress,
        elapsed: Duration,
        idle: bool,
    ) -> Self {
        let spouts: Vec<&ComponentSnapshot> =
            snapshot.components.iter().filter(|one| one.kind == ComponentKind::Spout).collect();
        let complete: Vec<Latency> =
            spouts.iter().map(|spout| spout.latency(|task| &task.complete)).collect();
        let complete = Latency::merge(&complete);
        Self {
            name: snapshot.name.to_string(),
            emitted: spouts.iter().map(|spout| spout.total(|task| task.emitted)).sum(),
            acked: spouts.iter().map(|spout| spout.total(|task| task.acked)).sum(),
            failed: spouts.iter().map(|spout| spout.total(|task| task.failed)).sum(),
            rejected: progress.rejected(),
            exhausted: progress.exhausted(),
            given_up: snapshot.components.iter().map(|one| one.total(|task| task.trees_exhausted)).sum(),
            transactions: snapshot.transactions.clone(),
            complete: complete.quantile(0.5).zip(complete.quantile(0.99)),
            elapsed,
            idle,
        }
    }

    /// Whether no record and no result was lost or given up for want of attempts. Records that a bolt refused are in the dead letters, as
    /// it asked.
    pub fn is_good(&self) -> bool {
        self.exhausted == 0 && self.given_up == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, emitted, acked, failed, rejected, exhausted, .. } = self;
        let rate = *acked as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON);
        write!(
            f,
            "{name}: emitted {emitted}, acked {acked}, failed {failed}, rejected {rejected}, exhausted {exhausted}"
        )?;
        if self.given_up > 0 {
            write!(f, ", results given up {}", self.given_up)?;
        }
        writeln!(f)?;
        if let Some(numbers) = &self.transactions {
            let TransactionSnapshot { committed, commits, aborts, trees, records, lasted, took, .. } =
                numbers;
            write!(f, "transactions committed {commits}, taken back {aborts}, last txid {committed}")?;
            writeln!(
                f,
                "; the last of {trees} trees and {records} records lasted {lasted:.1?}, its commit {took:.1?}"
            )?;
        }
        write!(f, "{rate:.0} acked per second over {:.1?}", self.elapsed)?;
        if let Some((median, high)) = self.complete {
            write!(f, "; complete latency p50 {median:.1?}, p99 {high:.1?}")?;
        }
        writeln!(f)
    }
}
