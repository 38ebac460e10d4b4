//! A log in memory, for tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use topo_core::log::{
    Consumed, FetchLimit, Fetched, Log, LogError, Offsets, Record, TopicInfo, TopicPartition, TopicSpec,
};

/// Topics by name, each with its configuration and its partitions' records.
type Topics = BTreeMap<String, (TopicSpec, Vec<Vec<Consumed>>)>;

/// A log that keeps everything and commits nothing.
#[derive(Default)]
pub(crate) struct MemoryLog {
    topics: Mutex<Topics>,
    fetch_records: Mutex<Option<usize>>,
    appends_left: Mutex<Option<usize>>,
}

impl MemoryLog {
    /// What a partition holds.
    pub(crate) fn records(&self, topic: &str, partition: u32) -> Vec<Consumed> {
        self.topics.lock().unwrap()[topic].1[partition as usize].clone()
    }

    /// Makes every fetch return at most `records`.
    pub(crate) fn limit_fetches(&self, records: usize) {
        *self.fetch_records.lock().unwrap() = Some(records);
    }

    /// Makes every append fail after `appends` more.
    pub(crate) fn refuse_appends_after(&self, appends: usize) {
        *self.appends_left.lock().unwrap() = Some(appends);
    }

    fn with<T>(&self, at: &TopicPartition, act: impl FnOnce(&mut Vec<Consumed>) -> T) -> Result<T, LogError> {
        let mut topics = self.topics.lock().unwrap();
        let (_, partitions) =
            topics.get_mut(&*at.topic).ok_or_else(|| LogError::UnknownTopic(at.topic.clone()))?;
        let partition = partitions.get_mut(at.partition as usize);
        partition.map(act).ok_or_else(|| LogError::UnknownPartition(at.clone()))
    }
}

fn info(name: &str, spec: &TopicSpec) -> TopicInfo {
    TopicInfo { name: name.into(), partitions: spec.partitions, config: spec.config.clone() }
}

#[async_trait]
impl Log for MemoryLog {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        let mut topics = self.topics.lock().unwrap();
        if topics.contains_key(topic) {
            return Err(LogError::TopicExists(topic.into()));
        }
        topics.insert(topic.into(), (spec.clone(), vec![Vec::new(); spec.partitions as usize]));
        Ok(())
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        let removed = self.topics.lock().unwrap().remove(topic);
        removed.map(|_| ()).ok_or_else(|| LogError::UnknownTopic(topic.into()))
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(self.topics.lock().unwrap().iter().map(|(name, (spec, _))| info(name, spec)).collect())
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(self.topics.lock().unwrap().get(topic).map(|(spec, _)| info(topic, spec)))
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        if let Some(left) = &mut *self.appends_left.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| LogError::Storage("no space".into()))?;
        }
        self.with(to, |held| {
            let base_offset = held.len() as i64;
            held.extend(records.into_iter().zip(base_offset..).map(|(record, offset)| Consumed {
                offset,
                timestamp_ms: record.timestamp_ms.unwrap_or(0),
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
            base_offset
        })
    }

    async fn fetch(&self, from: &TopicPartition, offset: i64, _: FetchLimit) -> Result<Fetched, LogError> {
        let most = self.fetch_records.lock().unwrap().unwrap_or(usize::MAX);
        self.with(from, |held| {
            let records: Vec<_> = held.iter().skip(offset as usize).take(most).cloned().collect();
            let next_offset = offset + records.len() as i64;
            Fetched { records, next_offset, high_watermark: held.len() as i64 }
        })
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        self.with(of, |held| {
            let log_end = held.len() as i64;
            Offsets { log_start: 0, high_watermark: log_end, log_end }
        })
    }

    async fn commit(&self, _: &str, _: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        Err(LogError::Invalid("the test's log commits nothing".into()))
    }

    async fn committed(&self, _: &str, _: &TopicPartition) -> Result<Option<i64>, LogError> {
        Ok(None)
    }
}
