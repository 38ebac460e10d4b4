//! Groups: what they have committed, who their members are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::{Offset, TopicPartitionList};
use topo_core::log::{LogError, TopicPartition};

use super::client::{Consumer, Told, ask};
use super::config::KafkaConfig;
use super::error::{About, log_error};
use crate::brokers::Brokers;

/// A group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Kafka's word for how it is: `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Dead`.
    pub state: String,
    /// Who reads for it.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub id: String,
    /// What it calls itself.
    pub client_id: String,
    /// Where it runs.
    pub host: String,
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
}

pub(super) struct Groups {
    brokers: Brokers,
    config: KafkaConfig,
    /// Who commits for each group.
    committers: Mutex<HashMap<String, Arc<Consumer>>>,
}

impl Groups {
    pub(super) fn new(brokers: Brokers, config: KafkaConfig) -> Self {
        Self { brokers, config, committers: Mutex::default() }
    }

    /// Commits without being a member: the coordinator lets it where the group has none.
    pub(super) async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), LogError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let about = About::Group(group);
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, offset) in offsets {
            let added = list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(*offset));
            added.map_err(|_| LogError::Invalid(format!("{offset} is no offset to commit for {at}")))?;
        }
        let committer = self.committer(group)?;
        let commit = ask(&committer, move |committer| committer.commit(&list, CommitMode::Sync));
        // librdkafka's own timeout comes first, unless the coordinator takes the request and never answers.
        let ended = tokio::time::timeout(2 * self.config.request_timeout, commit).await;
        let ended = ended.map_err(|_| {
            LogError::Unavailable(format!(
                "group `{group}` could not commit in time at {}; whether it did is not known",
                self.brokers
            ))
        })?;
        ended?.map_err(|error| log_error(&self.brokers, &error, about))
    }

    /// What a group has committed for each of these partitions, and what is noted with it.
    pub(super) async fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<Vec<Option<(i64, String)>>, LogError> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(of.len());
        for at in of {
            list.add_partition(&at.topic, at.partition as i32);
        }
        let timeout = self.config.request_timeout;
        let committer = self.committer(group)?;
        let asked = ask(&committer, move |committer| committer.committed_offsets(list, timeout));
        let answer = asked.await?.map_err(|error| log_error(&self.brokers, &error, About::Group(group)))?;
        let mut committed = Vec::with_capacity(of.len());
        for at in of {
            let found = answer.find_partition(&at.topic, at.partition as i32);
            if let Some(Err(error)) = found.as_ref().map(|found| found.error())
                && !is_unknown(&error)
            {
                return Err(log_error(&self.brokers, &error, About::Group(group)));
            }
            committed.push(found.and_then(|found| match found.offset() {
                Offset::Offset(offset) => Some((offset, found.metadata().to_owned())),
                _ => None,
            }));
        }
        Ok(committed)
    }

    /// The groups there are, or the one asked for.
    pub(super) async fn list(
        &self,
        consumer: &Arc<Consumer>,
        group: Option<&str>,
    ) -> Result<Vec<Group>, LogError> {
        let (asked, timeout) = (group.map(str::to_owned), self.config.request_timeout);
        let listed = ask(consumer, move |consumer| {
            let listed = consumer.fetch_group_list(asked.as_deref(), timeout)?;
            Ok::<_, KafkaError>(listed.groups().iter().map(described).collect())
        });
        listed
            .await?
            .map_err(|error| log_error(&self.brokers, &error, group.map_or(About::Cluster, About::Group)))
    }

    /// A consumer that speaks for a group without being a member of it.
    pub(super) fn committer(&self, group: &str) -> Result<Arc<Consumer>, LogError> {
        let mut committers = self.committers();
        if let Some(committer) = committers.get(group) {
            return Ok(Arc::clone(committer));
        }
        let config = self.config.committer(&self.brokers, group);
        let created = config.create_with_context(Told::default());
        let created: Consumer =
            created.map_err(|error| log_error(&self.brokers, &error, About::Group(group)))?;
        let committer = Arc::new(created);
        committers.insert(group.to_owned(), Arc::clone(&committer));
        Ok(committer)
    }

    // Nothing panics while it holds the lock.
    fn committers(&self) -> MutexGuard<'_, HashMap<String, Arc<Consumer>>> {
        self.committers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_unknown(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition))
}

fn described(group: &GroupInfo) -> Group {
    let member = |member: &GroupMemberInfo| GroupMember {
        id: member.id().to_owned(),
        client_id: member.client_id().to_owned(),
        host: member.client_host().to_owned(),
        partitions: member.assignment().and_then(assigned).unwrap_or_default(),
    };
    Group {
        name: group.name().to_owned(),
        state: group.state().to_owned(),
        members: group.members().iter().map(member).collect(),
    }
}

/// Reads the consumer protocol's assignment: a version, then topics with their partitions. `None` where it is another's.
fn assigned(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut rest = bytes.get(2..)?;
    let mut partitions = Vec::new();
    for _ in 0..int(&mut rest)? {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, behind) = behind.split_at_checked(length)?;
        rest = behind;
        let topic: Arc<str> = std::str::from_utf8(topic).ok()?.into();
        for _ in 0..int(&mut rest)? {
            let partition = u32::try_from(int(&mut rest)?).ok()?;
            partitions.push(TopicPartition::new(Arc::clone(&topic), partition));
        }
    }
    Some(partitions)
}

fn int(bytes: &mut &[u8]) -> Option<i32> {
    let (int, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*int))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_assignment_names_partitions() {
        let bytes = b"\0\x01\0\0\0\x01\0\x02in\0\0\0\x02\0\0\0\0\0\0\0\x03\xff\xff\xff\xff";
        let expected = [0, 3].map(|partition| TopicPartition::new("in", partition));
        assert_eq!(assigned(bytes), Some(expected.to_vec()));
        assert_eq!(assigned(&bytes[..20]), None);
        assert_eq!(assigned(b""), None);
    }

    proptest! {
        /// The counts are another's, and may say anything.
        #[test]
        fn no_assignment_panics_or_fills_the_memory(bytes: Vec<u8>) {
            let partitions = assigned(&bytes).unwrap_or_default();
            prop_assert!(partitions.len() <= bytes.len() / 4);
        }
    }
}
