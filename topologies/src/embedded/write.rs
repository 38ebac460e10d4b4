//! Records into batches.

use bytes::BytesMut;
use topo_broker::{BrokerError, CompressionType};
use topo_core::log::{Record, TopicPartition};
use topo_protocol::{BatchBuilder, BatchError, Compression, NewHeader, NewRecord, Room};

use super::EmbeddedLog;
use super::error::there;

impl EmbeddedLog {
    /// Appends `records` behind each other, all under one sync, and returns the offset of the first.
    pub(super) async fn append_records(
        &self,
        to: &TopicPartition,
        records: &[Record],
    ) -> Result<i64, BrokerError> {
        let (to, now_ms) = (there(to), self.clock.wall_ms());
        let batches = self.batches(&to, records, now_ms)?;
        if batches.is_empty() {
            return Ok(self.broker.topic(&to.topic)?.partition(to.partition)?.offsets()?.log_end);
        }
        Ok(self.broker.append_at(&to, batches, now_ms).await?.base_offset)
    }

    /// The batches of `records`, as the partition's topic takes them; none of no records.
    pub(super) fn batches(
        &self,
        to: &topo_broker::TopicPartition,
        records: &[Record],
        now_ms: i64,
    ) -> Result<Vec<BytesMut>, BrokerError> {
        let topic = self.broker.topic(&to.topic)?;
        topic.partition(to.partition)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let compression = match topic.config().compression_type {
            CompressionType::Producer => self.config.compression,
            CompressionType::As(compression) => compression,
        };
        let max_bytes = self.config.batch_bytes.min(compressible(topic.config().max_message_bytes as usize));
        Ok(batches(records, max_bytes, compression, now_ms)?)
    }
}

/// Bytes that a codec makes at most `max` bytes of, even where it cannot compress them: Snappy may add one in 65.
fn compressible(max: usize) -> usize {
    max.saturating_sub(max / 64 + 128)
}

fn batches(
    records: &[Record],
    max_bytes: usize,
    compression: Compression,
    now_ms: i64,
) -> Result<Vec<BytesMut>, BatchError> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(max_bytes);
    let mut headers = Vec::new();
    for record in records {
        headers.clear();
        headers.extend(record.headers.iter().map(|h| NewHeader { key: &h.key, value: h.value.as_deref() }));
        let new = NewRecord {
            timestamp_ms: record.timestamp_ms.unwrap_or(now_ms),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        while builder.append(&new)? == Room::Full {
            batches.push(builder.finish(compression)?);
        }
    }
    batches.push(builder.finish(compression)?);
    Ok(batches)
}
