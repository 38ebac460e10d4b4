//! A log in memory that may refuse appends: what stores are tested on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::log::{
    Consumed, FetchLimit, Fetched, Joining, Log, LogError, Membership, Offsets, Record, TopicInfo,
    TopicPartition, TopicSpec,
};

#[derive(Default)]
struct Topic {
    config: BTreeMap<String, String>,
    partitions: Vec<Vec<Consumed>>,
}

/// Topics by name; after `appends_left` appends, where that is set, the next ones fail.
#[derive(Default)]
pub(super) struct FakeLog {
    topics: Mutex<BTreeMap<String, Topic>>,
    pub(super) appends_left: Mutex<Option<u32>>,
}

impl FakeLog {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Topic>> {
        self.topics.lock().unwrap()
    }

    /// All records of a topic with their partitions.
    pub(super) fn records(&self, topic: &str) -> Vec<(u32, Consumed)> {
        let topics = self.lock();
        let partitions = topics.get(topic).map(|topic| topic.partitions.clone()).unwrap_or_default();
        (0..)
            .zip(partitions)
            .flat_map(|(number, records)| records.into_iter().map(move |one| (number, one)))
            .collect()
    }

    pub(super) fn config(&self, topic: &str) -> BTreeMap<String, String> {
        self.lock()[topic].config.clone()
    }
}

fn info(name: &str, topic: &Topic) -> TopicInfo {
    TopicInfo { name: name.into(), partitions: topic.partitions.len() as u32, config: topic.config.clone() }
}

#[async_trait]
impl Log for FakeLog {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        if self.lock().contains_key(topic) {
            return Err(LogError::TopicExists(topic.into()));
        }
        let partitions = vec![Vec::new(); spec.partitions as usize];
        self.lock().insert(topic.to_owned(), Topic { config: spec.config.clone(), partitions });
        Ok(())
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.lock().remove(topic).map(drop).ok_or_else(|| LogError::UnknownTopic(topic.into()))
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(self.lock().iter().map(|(name, topic)| info(name, topic)).collect())
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(self.lock().get(topic).map(|one| info(topic, one)))
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        if let Some(left) = &mut *self.appends_left.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| LogError::Unavailable("the log is away".into()))?;
        }
        let mut topics = self.lock();
        let topic = topics.get_mut(&*to.topic).ok_or_else(|| LogError::UnknownTopic(to.topic.clone()))?;
        let held = topic.partitions.get_mut(to.partition as usize);
        let held = held.ok_or_else(|| LogError::UnknownPartition(to.clone()))?;
        let base_offset = held.len() as i64;
        held.extend((base_offset..).zip(records).map(|(offset, record)| Consumed {
            offset,
            timestamp_ms: record.timestamp_ms.unwrap_or(-1),
            key: record.key,
            value: record.value,
            headers: record.headers,
        }));
        Ok(base_offset)
    }

    async fn fetch(&self, from: &TopicPartition, offset: i64, _: FetchLimit) -> Result<Fetched, LogError> {
        let high_watermark = self.offsets(from).await?.high_watermark;
        let topics = self.lock();
        // A few at a time, as a log does.
        let held = topics[&*from.topic].partitions[from.partition as usize].iter();
        let records: Vec<_> = held.skip(offset as usize).take(7).cloned().collect();
        Ok(Fetched { next_offset: offset + records.len() as i64, records, high_watermark })
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        let topics = self.lock();
        let topic = topics.get(&*of.topic).ok_or_else(|| LogError::UnknownTopic(of.topic.clone()))?;
        let held = topic
            .partitions
            .get(of.partition as usize)
            .ok_or_else(|| LogError::UnknownPartition(of.clone()))?;
        let end = held.len() as i64;
        Ok(Offsets { log_start: 0, high_watermark: end, log_end: end })
    }

    async fn offset_for_time(&self, _: &TopicPartition, _: i64) -> Result<Option<i64>, LogError> {
        Err(LogError::Closed)
    }

    async fn commit(&self, _: &str, _: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    async fn noted(&self, _: &str, _: &TopicPartition) -> Result<Option<(i64, String)>, LogError> {
        Err(LogError::Closed)
    }

    async fn join(&self, _: &Joining) -> Result<Arc<dyn Membership>, LogError> {
        Err(LogError::Closed)
    }
}
