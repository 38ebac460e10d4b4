//! What is true of a generated day: what each window's last result has to be, and which uses are rejected.
//!
//! It is added up here from what is so in the simulation as a use happens, with neither the table, nor the windows, nor the
//! aggregate of the pipeline.

use std::collections::BTreeMap;
use std::io::{self, Write};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::super::usage::{Subscriber, Totals, UsageRecord};
use super::super::{CELL_WINDOW, NETWORK, SUBSCRIBER_WINDOW, USAGE_BY_CELL, USAGE_BY_SUBSCRIBER};

/// The truth of a generated day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth {
    by_cell: BTreeMap<(i64, CompactString), Totals>,
    by_subscriber: BTreeMap<(i64, CompactString), Totals>,
    rejected: BTreeMap<CompactString, u64>,
}

/// One thing that is true: of a topic, what its last record of a key and window says; of the dead letters, how many a key
/// has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthLine {
    /// The topic.
    pub topic: String,
    /// The record's key.
    pub key: String,
    /// The window's first millisecond since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// The first millisecond behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// What the window's uses add up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// How many records there are, where there is no window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

impl Truth {
    /// A use happens, of a subscriber of whom this is known.
    pub(super) fn note(&mut self, used: &UsageRecord, known: Option<&Subscriber>) {
        let Some(known) = known else {
            *self.rejected.entry(used.subscriber.clone()).or_default() += 1;
            return;
        };
        let minute = used.at - used.at.rem_euclid(CELL_WINDOW.as_millis() as i64);
        let five = used.at - used.at.rem_euclid(SUBSCRIBER_WINDOW.as_millis() as i64);
        let windows = [
            self.by_cell.entry((minute, used.cell.clone())).or_default(),
            self.by_subscriber.entry((five, used.subscriber.clone())).or_default(),
        ];
        for totals in windows {
            totals.uses += 1;
            totals.bytes += used.bytes;
            totals.duration_ms += used.duration_ms;
            totals.charge += used.bytes * known.plan.price();
            if known.home != used.cell {
                totals.bytes_away += used.bytes;
            }
        }
    }

    /// All that is true, line by line.
    pub fn lines(&self) -> impl Iterator<Item = TruthLine> {
        let cells = windows(USAGE_BY_CELL, CELL_WINDOW.as_millis() as i64, &self.by_cell);
        let subscribers =
            windows(USAGE_BY_SUBSCRIBER, SUBSCRIBER_WINDOW.as_millis() as i64, &self.by_subscriber);
        let rejected = self.rejected.iter().map(|(key, records)| TruthLine {
            topic: format!("{NETWORK}.dead-letter"),
            key: key.to_string(),
            start: None,
            end: None,
            totals: None,
            records: Some(*records),
        });
        cells.chain(subscribers).chain(rejected)
    }

    /// Writes it as lines of JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for line in self.lines() {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}

fn windows(
    topic: &'static str,
    size: i64,
    totals: &BTreeMap<(i64, CompactString), Totals>,
) -> impl Iterator<Item = TruthLine> {
    totals.iter().map(move |((start, key), totals)| TruthLine {
        topic: topic.to_owned(),
        key: key.to_string(),
        start: Some(*start),
        end: Some(start + size),
        totals: Some(*totals),
        records: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::usage::Plan;
    use super::*;

    #[test]
    fn a_use_counts_in_its_cells_minute_and_its_subscribers_five() {
        let mut truth = Truth::default();
        let used = |cell: &str, at, bytes| UsageRecord {
            cell: cell.into(),
            subscriber: "s".into(),
            at,
            bytes,
            duration_ms: 10,
        };
        let known = Subscriber { plan: Plan::Plus, home: "a".into() };
        truth.note(&used("a", 59_999, 3), Some(&known));
        truth.note(&used("b", 60_000, 4), Some(&known));
        truth.note(&used("a", 60_001, 9), None);
        let lines: Vec<TruthLine> = truth.lines().collect();
        let totals = |uses, bytes, bytes_away| {
            Some(Totals { uses, bytes, bytes_away, duration_ms: 10 * uses, charge: 5 * bytes })
        };
        let line = |topic: &str, key: &str, start, end, totals| TruthLine {
            topic: topic.to_owned(),
            key: key.to_owned(),
            start: Some(start),
            end: Some(end),
            totals,
            records: None,
        };
        assert_eq!(
            lines[..3],
            [
                line("usage-by-cell", "a", 0, 60_000, totals(1, 3, 0)),
                line("usage-by-cell", "b", 60_000, 120_000, totals(1, 4, 4)),
                line("usage-by-subscriber", "s", 0, 300_000, totals(2, 7, 4)),
            ]
        );
        assert_eq!((&*lines[3].topic, lines[3].records), ("network.dead-letter", Some(1)));
        let mut json = Vec::new();
        truth.write(&mut json).unwrap();
        let json = String::from_utf8(json).unwrap();
        let read: Vec<TruthLine> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, lines);
    }
}
