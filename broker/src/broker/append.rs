//! Appends, in two halves: offsets and writing at once, durability awaited.
//!
//! Invariant: what is written was checked, and is compressed and timed as its topic wants.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use topo_protocol::{TimestampType, check, recompress, records, stamp_append_time};

use super::{Broker, not_internal};
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::partition::{Appended, Partition};
use crate::topic::{CompressionType, Topic, TopicPartition};

/// An append whose batches have their offsets and are written.
#[derive(Debug)]
#[must_use = "an append is acknowledged once it is durable"]
pub struct Appending {
    partition: Arc<Partition>,
    appended: Appended,
}

impl Appending {
    /// The offsets that were given.
    pub fn appended(&self) -> Appended {
        self.appended
    }

    /// The partition appended to.
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// The second half: returns once the batches are as durable as their topic wants them.
    ///
    /// # Errors
    /// [`BrokerError::Log`], [`BrokerError::Poisoned`], [`BrokerError::UnknownTopic`] or [`BrokerError::Closed`]: nothing is
    /// acknowledged.
    pub async fn durable(self) -> Result<Appended, BrokerError> {
        self.partition.until_durable(self.appended.next_offset).await?;
        Ok(self.appended)
    }
}

impl Broker {
    /// [`Broker::append_at`] the system's time.
    ///
    /// # Errors
    /// As [`Broker::append_at`].
    pub async fn append(&self, to: &TopicPartition, batches: Vec<BytesMut>) -> Result<Appended, BrokerError> {
        self.append_at(to, batches, wall_ms()).await
    }

    /// Appends batches, as producers send them, behind each other, and returns once they are as durable as their topic
    /// wants them. Where the timestamps of its records are the log's, they all get `now_ms`, in milliseconds since 1970.
    ///
    /// Offsets are given at the first poll, so appends polled one after another keep that order. An append that is
    /// dropped while it waits may or may not have happened.
    ///
    /// # Errors
    /// [`BrokerError::BatchTooLarge`], [`BrokerError::InvalidBatch`], [`BrokerError::UnacceptableBatch`] or
    /// [`BrokerError::InternalTopic`] with nothing appended. [`BrokerError::Log`] or [`BrokerError::Poisoned`] where the
    /// storage failed: nothing is acknowledged, and the batches in front of the one that failed may be in the log.
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`], [`BrokerError::Closed`].
    pub async fn append_at(
        &self,
        to: &TopicPartition,
        batches: Vec<BytesMut>,
        now_ms: i64,
    ) -> Result<Appended, BrokerError> {
        self.start_append(to, batches, now_ms)?.durable().await
    }

    /// The first half of [`Broker::append_at`]: gives offsets and writes, at once. Appends that are started one after
    /// another keep that order, and share a sync where they wait for it together.
    ///
    /// # Errors
    /// As [`Broker::append_at`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_append(
        &self,
        to: &TopicPartition,
        batches: Vec<BytesMut>,
        now_ms: i64,
    ) -> Result<Appending, BrokerError> {
        not_internal(&to.topic)?;
        let topic = self.topic(&to.topic)?;
        let partition = topic.partition(to.partition)?;
        let accept = |batch| self.accept(&topic, batch, now_ms);
        let batches = batches.into_iter().map(accept).collect::<Result<Vec<_>, _>>()?;
        Ok(Appending { appended: partition.write(batches)?, partition: partition.clone() })
    }

    /// Checks a batch for its topic, and gives it the topic's compression and time where that has its own.
    fn accept(&self, topic: &Topic, batch: BytesMut, now_ms: i64) -> Result<BytesMut, BrokerError> {
        let max = topic.config().max_message_bytes;
        if batch.len() > max as usize {
            return Err(BrokerError::BatchTooLarge { topic: topic.name().clone(), bytes: batch.len(), max });
        }
        let header = check(&batch)?;
        let compression = header.attributes.compression()?;
        if !header.is_dense() {
            return Err(BrokerError::UnacceptableBatch("it has fewer records than offsets"));
        }
        if header.attributes.is_control() {
            return Err(BrokerError::UnacceptableBatch("only the broker writes control batches"));
        }
        if topic.config().cleanup.compacts() {
            self.require_keys(&batch)?;
        }
        let mut batch = match topic.config().compression_type {
            CompressionType::As(wanted) if wanted != compression => {
                recompress(&batch.freeze(), wanted, self.shared.config.max_decompressed_bytes)?
            }
            _ => batch,
        };
        match (topic.config().timestamp_type, header.attributes.timestamp_type()) {
            (TimestampType::LogAppendTime, _) => stamp_append_time(&mut batch, now_ms)?,
            (TimestampType::CreateTime, TimestampType::CreateTime) => {}
            (TimestampType::CreateTime, TimestampType::LogAppendTime) => {
                return Err(BrokerError::UnacceptableBatch("only the broker says when a batch was appended"));
            }
        }
        Ok(batch)
    }

    /// Of a compacted topic the last record of each key is kept: one without a key would stay for ever.
    fn require_keys(&self, batch: &[u8]) -> Result<(), BrokerError> {
        for record in records(Bytes::copy_from_slice(batch), self.shared.config.max_decompressed_bytes)? {
            if record?.key.is_none() {
                return Err(BrokerError::UnacceptableBatch(
                    "a record has no key, and the topic keeps the last record of each key; give it one, or have the \
                     topic's cleanup.policy be delete",
                ));
            }
        }
        Ok(())
    }
}
