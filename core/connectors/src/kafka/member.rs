//! A member of a consumer group: the group protocol gives it partitions, and it commits for its group.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use topo_core::log::{Consumed, LogError, TopicPartition};

use super::client::{Consumer, Told, ask};
use super::config::KafkaConfig;
use super::error::{About, log_error};
use super::reader::consumed;
use crate::brokers::Brokers;

/// How many records one [`Member::next`] returns at the most.
const RECORDS: usize = 1_024;

/// A member of a group. Leave it with [`leave`](Self::leave): the others take over its partitions at once then.
pub struct Member {
    brokers: Brokers,
    group: String,
    consumer: Arc<Consumer>,
    filled: Arc<Notify>,
}

impl Member {
    pub(super) fn join(
        brokers: Brokers,
        config: &KafkaConfig,
        group: &str,
        topics: &[&str],
        from_start: bool,
    ) -> Result<Self, LogError> {
        let failed = |error: KafkaError| log_error(&brokers, &error, About::Group(group));
        let settings = config.member(&brokers, group, from_start);
        let mut consumer: BaseConsumer<Told> =
            settings.create_with_context(Told::default()).map_err(failed)?;
        let filled = Arc::new(Notify::new());
        let rings = Arc::clone(&filled);
        consumer.set_nonempty_callback(move || rings.notify_one());
        consumer.subscribe(topics).map_err(failed)?;
        Ok(Self { group: group.to_owned(), consumer: Arc::new(consumer), filled, brokers })
    }

    /// The next records, of whichever partitions are this member's; waits for a first one. Cancel-safe: what was not
    /// returned comes with the next call.
    ///
    /// # Errors
    /// What the group's coordinator or a partition's leader says.
    pub async fn next(&self) -> Result<Vec<(TopicPartition, Consumed)>, LogError> {
        loop {
            let records = self.ready()?;
            if !records.is_empty() {
                return Ok(records);
            }
            // Now and then also without being rung: the group wants to see that somebody is there.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.filled.notified()).await;
        }
    }

    fn ready(&self) -> Result<Vec<(TopicPartition, Consumed)>, LogError> {
        let mut records = Vec::new();
        let mut block = BytesMut::new();
        while records.len() < RECORDS {
            match self.consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let at = TopicPartition::new(message.topic(), message.partition() as u32);
                    let record = consumed(&message, &mut block);
                    let record = record.map_err(|_| {
                        LogError::Corrupt(format!(
                            "a header of the record at {} of {at} is not text",
                            message.offset()
                        ))
                    })?;
                    records.push((at, record));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => match error.rdkafka_error_code() {
                    // It is tried again by itself.
                    Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => {}
                    _ => return Err(log_error(&self.brokers, &error, About::Group(&self.group))),
                },
            }
        }
        Ok(records)
    }

    /// Commits, for the group, the offset of the next record to read in each partition.
    ///
    /// # Errors
    /// A connection error, or [`LogError::Invalid`] where the partitions are another member's by now.
    pub async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, offset) in offsets {
            let added = list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(*offset));
            added.map_err(|error| log_error(&self.brokers, &error, About::Partition(at)))?;
        }
        let committed = ask(&self.consumer, move |consumer| consumer.commit(&list, CommitMode::Sync));
        committed.await?.map_err(|error| log_error(&self.brokers, &error, About::Group(&self.group)))
    }

    /// Leaves the group.
    pub async fn leave(self) {
        let consumer = self.consumer;
        // Waiting cannot fail but where the runtime ends, and the coordinator notices that by itself.
        let _ = tokio::task::spawn_blocking(move || drop(consumer)).await;
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("group", &self.group).finish_non_exhaustive()
    }
}
