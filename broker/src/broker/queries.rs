//! Offsets looked up, and given up.

use topo_log::TimestampedOffset;

use super::{Broker, not_internal};
use crate::error::BrokerError;
use crate::partition::Isolation;
use crate::topic::TopicPartition;

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// One past the last record that may be read.
    Latest,
    /// The first one held.
    Earliest,
    /// That of the first record with the largest timestamp.
    MaxTimestamp,
    /// That of the first record whose timestamp is at or after this one, in milliseconds since 1970.
    At(i64),
}

impl OffsetSpec {
    /// What `ListOffsets` means by a timestamp; `None` where topo has nothing that it could mean.
    pub fn from_timestamp(timestamp: i64) -> Option<Self> {
        match timestamp {
            -1 => Some(Self::Latest),
            -2 => Some(Self::Earliest),
            -3 => Some(Self::MaxTimestamp),
            0.. => Some(Self::At(timestamp)),
            _ => None,
        }
    }
}

/// Where a leader epoch ends in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub leader_epoch: i32,
    /// One past its last record that may be read.
    pub end_offset: i64,
}

/// The only one: a broker alone never hands a partition on.
const LEADER_EPOCH: i32 = 0;

impl Broker {
    /// The offset that is asked for, and its record's timestamp, -1 where it is no record's; `None` where there is no such
    /// record.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`], or as
    /// [`Partition::offset_for_time`](crate::Partition::offset_for_time).
    pub async fn list_offset(
        &self,
        of: &TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<TimestampedOffset>, BrokerError> {
        let end = |offset| Some(TimestampedOffset { offset, timestamp_ms: -1 });
        match spec {
            OffsetSpec::Latest => Ok(end(self.offsets(of)?.readable_end(isolation))),
            OffsetSpec::Earliest => Ok(end(self.offsets(of)?.log_start)),
            OffsetSpec::MaxTimestamp => self.max_timestamp(of, isolation).await,
            OffsetSpec::At(timestamp_ms) => self.offset_for_time(of, timestamp_ms, isolation).await,
        }
    }

    /// The first record that may be read whose timestamp is at or after `timestamp_ms`; `None` where there is none.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`], or as
    /// [`Partition::offset_for_time`](crate::Partition::offset_for_time).
    pub async fn offset_for_time(
        &self,
        of: &TopicPartition,
        timestamp_ms: i64,
        isolation: Isolation,
    ) -> Result<Option<TimestampedOffset>, BrokerError> {
        self.topic(&of.topic)?.partition(of.partition)?.offset_for_time(timestamp_ms, isolation).await
    }

    /// The first record of those that may be read with the largest timestamp; `None` without records.
    ///
    /// # Errors
    /// As [`Broker::offset_for_time`].
    pub async fn max_timestamp(
        &self,
        of: &TopicPartition,
        isolation: Isolation,
    ) -> Result<Option<TimestampedOffset>, BrokerError> {
        self.topic(&of.topic)?.partition(of.partition)?.max_timestamp(isolation).await
    }

    /// Where a leader epoch ends; `None` for one that never was.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`] or [`BrokerError::Closed`].
    pub fn epoch_end(&self, of: &TopicPartition, leader_epoch: i32) -> Result<Option<EpochEnd>, BrokerError> {
        let end_offset = self.offsets(of)?.high_watermark;
        Ok((leader_epoch == LEADER_EPOCH).then_some(EpochEnd { leader_epoch, end_offset }))
    }

    /// Bytes of the batches that a partition stores.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`] or [`BrokerError::Closed`].
    pub fn log_bytes(&self, of: &TopicPartition) -> Result<u64, BrokerError> {
        self.topic(&of.topic)?.partition(of.partition)?.bytes()
    }

    /// Deletes every record of a partition below `before`, or below the high watermark where that is `None`; returns the
    /// first offset held then. That is durable when this returns.
    ///
    /// # Errors
    /// [`BrokerError::InternalTopic`], [`BrokerError::UnknownTopic`], [`BrokerError::UnknownPartition`], or as
    /// [`Partition::delete_records`](crate::Partition::delete_records).
    pub async fn delete_records(&self, of: &TopicPartition, before: Option<i64>) -> Result<i64, BrokerError> {
        not_internal(&of.topic)?;
        self.topic(&of.topic)?.partition(of.partition)?.delete_records(before).await
    }
}
