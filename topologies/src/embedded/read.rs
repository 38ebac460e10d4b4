//! Batches into records.

use bytes::Bytes;
use topo_broker::BrokerError;
use topo_core::log::{Consumed, FetchLimit, Fetched, Header, TopicPartition};
use topo_protocol::{BatchError, BatchHeader, DecodedRecord, records};

use super::EmbeddedLog;
use super::error::there;

impl EmbeddedLog {
    /// Reads the records from `offset` on.
    pub(super) async fn fetch_records(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, BrokerError> {
        let limit = topo_broker::FetchLimit { max_bytes: limit.max_bytes, max_wait: limit.max_wait };
        let fetched = self.broker.fetch(&there(from), offset, limit).await?;
        let mut decoded = Decoded { records: Vec::new(), next_offset: offset };
        let mut batches = fetched.batches;
        while !batches.is_empty() {
            if let Err(error) = decoded.next_batch(&mut batches, self.config.max_decompressed_bytes) {
                // What is in front of the damage is returned first; the fetch behind it finds it again.
                if decoded.next_offset == offset {
                    return Err(error.into());
                }
                break;
            }
        }
        let Decoded { records, next_offset } = decoded;
        Ok(Fetched { records, next_offset, high_watermark: fetched.offsets.high_watermark })
    }
}

/// Invariant: holds every record from the offset asked for up to `next_offset`, and none behind it.
struct Decoded {
    records: Vec<Consumed>,
    next_offset: i64,
}

impl Decoded {
    fn next_batch(&mut self, batches: &mut Bytes, max_decompressed: usize) -> Result<(), BatchError> {
        let header = BatchHeader::parse(batches)?;
        let batch = batches.split_to(header.total_bytes().min(batches.len()));
        // Markers of transactions are for the log itself.
        if !header.attributes.is_control() {
            let records = records(batch, max_decompressed)?;
            let before = self.records.len();
            self.records.reserve(records.size_hint().1.unwrap_or(0));
            for record in records {
                match record {
                    Ok(record) if record.offset >= self.next_offset => self.records.push(consumed(record)),
                    Ok(_) => {}
                    Err(error) => {
                        self.records.truncate(before);
                        return Err(error);
                    }
                }
            }
        }
        self.next_offset = header.next_offset();
        Ok(())
    }
}

fn consumed(record: DecodedRecord) -> Consumed {
    let DecodedRecord { offset, timestamp_ms, key, value, headers } = record;
    let headers = headers.into_iter().map(|h| Header { key: h.key, value: h.value }).collect();
    Consumed { offset, timestamp_ms, key, value, headers }
}
