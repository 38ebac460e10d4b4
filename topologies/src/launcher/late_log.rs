//! The log that a topology is built with, before the data directory is opened.
//!
//! Invariant: what is wrong with a topology or its settings is known before anything is created on disk.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use topo_core::log::{
    FetchLimit, Fetched, Joining, Log, LogError, Membership, Offsets, Record, TopicInfo, TopicPartition,
    TopicSpec, TransactionalConfig, TransactionalLog,
};

/// A log that is opened later; until then it answers that it is closed.
#[derive(Default)]
pub(super) struct LateLog(OnceLock<Arc<dyn Log>>);

impl LateLog {
    /// Answers as `log` does from now on.
    pub(super) fn open(&self, log: Arc<dyn Log>) {
        // A run opens one data directory.
        let _ = self.0.set(log);
    }

    fn get(&self) -> Result<&Arc<dyn Log>, LogError> {
        self.0.get().ok_or(LogError::Closed)
    }
}

#[async_trait]
impl Log for LateLog {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        self.get()?.create_topic(topic, spec).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.get()?.delete_topic(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.get()?.topics().await
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.get()?.topic(topic).await
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        self.get()?.append(to, records).await
    }

    async fn fetch(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        self.get()?.fetch(from, offset, limit).await
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        self.get()?.offsets(of).await
    }

    async fn offset_for_time(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        self.get()?.offset_for_time(of, timestamp_ms).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.get()?.commit(group, offsets).await
    }

    async fn noted(&self, group: &str, of: &TopicPartition) -> Result<Option<(i64, String)>, LogError> {
        self.get()?.noted(group, of).await
    }

    async fn join(&self, joining: &Joining) -> Result<Arc<dyn Membership>, LogError> {
        self.get()?.join(joining).await
    }

    async fn transactional(
        &self,
        config: &TransactionalConfig,
    ) -> Result<Box<dyn TransactionalLog>, LogError> {
        self.get()?.transactional(config).await
    }
}
