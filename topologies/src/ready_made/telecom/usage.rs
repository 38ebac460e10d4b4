//! What is told of a use of the network, what it is worth, and what uses add up to.

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use topo_core::Fail;
use topo_core::window::Aggregate;

use crate::streams::{ToRecord, packed};

/// A use of the network, as a cell reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The cell.
    pub cell: CompactString,
    /// Who used it.
    pub subscriber: CompactString,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// How many bytes went either way.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What a subscriber pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plan {
    /// Little is used, and it is dear.
    Basic,
    /// In between.
    Plus,
    /// Much is used, and it is cheap.
    Premium,
}

impl Plan {
    /// What a byte costs, in billionths of the currency.
    pub const fn price(self) -> u64 {
        match self {
            Plan::Basic => 9,
            Plan::Plus => 5,
            Plan::Premium => 2,
        }
    }
}

/// What is known of a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// The plan.
    pub plan: Plan,
    /// The cell at home.
    pub home: CompactString,
}

/// A use of the network, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatedUsage {
    /// The cell.
    pub cell: CompactString,
    /// Who used it.
    pub subscriber: CompactString,
    /// How many bytes went either way.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether the cell is another than the one at home.
    pub is_away: bool,
    /// What it costs, in billionths of the currency.
    pub charge: u64,
}

/// Keyed by subscriber.
impl ToRecord for RatedUsage {
    fn key(&self) -> Result<Option<Bytes>, Fail> {
        packed(&self.subscriber).map(Some)
    }
}

/// What uses add up to. Sums that exceed 64 bits stay at the largest number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// How many uses.
    pub uses: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many of these away from home.
    pub bytes_away: u64,
    /// How long they took, in milliseconds.
    pub duration_ms: u64,
    /// What they cost, in billionths of the currency.
    pub charge: u64,
}

/// Adds up uses.
#[derive(Debug, Clone, Copy)]
pub struct TotalsOf;

impl Aggregate for TotalsOf {
    type In = RatedUsage;
    type Acc = Totals;
    type Out = Totals;

    fn start(&self, first: RatedUsage) -> Totals {
        let RatedUsage { bytes, duration_ms, is_away, charge, .. } = first;
        Totals { uses: 1, bytes, bytes_away: if is_away { bytes } else { 0 }, duration_ms, charge }
    }

    fn merge(&self, totals: &mut Totals, other: &Totals) {
        let add = |to: &mut u64, number| *to = to.saturating_add(number);
        add(&mut totals.uses, other.uses);
        add(&mut totals.bytes, other.bytes);
        add(&mut totals.bytes_away, other.bytes_away);
        add(&mut totals.duration_ms, other.duration_ms);
        add(&mut totals.charge, other.charge);
    }

    fn result(&self, totals: &Totals) -> Totals {
        *totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_and_never_overflow() {
        let used = |bytes, is_away| RatedUsage {
            cell: "c".into(),
            subscriber: "s".into(),
            bytes,
            duration_ms: 3,
            is_away,
            charge: 2,
        };
        let mut totals = TotalsOf.start(used(5, true));
        TotalsOf.add(&mut totals, used(7, false));
        let expected = Totals { uses: 2, bytes: 12, bytes_away: 5, duration_ms: 6, charge: 4 };
        assert_eq!(TotalsOf.result(&totals), expected);
        TotalsOf.add(&mut totals, used(u64::MAX, false));
        assert_eq!(totals.bytes, u64::MAX);
    }
}
