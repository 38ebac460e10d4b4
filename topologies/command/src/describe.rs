//! `topo describe`: how a topology that runs is doing.

use std::io::{self, Write};

use clap::Args;
use serde::Deserialize;

use crate::failure::Failure;
use crate::lines::shown;
use crate::page::{Page, encoded};

/// `topo describe`.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// The topology's name or id; may be left out where one is running
    topology: Option<String>,
    /// Print what the page answers, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: Page,
}

/// What the page answers, as far as it is printed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topology {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) uptime: String,
    pub(crate) topology_stats: Vec<Stats>,
    spouts: Vec<Spout>,
    bolts: Vec<Bolt>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stats {
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) pending: u64,
    pub(crate) complete_latency_micros: Distribution,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spout {
    spout_id: String,
    complete_latency_micros: Distribution,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bolt {
    bolt_id: String,
    capacity: String,
    executed: u64,
    execute_latency_micros: Distribution,
    queue: Queue,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Clone, Deserialize)]
struct Counts {
    tasks: u64,
    emitted: u64,
    acked: u64,
    failed: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) p99: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    tuples: u64,
}

/// A component as a row: its numbers, in the order of [`HEAD`] from the third on.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) tasks: u64,
    pub(crate) emitted: u64,
    pub(crate) executed: Option<u64>,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) capacity: Option<f64>,
    /// Of its executes, or of its trees where it is a spout; in microseconds.
    pub(crate) p99: Option<f64>,
    pub(crate) queued: Option<u64>,
}

/// What the columns are.
pub(crate) const HEAD: [&str; 10] =
    ["COMPONENT", "KIND", "TASKS", "EMITTED", "EXECUTED", "ACKED", "FAILED", "CAPACITY", "P99", "QUEUED"];

impl Describe {
    /// Asks the page and prints to standard output.
    ///
    /// # Errors
    /// Those of the page and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (page, id) = self.page.topology(self.topology.as_deref()).await?;
        let answer = page.get(&format!("/api/v1/topology/{}", encoded(&id))).await?;
        let mut out = io::stdout().lock();
        let written = if self.json {
            out.write_all(&answer).and_then(|()| out.write_all(b"\n"))
        } else {
            out.write_all(page.json::<Topology>(&answer)?.text().as_bytes())
        };
        written.map_err(Failure::Output)
    }
}

impl Topology {
    /// Its components, spouts first.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let spout = |spout: &Spout| Row {
            name: shown(&spout.spout_id),
            kind: "spout",
            tasks: spout.counts.tasks,
            emitted: spout.counts.emitted,
            executed: None,
            acked: spout.counts.acked,
            failed: spout.counts.failed,
            capacity: None,
            p99: spout.complete_latency_micros.p99,
            queued: None,
        };
        let bolt = |bolt: &Bolt| Row {
            name: shown(&bolt.bolt_id),
            kind: "bolt",
            tasks: bolt.counts.tasks,
            emitted: bolt.counts.emitted,
            executed: Some(bolt.executed),
            acked: bolt.counts.acked,
            failed: bolt.counts.failed,
            capacity: bolt.capacity.parse().ok(),
            p99: bolt.execute_latency_micros.p99,
            queued: Some(bolt.queue.tuples),
        };
        self.spouts.iter().map(spout).chain(self.bolts.iter().map(bolt)).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {}, up {}\n", shown(&self.id), shown(&self.status), shown(&self.uptime));
        for Stats { acked, failed, pending, complete_latency_micros } in &self.topology_stats {
            let p99 = micros(complete_latency_micros.p99);
            text.push_str(&format!(
                "acked {acked}, failed {failed}, pending {pending}, complete p99 {p99}\n"
            ));
        }
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.rows().iter().map(Row::cells));
        text.push('\n');
        text.push_str(&table(&rows));
        text
    }
}

impl Row {
    /// As it is printed.
    fn cells(&self) -> [String; 10] {
        let number = |number: Option<u64>| number.map_or_else(none, |number| number.to_string());
        [
            self.name.clone(),
            self.kind.to_owned(),
            self.tasks.to_string(),
            self.emitted.to_string(),
            number(self.executed),
            self.acked.to_string(),
            self.failed.to_string(),
            percent(self.capacity),
            micros(self.p99),
            number(self.queued),
        ]
    }
}

/// What stands where a number does not apply.
pub(crate) fn none() -> String {
    "-".to_owned()
}

/// A share in percent.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(none, |share| format!("{:.1}%", share * 100.0))
}

/// Microseconds with the unit that suits.
pub(crate) fn micros(micros: Option<f64>) -> String {
    match micros {
        None => none(),
        Some(micros) if micros < 1e3 => format!("{micros:.1}us"),
        Some(micros) if micros < 1e6 => format!("{:.1}ms", micros / 1e3),
        Some(micros) => format!("{:.1}s", micros / 1e6),
    }
}

/// Columns as wide as they must be: the first two to the left, numbers to the right.
fn table(rows: &[[String; 10]]) -> String {
    let mut widths = [0; 10];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            let padding = " ".repeat(width - cell.chars().count());
            if index < 2 {
                text.extend([gap, cell, &padding]);
            } else {
                text.extend([gap, &padding, cell]);
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topology_is_a_table_without_control_characters() {
        let latency = |p99: Option<f64>| json!({ "p99": p99 });
        let told: Topology = serde_json::from_value(json!({
            "id": "words-1", "status": "ACTIVE", "uptime": "6m 5s",
            "topologyStats": [{ "acked": 9, "failed": 1, "pending": 2, "completeLatencyMicros": latency(Some(1_500.0)) }],
            "spouts": [{
                "spoutId": "li\u{1b}nes", "tasks": 1, "emitted": 12, "acked": 9, "failed": 1,
                "completeLatencyMicros": latency(Some(2_500_000.0)),
            }],
            "bolts": [{
                "boltId": "count", "tasks": 2, "emitted": 0, "acked": 10, "failed": 0, "executed": 10,
                "capacity": "0.934", "executeLatencyMicros": latency(Some(12.34)), "queue": { "tuples": 3 },
            }],
        }))
        .unwrap();
        let expected = "\
words-1: ACTIVE, up 6m 5s
acked 9, failed 1, pending 2, complete p99 1.5ms

COMPONENT    KIND   TASKS  EMITTED  EXECUTED  ACKED  FAILED  CAPACITY     P99  QUEUED
li\\u{1b}nes  spout      1       12         -      9       1         -    2.5s       -
count        bolt       2        0        10     10       0     93.4%  12.3us       3
";
        assert_eq!(told.text(), expected);
    }
}
