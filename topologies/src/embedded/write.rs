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
        let to = there(to);
        let topic = self.broker.topic(&to.topic)?;
        if records.is_empty() {
            return Ok(topic.partition(to.partition)?.offsets()?.log_end);
        }
        let compression = match topic.config().compression_type {
            CompressionType::Producer => self.config.compression,
            CompressionType::As(compression) => compression,
        };
        let max_bytes = self.config.batch_bytes.min(compressible(topic.config().max_message_bytes as usize));
        let now_ms = self.clock.wall_ms();
        let batches = batches(records, max_bytes, compression, now_ms)?;
        Ok(self.broker.append_at(&to, batches, now_ms).await?.base_offset)
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
