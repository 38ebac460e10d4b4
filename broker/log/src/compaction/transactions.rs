//! The transactions of which something may be in the segments that are compacted.
//!
//! Invariant: all of them have ended, and everything is noted in the order of the log, from its start on.

use std::collections::{HashMap, HashSet};

use topo_protocol::BatchHeader;

use super::clean::Verdict;
use crate::aborted::AbortedTransaction;

#[derive(Debug)]
pub(super) struct Transactions {
    /// Each producer's, by their first offsets.
    aborted: HashMap<i64, Vec<AbortedTransaction>>,
    /// Whose marker is at an offset.
    by_marker: HashMap<i64, AbortedTransaction>,
    /// Whose transaction has a batch that stays, and no marker yet.
    left: HashSet<i64>,
}

impl Transactions {
    /// Those that were aborted; all others were committed.
    pub(super) fn new(all: Vec<AbortedTransaction>) -> Self {
        let by_marker = all.iter().map(|transaction| (transaction.last_offset, *transaction)).collect();
        let mut aborted: HashMap<i64, Vec<AbortedTransaction>> = HashMap::new();
        for transaction in all {
            aborted.entry(transaction.producer_id).or_default().push(transaction);
        }
        aborted.values_mut().for_each(|all| all.sort_unstable_by_key(|transaction| transaction.first_offset));
        Self { aborted, by_marker, left: HashSet::new() }
    }

    /// Whether a batch holds records of a transaction that was aborted.
    pub(super) fn is_aborted(&self, header: &BatchHeader) -> bool {
        if !header.attributes.is_transactional() || header.attributes.is_control() {
            return false;
        }
        let Some(all) = self.aborted.get(&header.producer_id) else { return false };
        let after = all.partition_point(|transaction| transaction.first_offset <= header.base_offset);
        all[..after].last().is_some_and(|transaction| transaction.last_offset > header.base_offset)
    }

    /// The transaction that was aborted by the marker at an offset.
    pub(super) fn aborted_by(&self, marker: i64) -> Option<&AbortedTransaction> {
        self.by_marker.get(&marker)
    }

    /// Whether something stays of the transaction that a producer's next marker ends.
    pub(super) fn is_left_of(&self, producer_id: i64) -> bool {
        self.left.contains(&producer_id)
    }

    /// Takes down what becomes of a batch.
    pub(super) fn note(&mut self, header: &BatchHeader, verdict: &Verdict) {
        if header.attributes.is_control() {
            self.left.remove(&header.producer_id);
            return;
        }
        let stays = match verdict {
            Verdict::Stays => header.attributes.is_transactional(),
            Verdict::Becomes(rebuilt, _) => rebuilt.attributes.is_transactional(),
            Verdict::Goes => false,
        };
        if stays {
            self.left.insert(header.producer_id);
        }
    }
}
