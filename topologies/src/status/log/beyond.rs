//! What the page asks of a log beyond [`Log`](topo_core::log::Log): its groups, and how large its partitions are.

use async_trait::async_trait;
use topo_core::log::{LogError, TopicPartition};

use crate::embedded::EmbeddedLog;

/// A consumer group, as an onlooker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStanding {
    /// Its name.
    pub group: String,
    /// Kafka's word for how it is, such as `Stable` or `Empty`.
    pub state: String,
    /// How many members it has.
    pub members: usize,
    /// The offsets that it has committed.
    pub committed: Vec<(TopicPartition, i64)>,
}

/// A log's groups and sizes.
#[async_trait]
pub trait LogGroups: Send + Sync {
    /// All groups by name.
    ///
    /// # Errors
    /// A storage or connection error.
    async fn groups(&self) -> Result<Vec<GroupStanding>, LogError>;

    /// Whether a group has members; `None` where there is none of that name.
    ///
    /// # Errors
    /// A storage or connection error.
    async fn has_members(&self, group: &str) -> Result<Option<bool>, LogError>;

    /// Bytes of the batches that a partition stores; `None` where that is not known.
    fn bytes(&self, of: &TopicPartition) -> Option<u64>;
}

#[async_trait]
impl LogGroups for EmbeddedLog {
    async fn groups(&self) -> Result<Vec<GroupStanding>, LogError> {
        let groups = self.broker().groups();
        let refused = |error: topo_broker::GroupError| LogError::Invalid(error.to_string());
        let mut standings = Vec::new();
        for listed in groups.list().map_err(refused)? {
            let described = groups.describe(&listed.group).map_err(refused)?;
            let committed = groups.fetch_all(&listed.group).map_err(refused)?;
            let here = |of: topo_broker::TopicPartition| TopicPartition::new(of.topic, of.partition);
            standings.push(GroupStanding {
                group: listed.group.to_string(),
                state: described.state.name().to_owned(),
                members: described.members.len(),
                committed: committed.into_iter().map(|(of, at)| (here(of), at.offset)).collect(),
            });
        }
        standings.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(standings)
    }

    async fn has_members(&self, group: &str) -> Result<Option<bool>, LogError> {
        let groups = self.broker().groups();
        let described = groups.describe(group).map_err(|error| LogError::Invalid(error.to_string()))?;
        let is_there = described.state != topo_broker::GroupState::Dead;
        Ok(is_there.then_some(!described.members.is_empty()))
    }

    fn bytes(&self, of: &TopicPartition) -> Option<u64> {
        self.broker().log_bytes(&topo_broker::TopicPartition::new(of.topic.clone(), of.partition)).ok()
    }
}

#[cfg(feature = "kafka")]
#[async_trait]
impl LogGroups for topo_connectors::kafka::KafkaLog {
    async fn groups(&self) -> Result<Vec<GroupStanding>, LogError> {
        use topo_core::log::Log;

        let mut partitions = Vec::new();
        for topic in self.topics().await? {
            let name = topic.name;
            partitions.extend((0..topic.partitions).map(|number| TopicPartition::new(name.clone(), number)));
        }
        let mut standings = Vec::new();
        for group in Self::groups(self).await? {
            let committed = self.committed_all(&group.name, &partitions).await?;
            let committed = partitions.iter().cloned().zip(committed);
            standings.push(GroupStanding {
                committed: committed.filter_map(|(at, offset)| Some((at, offset?))).collect(),
                members: group.members.len(),
                group: group.name,
                state: group.state,
            });
        }
        Ok(standings)
    }

    async fn has_members(&self, group: &str) -> Result<Option<bool>, LogError> {
        Ok(self.group(group).await?.map(|group| !group.members.is_empty()))
    }

    fn bytes(&self, _: &TopicPartition) -> Option<u64> {
        None
    }
}
