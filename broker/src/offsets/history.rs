//! What was committed for one partition and may be asked for: the durable commit, and those that are not yet durable.
//!
//! Invariant: entries are ordered by the offsets of their records, and at most one lies below the high watermark as of
//! the last change.

use super::CommittedOffset;

/// Commits, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct History(Vec<Commit>);

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Commit {
    /// The offset behind which it is durable: of its record, or of the marker of its transaction.
    at: i64,
    /// The offset of its record.
    record: i64,
    /// `None` deletes.
    to: Option<CommittedOffset>,
}

impl History {
    /// Adds a commit whose record is behind all others; the high watermark may not have passed it.
    pub(super) fn push(&mut self, at: i64, to: Option<CommittedOffset>, high_watermark: i64) {
        self.add(Commit { at, record: at, to }, high_watermark);
    }

    /// Adds a commit of a transaction whose marker is behind all others, unless another commit was made since it was
    /// written.
    pub(super) fn push_in_transaction(
        &mut self,
        marker: i64,
        record: i64,
        to: CommittedOffset,
        high_watermark: i64,
    ) {
        if self.0.last().is_none_or(|last| last.record < record) {
            self.add(Commit { at: marker, record, to: Some(to) }, high_watermark);
        }
    }

    fn add(&mut self, commit: Commit, high_watermark: i64) {
        self.prune(high_watermark);
        self.0.push(commit);
    }

    /// What counts where records below the high watermark are durable.
    pub(super) fn at(&self, high_watermark: i64) -> Option<&CommittedOffset> {
        self.0[..self.durable(high_watermark)].last()?.to.as_ref()
    }

    /// Whether a commit is not yet durable.
    pub(super) fn is_unsettled(&self, high_watermark: i64) -> bool {
        self.durable(high_watermark) < self.0.len()
    }

    /// Drops what is superseded or deleted for good; whether anything is left.
    pub(super) fn prune(&mut self, high_watermark: i64) -> bool {
        let durable = self.durable(high_watermark);
        let superseded = match durable.checked_sub(1) {
            Some(last) if self.0[last].to.is_none() => durable,
            last => last.unwrap_or(0),
        };
        self.0.drain(..superseded);
        !self.0.is_empty()
    }

    fn durable(&self, high_watermark: i64) -> usize {
        self.0.partition_point(|commit| commit.at < high_watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn committed(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: -1, metadata: String::new(), commit_timestamp_ms: 0 }
    }

    proptest! {
        /// Against a list that forgets nothing: commits arrive, the high watermark follows behind them.
        #[test]
        fn the_last_durable_commit_counts(steps in proptest::collection::vec((any::<bool>(), 0_i64..5), 1..60)) {
            let (mut history, mut all) = (History::default(), Vec::new());
            let (mut log_end, mut high_watermark) = (0, 0);
            for (step, (advance, by)) in steps.into_iter().enumerate() {
                if advance {
                    high_watermark = (high_watermark + by).min(log_end);
                } else {
                    let to = (by > 0).then(|| committed(step as i64));
                    all.push((log_end, to.clone()));
                    history.push(log_end, to, high_watermark);
                    log_end += 1;
                }
                let expected = all.iter().rev().find(|(at, _)| *at < high_watermark);
                prop_assert_eq!(history.at(high_watermark), expected.and_then(|(_, to)| to.as_ref()));
                let undurable = usize::try_from(log_end - high_watermark).unwrap();
                let mut pruned = history.clone();
                prop_assert_eq!(pruned.prune(high_watermark), !pruned.0.is_empty());
                prop_assert!(pruned.0.len() <= undurable + 1);
                prop_assert_eq!(pruned.at(high_watermark), history.at(high_watermark));
                prop_assert_eq!(pruned.at(log_end), history.at(log_end));
            }
        }
    }
}
