//! What producers have committed in their open transactions.
//!
//! Invariant: one value for each producer, group and partition, the last that it committed; one that is deleted for a group
//! is gone from all transactions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::CommittedOffset;
use crate::topic::TopicPartition;

/// A group and a partition.
type Key = (Arc<str>, TopicPartition);
/// The offset of a commit's record, and what it commits.
type Value = (i64, CommittedOffset);

/// Commits by producer.
#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<i64, BTreeMap<Key, Value>>);

impl Pending {
    /// Notes a commit, whose record is at an offset.
    pub(super) fn put(
        &mut self,
        producer_id: i64,
        group: &str,
        of: TopicPartition,
        record: i64,
        to: CommittedOffset,
    ) {
        self.0.entry(producer_id).or_default().insert((group.into(), of), (record, to));
    }

    /// Takes out all that a producer has committed.
    pub(super) fn take(&mut self, producer_id: i64) -> BTreeMap<Key, Value> {
        self.0.remove(&producer_id).unwrap_or_default()
    }

    /// Drops what was committed for a group's partition, by whomever.
    pub(super) fn delete(&mut self, group: &str, of: &TopicPartition) {
        if self.0.is_empty() {
            return;
        }
        let key = (group.into(), of.clone());
        self.0.retain(|_, commits| {
            commits.remove(&key);
            !commits.is_empty()
        });
    }

    /// Whether somebody has committed for a group's partition.
    pub(super) fn holds(&self, group: &str, of: &TopicPartition) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let key = (group.into(), of.clone());
        self.0.values().any(|commits| commits.contains_key(&key))
    }

    /// The partitions for which somebody has committed in a group, perhaps several times each.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = &TopicPartition> {
        let keys = self.0.values().flat_map(BTreeMap::keys);
        keys.filter(move |(name, _)| **name == *group).map(|(_, of)| of)
    }

    /// All groups and partitions, perhaps several times each.
    pub(super) fn all(&self) -> impl Iterator<Item = Key> {
        self.0.values().flat_map(BTreeMap::keys).cloned()
    }
}
