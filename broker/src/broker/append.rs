//! Appends, in two halves: offsets and writing at once, durability awaited.
//!
//! Invariant: what is written was checked, and is compressed and timed as its topic wants.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use topo_protocol::{
    BatchHeader, Compression, EndTransactionMarker, TimestampType, check, recompress, records,
    stamp_append_time,
};

use super::{Broker, not_internal};
use crate::clock::wall_ms;
use crate::error::BrokerError;
use crate::partition::{Appended, Partition};
use crate::topic::{CompressionType, OFFSETS_TOPIC, Topic, TopicPartition};

/// An append whose batches have their offsets and are written.
#[derive(Debug)]
#[must_use = "an append is acknowledged once it is durable"]
pub struct Appending {
    pub(super) partition: Arc<Partition>,
    pub(super) appended: Appended,
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
        self.start(to, batches, now_ms, false)
    }

    /// [`Broker::start_append`] for batches of a transaction, which is open, holds this partition, and stays so until this
    /// returns: whoever coordinates it calls this under the lock under which it would end it. The first such batch opens
    /// the transaction in the partition; [`Broker::append_marker`] ends it there.
    ///
    /// # Errors
    /// As [`Broker::append_at`], and [`BrokerError::InvalidTransaction`] for a batch that is part of none.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_append_in_transaction(
        &self,
        to: &TopicPartition,
        batches: Vec<BytesMut>,
        now_ms: i64,
    ) -> Result<Appending, BrokerError> {
        self.start(to, batches, now_ms, true)
    }

    /// Ends a producer's transaction in a partition, at once; it has ended for readers once the marker is durable. Written
    /// again, or for a producer that has no transaction open there, a marker changes nothing but the producer's epoch.
    /// Markers and appends that are started one after another keep that order.
    ///
    /// In the topic of committed offsets, the marker makes what was committed in the transaction count, or drops it.
    ///
    /// # Errors
    /// [`BrokerError::Producer`] where a later epoch of the producer, or of its coordinator, has taken over;
    /// [`BrokerError::Log`], [`BrokerError::Poisoned`], [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`]
    /// or [`BrokerError::Closed`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn append_marker(
        &self,
        to: &TopicPartition,
        marker: &EndTransactionMarker,
        now_ms: i64,
    ) -> Result<Appending, BrokerError> {
        let topic = self.topic(&to.topic)?;
        let partition = topic.partition(to.partition)?;
        let appended = if *to.topic == *OFFSETS_TOPIC {
            self.shared.committed.end_transaction(partition, marker, now_ms)?
        } else {
            partition.write(vec![marker.encode(now_ms)?])?
        };
        Ok(Appending { appended, partition: partition.clone() })
    }

    fn start(
        &self,
        to: &TopicPartition,
        batches: Vec<BytesMut>,
        now_ms: i64,
        in_transaction: bool,
    ) -> Result<Appending, BrokerError> {
        not_internal(&to.topic)?;
        let topic = self.topic(&to.topic)?;
        let partition = topic.partition(to.partition)?;
        let accept = |batch| self.accept(&topic, batch, now_ms, in_transaction);
        let batches = batches.into_iter().map(accept).collect::<Result<Vec<_>, _>>()?;
        Ok(Appending { appended: partition.write(batches)?, partition: partition.clone() })
    }

    /// Whether a batch of that compression is rebuilt with another one for its topic.
    pub(crate) fn recompresses(&self, to: &TopicPartition, compression: Compression) -> bool {
        let of = |topic: Arc<Topic>| topic.config().compression_type;
        self.topic(&to.topic).map(of).is_ok_and(|wanted| other(wanted, compression).is_some())
    }

    /// Checks a batch for its topic, and gives it the topic's compression and time where that has its own.
    fn accept(
        &self,
        topic: &Topic,
        batch: BytesMut,
        now_ms: i64,
        in_transaction: bool,
    ) -> Result<BytesMut, BrokerError> {
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
        check_transaction(&header, in_transaction)?;
        if topic.config().cleanup.compacts() {
            self.require_keys(&batch)?;
        }
        let mut batch = match other(topic.config().compression_type, compression) {
            Some(wanted) => recompress(&batch.freeze(), wanted, self.shared.config.max_decompressed_bytes)?,
            None => batch,
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

/// The compression that a topic wants, where it wants another one than a batch has.
fn other(wanted: CompressionType, compression: Compression) -> Option<Compression> {
    match wanted {
        CompressionType::As(wanted) if wanted != compression => Some(wanted),
        _ => None,
    }
}

/// Whether a batch is part of a transaction where it should be, and says whose and which of the producer's it is.
fn check_transaction(header: &BatchHeader, in_transaction: bool) -> Result<(), BrokerError> {
    match (header.attributes.is_transactional(), in_transaction) {
        (false, false) => Ok(()),
        (true, false) => Err(BrokerError::InvalidTransaction("its transaction is not open here")),
        (false, true) => Err(BrokerError::InvalidTransaction("it is part of no transaction")),
        (true, true) if header.producer_id < 0 || header.producer_epoch < 0 || header.base_sequence < 0 => {
            Err(BrokerError::InvalidTransaction("it does not say which of whose batches it is"))
        }
        (true, true) => Ok(()),
    }
}
