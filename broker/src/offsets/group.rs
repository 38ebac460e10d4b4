//! Everything that one group has committed: seen, and forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Change, CommittedOffset, CommittedOffsets, DELETIONS, apply};
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::topic::TopicPartition;

impl CommittedOffsets {
    /// All that `group` has committed, by topic and partition, given how far the topic is durable.
    pub(crate) fn all(&self, group: &str, high_watermark: i64) -> Vec<(TopicPartition, CommittedOffset)> {
        let groups = self.groups();
        let partitions = groups.get(group).into_iter().flatten();
        let durable =
            partitions.filter_map(|(of, history)| Some((of.clone(), history.at(high_watermark).cloned()?)));
        durable.collect()
    }

    /// The groups that have committed something, given how far the topic is durable.
    pub(crate) fn names(&self, high_watermark: i64) -> BTreeSet<Arc<str>> {
        let groups = self.groups();
        let holds = groups.iter().filter(|(_, partitions)| {
            partitions.values().any(|history| history.at(high_watermark).is_some())
        });
        holds.map(|(group, _)| group.clone()).collect()
    }

    /// Forgets what `group` committed for some partitions, or for `None` all, once everything below the returned offset is
    /// durable; `None` where it has committed nothing for them.
    pub(crate) fn forget(
        &self,
        topic: &Arc<Partition>,
        group: &str,
        only: Option<&BTreeSet<TopicPartition>>,
    ) -> Result<Option<i64>, BrokerError> {
        let mut groups = self.groups();
        let held = groups.get(group).map(|partitions| partitions.keys().cloned()).into_iter().flatten();
        let forgotten: Vec<TopicPartition> =
            held.filter(|of| only.is_none_or(|only| only.contains(of))).collect();
        let mut next_offset = None;
        for some in forgotten.chunks(DELETIONS) {
            let changes: Vec<Change<'_>> = some.iter().map(|of| (group, of, None)).collect();
            next_offset = Some(apply(&mut groups, topic, &changes)?);
        }
        Ok(next_offset)
    }
}
