//! A reader that shares a topic with the other tasks of its component, by its task's number.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use topo_core::log::{Change, Joining, Log, LogError, Membership, TopicPartition};

use super::EmbeddedLog;

pub(super) struct Member {
    log: EmbeddedLog,
    joining: Joining,
    partitions: u32,
    is_told: AtomicBool,
}

impl Member {
    pub(super) fn new(log: EmbeddedLog, joining: Joining, partitions: u32) -> Self {
        Self { log, joining, partitions, is_told: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Membership for Member {
    async fn changed(&self) -> Result<Change, LogError> {
        if self.is_told.swap(true, Ordering::Relaxed) {
            pin!(std::future::pending::<()>()).await;
        }
        Ok(Change::Assigned(self.joining.share(self.partitions).collect()))
    }

    fn release(&self) {}

    async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.log.commit(&self.joining.group, offsets).await
    }

    async fn leave(&self) {}
}
